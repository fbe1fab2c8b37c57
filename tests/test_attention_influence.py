"""What other gates do to the output: gradients, ablation, means; and where the evidence is."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import SEBlock, attention_weights, create_model
from senet_jax.attention import (
    ablation_curves,
    accuracy_with_mean_gates,
    changed_gates,
    class_statistics,
    gated_features,
    grad_cam,
    logit_sensitivity,
)

CLASSES = 3
RANDOM = np.random.default_rng(0)
IMAGES = jnp.asarray(RANDOM.normal(size=(4, 8, 8, 3)), jnp.float32)
LABELS = np.array([0, 1, 2, 1])


class Sum(nn.Module):
    """Logits that are the gated channels' means: their derivative by a gate is known."""

    num_classes: int = CLASSES

    @nn.compact
    def features(self, images):
        return (SEBlock(reduction=1, name="se")(images),)

    def head(self, features, *, train):
        return features.mean(axis=(1, 2))

    def __call__(self, images, *, train=False):
        return self.head(self.features(images)[-1], train=train)


@pytest.fixture(scope="module")
def closed_form():
    return Sum(), Sum().init(jax.random.key(0), IMAGES)


@pytest.fixture(scope="module")
def network():
    model = create_model("seresnet20", num_classes=CLASSES, stage_sizes=(1, 1))
    return model, jax.jit(model.init)(jax.random.key(0), IMAGES)


def test_the_same_gates_change_nothing_and_are_those_of_attention_weights(network):
    model, variables = network
    logits, gates = changed_gates(model, variables, IMAGES, lambda path, gates: gates)
    np.testing.assert_allclose(logits, model.apply(variables, IMAGES), rtol=1e-5, atol=1e-6)
    for path, expected in attention_weights(model, variables, IMAGES).items():
        np.testing.assert_allclose(gates[path], expected, rtol=1e-5, atol=1e-6)


def test_any_channel_attention_is_changed_once():
    model = create_model("seresnet20", num_classes=2, stage_sizes=(1,), attention="eca")
    variables = jax.jit(model.init)(jax.random.key(0), IMAGES)
    calls = []

    def shut(path, gates):
        calls.append(path)
        return 0 * gates

    changed_gates(model, variables, IMAGES, shut)
    assert calls == ["stage1/block1/se"]


def test_a_gate_moves_the_logit_as_its_channel_says(closed_form):
    model, variables = closed_form
    slopes = logit_sensitivity(model, variables, IMAGES, LABELS)["se"]
    expected = np.asarray(IMAGES.mean(axis=(1, 2))) * np.eye(CLASSES)[LABELS]
    np.testing.assert_allclose(slopes, expected, atol=1e-6)


def test_all_channels_shut_and_none(network):
    model, variables = network
    batches = [(IMAGES, LABELS, np.array([1, 1, 1, 0]))]
    curves = ablation_curves(model, variables, batches, shares=(0.0, 0.5, 1.0))
    logits = np.asarray(model.apply(variables, IMAGES))
    usual = np.mean(logits.argmax(-1)[:3] == LABELS[:3])
    without, _ = changed_gates(model, variables, IMAGES, lambda path, gates: 0 * gates)
    shut = np.mean(np.asarray(without).argmax(-1)[:3] == LABELS[:3])
    for deletion in (curves.deletion, curves.random_deletion):
        assert (deletion[0], deletion[2]) == (usual, shut)
    for insertion in (curves.insertion, curves.random_insertion):
        assert (insertion[0], insertion[2]) == (shut, usual)


def test_the_widest_open_are_shut_first():
    """Gates that rise with the logit: without the widest channel, the answer is another."""
    model = Sum()
    images = jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0]), (4, 8, 8, 3))
    eye, zeros = jnp.eye(3), jnp.zeros(3)
    params = {"se": {k: {"kernel": eye, "bias": zeros} for k in ("fc1", "fc2")}}
    batches = [(images, np.full(4, 2))]
    curves = ablation_curves(model, {"params": params}, batches, ["se"], shares=(0, 1 / 3, 1))
    np.testing.assert_array_equal(curves.deletion, [1, 0, 0])
    np.testing.assert_array_equal(curves.insertion, [0, 1, 1])


def test_mean_gates_cost_nothing_where_all_images_are_alike(network):
    model, variables = network
    same = jnp.broadcast_to(IMAGES[:1], IMAGES.shape)
    batches = [(same, np.asarray(model.apply(variables, same)).argmax(-1))]
    statistics = class_statistics(model, variables, batches, CLASSES)
    usual, frozen = accuracy_with_mean_gates(model, variables, batches, statistics)
    assert usual == 1
    assert frozen == dict.fromkeys(("stage1/block1/se", "stage2/block1/se"), 1)


@pytest.mark.parametrize("look", [logit_sensitivity, grad_cam])
@pytest.mark.parametrize(
    "classes,error,message",
    [
        (
            [0, 1, 2, 3],
            ValueError,
            "Classes are 0 to 3, expected 0 to 2",
        ),  # JAX would take the last
        (2, ValueError, r"Classes have shape \(\), expected \[N\] with N=4"),
        ([0.0, 1.0, 2.0, 1.0], TypeError, "Classes are float64, expected whole numbers"),
    ],
)
def test_classes_that_there_are_not_are_refused(closed_form, look, classes, error, message):
    with pytest.raises(error, match=message):
        look(*closed_form, IMAGES, classes)


class Nameless(nn.Module):
    """A network that does not say how many classes it has."""

    @nn.compact
    def __call__(self, images, *, train=False):
        return SEBlock(reduction=1, name="se")(images).mean(axis=(1, 2))


def test_classes_of_any_module_are_those_of_its_logits(closed_form):
    batches = [(IMAGES, LABELS)]
    (own, ours), (known, theirs) = (
        accuracy_with_mean_gates(
            model, variables, batches, class_statistics(model, variables, batches, CLASSES)
        )
        for model, variables in ((Nameless(), closed_form[1]), closed_form)
    )
    assert (own, ours) == (known, theirs)
    with pytest.raises(ValueError, match="Labels are 0 to 3, expected 0 to 2"):
        ablation_curves(Nameless(), closed_form[1], [(IMAGES, np.arange(4))])


def test_accuracies_need_a_classifier(network):
    features = create_model("seresnet20", num_classes=0, stage_sizes=(1, 1))
    with pytest.raises(ValueError, match="SEResNet has no classifier: expected logits"):
        ablation_curves(features, network[1], [(IMAGES, LABELS)])


def test_what_cannot_be_changed_is_refused(network):
    plain = create_model("seresnet20", num_classes=2, stage_sizes=(1,), attention=None)
    variables = jax.eval_shape(plain.init, jax.random.key(0), IMAGES)
    with pytest.raises(ValueError, match="has no gates that can be changed"):
        logit_sensitivity(plain, variables, IMAGES, LABELS)
    with pytest.raises(ValueError, match="no gates to change in stem"):
        ablation_curves(*network, [(IMAGES, LABELS)], ["stem"])
    with pytest.raises(ValueError, match=r"shares=\(2,\), expected some from 0 to 1"):
        ablation_curves(*network, [(IMAGES, LABELS)], shares=(2,))
    with pytest.raises(ValueError, match="batches was empty"):
        ablation_curves(*network, [])
    with pytest.raises(ValueError, match="were not measured"):
        accuracy_with_mean_gates(*network, [(IMAGES, LABELS)], {})
    with pytest.raises(ValueError, match="no block 'stem'"):
        gated_features(*network, IMAGES, "stem")


def test_gated_features_are_what_the_gates_multiply(closed_form):
    np.testing.assert_allclose(gated_features(*closed_form, IMAGES, "se"), IMAGES, rtol=1e-6)


def test_grad_cam_is_its_closed_form_for_every_image(closed_form):
    model, variables = closed_form
    (features,) = model.apply(variables, IMAGES, method="features")
    # the gradient of a channel's mean is the same everywhere, so the map is the channel's own
    chosen = np.stack([np.asarray(features)[i, :, :, c] for i, c in enumerate(LABELS)])
    positive = np.maximum(chosen, 0)
    expected = positive / positive.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(grad_cam(model, variables, IMAGES, LABELS), expected, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_grad_cam_of_constant_images_has_no_nan(closed_form, value):
    found = grad_cam(*closed_form, jnp.full((2, 8, 8, 3), value), LABELS[:2])
    np.testing.assert_allclose(found, np.full((2, 8, 8), float(value > 0)), rtol=1e-6)


def test_grad_cam_needs_a_classifier():
    model = create_model("seresnet20", num_classes=0, stage_sizes=(1,))
    with pytest.raises(ValueError, match="has no classifier on features"):
        grad_cam(model, {}, IMAGES, LABELS)
