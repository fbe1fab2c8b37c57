"""Scores against their definitions, and what must not change them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import SEBlock, create_model, pruning
from tests.models.twins import random_images, random_variables
from tests.pruning.by_hand import Network
from tests.pruning.small import logits, resnet

LABELS = np.array([1, 5, 5, 9])


@pytest.fixture(scope="module")
def images():
    return random_images(4, size=8)


@pytest.fixture(scope="module")
def measured(images):
    model = resnet(placement="3x3", bottleneck=True)
    variables = random_variables(model, images)
    batches = [(images[:2], LABELS[:2]), (images[2:], LABELS[2:])]
    return model, variables, pruning.measure(model, variables, batches)


def relative(values):
    return values / values.mean()


def test_scores_are_as_defined(measured):
    model, variables, statistics = measured
    found = {
        name: pruning.scores(name, model, variables, statistics)["stage2/block1"]
        for name in pruning.SCORES
    }
    params = variables["params"]["stage2"]["block1"]
    of_block = statistics["stage2/block1"]
    weights = np.linalg.norm(np.asarray(params["conv3"]["kernel"][0, 0]), axis=1)
    expected = {
        "gate": of_block.gate,
        "gate_consumer": of_block.gate * of_block.size * weights,
        "taylor": of_block.taylor,
        "slimming": np.abs(params["bn2"]["scale"]),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], relative(np.asarray(values)), rtol=1e-5)
    assert all(abs(values.mean() - 1) < 1e-6 for values in found.values())


def test_chance_differs_by_seed_and_block(measured):
    model, variables, _ = measured
    first, again = (pruning.scores("random", model, variables) for _ in range(2))
    other = pruning.scores("random", model, variables, seed=1)
    for block in first:
        np.testing.assert_array_equal(first[block], again[block])
        assert np.all(first[block] != other[block])
    assert np.all(first["stage1/block1"] != first["stage2/block1"][:8])


def test_taylors_score_is_the_loss_per_share_of_the_gate(measured, images):
    """Against differences of the loss in float64, image by image."""
    model, variables, statistics = measured
    by_hand, h = Network(model, variables), 1e-5

    def losses(factor):
        scores = by_hand.logits(images, factors={"stage2/block1": factor})
        return np.log(np.exp(scores).sum(1)) - scores[np.arange(4), LABELS]

    for channel in (0, 7, 15):
        step = np.zeros(16)
        step[channel] = h
        slope = (losses(1 + step) - losses(1 - step)) / (2 * h)
        expected = np.abs(slope).mean()
        found = statistics["stage2/block1"].taylor[channel]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_moving_a_factor_between_gate_norm_and_consumer_changes_no_score(images):
    """Gates over a, norm and weights times a: the same function, other gates."""
    model = resnet(
        placement="3x3", bottleneck=True, attention=SEBlock(reduction=2, gate="identity")
    )
    variables = random_variables(model, images)
    rng = np.random.default_rng(0)
    for leaf in variables["params"]["stage2"]["block1"]["se"].values():
        leaf.update(jax.tree.map(jnp.abs, dict(leaf)))
    a, b = (jnp.asarray(rng.uniform(0.3, 3, 16), jnp.float32) for _ in range(2))

    def rescale(block):
        se, norm, consumer = block["se"], block["bn2"], block["conv3"]
        gates = {leaf: se["fc2"][leaf] / (a * b) for leaf in ("bias",)}
        gates["kernel"] = se["fc2"]["kernel"] / (a * b)[None]
        # the squeeze grows with the norm, and is to be answered as before
        told = {"kernel": se["fc1"]["kernel"] / a[:, None], "bias": se["fc1"]["bias"]}
        return block | {
            "se": {"fc1": told, "fc2": gates},
            "bn2": {leaf: norm[leaf] * a for leaf in norm},
            "conv3": {"kernel": consumer["kernel"] * b[None, None, :, None]},
        }

    params = variables["params"]
    stage2 = params["stage2"] | {"block1": rescale(params["stage2"]["block1"])}
    other = variables | {"params": params | {"stage2": stage2}}
    same = logits(model, variables, images)
    np.testing.assert_allclose(logits(model, other, images), same, rtol=1e-4, atol=1e-4)
    rankings = {}
    for name in ("gate", "gate_consumer"):
        rankings[name] = [
            pruning.scores(name, model, v, pruning.measure(model, v, [images]))["stage2/block1"]
            for v in (variables, other)
        ]
    np.testing.assert_allclose(*rankings["gate_consumer"], rtol=1e-4)
    assert np.abs(np.subtract(*rankings["gate"])).max() > 0.1


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("size", {}, "Unknown score 'size': expected 'gate', .*'random'"),
        ("gate", dict(attention=None), "score 'gate' is of gates and no block has any"),
        ("gate", dict(placement="post"), "of gates and no block has any .* choose 'slimming'"),
        ("gate", {}, "gates' gate was not measured: give statistics=measure"),
        ("taylor", {}, r"not measured: .* pairs \(images, labels\) as batches"),
    ],
)
def test_wrong_inputs_get_a_sentence(name, options, sentence, images):
    model = resnet(**options)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    with pytest.raises(ValueError, match=sentence):
        pruning.scores(name, model, variables)


def test_no_images_are_refused():
    model = create_model("resnet20", stage_sizes=(1, 1))
    with pytest.raises(ValueError, match="no images to measure: batches was empty"):
        pruning.measure(model, {"params": {}, "batch_stats": {}}, [])


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([1, 2, 3, 77], "Labels are 1 to 77, and the network has the classes 0 to 9"),
        ([-1, 2, 3, 4], "Labels are -1 to 4, and"),
        ([1, 2], r"Labels are int64\[2\], expected a whole number for each of the 4 images"),
        (np.eye(4), r"Labels are float64\[4, 4\], expected a whole number for each"),
    ],
)
def test_wrong_labels_are_refused(labels, sentence, images):
    with pytest.raises(ValueError, match=sentence):
        pruning.measure(resnet(), {"params": {}, "batch_stats": {}}, [(images, labels)])


def test_what_is_not_finite_is_not_measured(measured, images):
    model, variables, _ = measured
    batch = jnp.full_like(images[:2], jnp.nan), LABELS[:2]
    with pytest.raises(ValueError, match=r"measured of stage1/block1 is not finite \(.*gate"):
        pruning.measure(model, variables, [batch])
