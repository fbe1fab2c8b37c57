"""The learnt attention by class, over batches with padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import attention_weights, create_model
from train.attention_report import attention_by_class, write_attention_png

CLASSES = 4
SMALL = dict(num_classes=CLASSES, stage_sizes=(1, 1))


@pytest.fixture(scope="module")
def network():
    model = create_model("seresnet20", **SMALL)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


@pytest.fixture(scope="module")
def batches():
    """Ten images of classes 0, 1 and 3, in batches of six."""
    random = np.random.default_rng(0)
    images = random.normal(size=(12, 8, 8, 1)).astype(np.float32)
    labels = np.array([0, 1, 3, 3, 0, 1, 1, 3, 0, 3, 2, 2])  # the last two are padding
    mask = np.array([1.0] * 10 + [0.0] * 2, np.float32)
    return [
        {"image": images[i : i + 6], "label": labels[i : i + 6], "mask": mask[i : i + 6]}
        for i in (0, 6)
    ]


def test_class_means_are_those_of_all_images_at_once(network, batches):
    model, variables = network
    means = attention_by_class(model, variables, iter(batches), CLASSES)
    images, labels = (
        np.concatenate([b[name] for b in batches])[:10] for name in ("image", "label")
    )
    gates = attention_weights(model, variables, images)
    assert list(means) == list(gates)
    for path, values in gates.items():
        assert means[path].shape == (CLASSES, values.shape[1])
        for c in (0, 1, 3):
            expected = np.asarray(values)[labels == c].mean(axis=0)
            np.testing.assert_allclose(means[path][c], expected, rtol=1e-5)  # other batch sizes


def test_a_class_without_images_is_nan_and_padding_is_no_image(network, batches):
    means = attention_by_class(*network, batches, CLASSES)
    for values in means.values():
        assert np.isnan(values[2]).all()
        assert np.isfinite(values[[0, 1, 3]]).all()


def test_gates_that_differ_by_position_are_averaged_over_them(batches):
    model = create_model("seresnet20", **SMALL | {"attention": "no_squeeze", "stage_sizes": (1,)})
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    (means,) = attention_by_class(model, variables, batches[:1], CLASSES).values()
    (gates,) = attention_weights(model, variables, batches[0]["image"]).values()
    assert gates.shape == (6, 8, 8, 16)
    expected = np.asarray(gates)[batches[0]["label"] == 0].mean(axis=(0, 1, 2))
    np.testing.assert_allclose(means[0], expected, rtol=1e-5)


def test_a_plain_network_has_none(batches):
    plain = create_model("seresnet20", **SMALL | {"attention": None, "stage_sizes": (1,)})
    variables = jax.jit(plain.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    assert attention_by_class(plain, variables, batches, CLASSES) is None


def test_images_as_they_are_stored_are_refused(network):
    batch = {"image": np.zeros((1, 8, 8, 1), np.uint8), "label": np.zeros(1), "mask": np.ones(1)}
    with pytest.raises(TypeError, match="normalise them first"):
        attention_by_class(*network, [batch], CLASSES)


def test_a_split_without_batches_is_refused(network):
    with pytest.raises(ValueError, match="no batches"):
        attention_by_class(*network, [], CLASSES)


def test_the_picture_is_a_png(tmp_path, network, batches):
    file = tmp_path / "attention.png"
    write_attention_png(file, attention_by_class(*network, batches, CLASSES), list("abcd"))
    assert file.read_bytes().startswith(b"\x89PNG")
