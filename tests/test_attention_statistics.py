"""Statistics of gates: against NumPy, in parts, with padding, for any order of merging."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import attention_weights, create_model
from senet_jax.attention import (
    between_class_share,
    class_statistics,
    effective_channels,
    merge,
    odd_images,
    of_batch,
    profile_deviation,
    profile_distances,
    saturation,
)

CLASSES = 3
RANDOM = np.random.default_rng(0)
LABELS = np.array([0, 1, 0, 0, 1, 0, 1, 1, 0, 0])  # none of class 2
IMAGES = RANDOM.normal(size=(10, 8, 8, 1)).astype(np.float32)
GATES = {"a/se": RANDOM.uniform(size=(10, 6)), "b/se": RANDOM.uniform(size=(10, 4, 4, 2))}
FIELDS = ("count", "mean", "squares", "shut", "open")


@pytest.fixture(scope="module")
def network():
    model = create_model("seresnet20", num_classes=CLASSES, stage_sizes=(1, 1))
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


def by_numpy(values, labels):
    """Fields of the statistics, from all gates at once."""
    g = values.reshape(len(values), -1, values.shape[-1]).mean(axis=1)
    of_class = [
        g[labels == c] if (labels == c).any() else np.zeros((1, g.shape[1])) for c in (0, 1, 2)
    ]
    known = np.array([[(labels == c).any()] for c in (0, 1, 2)])
    return {
        "count": np.bincount(labels, minlength=CLASSES),
        "mean": np.stack([x.mean(axis=0) for x in of_class]),
        "squares": np.stack([x.var(axis=0) * len(x) for x in of_class]),
        "shut": np.stack([(x < 0.05).mean(axis=0) for x in of_class]) * known,
        "open": np.stack([(x > 0.95).mean(axis=0) for x in of_class]) * known,
    }


def assert_same(found, expected, rtol=1e-5, atol=1e-6):
    for path, block in expected.items():
        for field in FIELDS:
            ours = getattr(found[path], field)
            theirs = block[field] if isinstance(block, dict) else getattr(block, field)
            np.testing.assert_allclose(ours, theirs, rtol, atol, err_msg=f"{path} {field}")


def expected_of(gates, labels):
    return {
        path: by_numpy(np.asarray(values, np.float64), labels) for path, values in gates.items()
    }


def test_a_batch_is_what_numpy_says():
    assert_same(of_batch(GATES, LABELS, CLASSES), expected_of(GATES, LABELS))


@pytest.mark.parametrize("cuts", [(5,), (1, 9), tuple(range(1, 10))])
def test_merged_parts_in_any_order_are_the_whole(cuts):
    places = np.split(np.arange(10), cuts)
    parts = [of_batch({k: v[i] for k, v in GATES.items()}, LABELS[i], CLASSES) for i in places]
    whole = of_batch(GATES, LABELS, CLASSES)
    for order in (parts, parts[::-1]):
        total, *others = order
        for part in others:
            total = jax.jit(merge)(total, part)
        assert_same(total, whole)


def test_gates_that_hardly_differ_keep_their_deviation():
    """Sums of squares would cancel in float32."""
    gates = {"se": 0.9 + 1e-4 * RANDOM.normal(size=(10, 6))}
    found = of_batch(gates, LABELS, CLASSES)["se"]
    exact = np.asarray(gates["se"], np.float32).astype(np.float64)
    np.testing.assert_allclose(found.squares, by_numpy(exact, LABELS)["squares"], rtol=1e-2)


def test_padding_counts_for_nothing_whatever_is_in_it():
    padded = {k: np.concatenate([v, np.full_like(v[:2], np.nan)]) for k, v in GATES.items()}
    labels, mask = np.append(LABELS, [2, -1]), np.append(np.ones(10), [0, 0])
    assert_same(of_batch(padded, labels, CLASSES, mask), expected_of(GATES, LABELS))


def test_a_data_set_in_one_pass_is_all_its_images_at_once(network):
    model, variables = network
    found = class_statistics(
        model, variables, ((IMAGES[i : i + 5], LABELS[i : i + 5]) for i in (0, 5)), CLASSES
    )
    gates = attention_weights(model, variables, IMAGES)
    assert list(found) == list(gates)
    assert_same(found, expected_of(gates, LABELS))
    assert found["stage1/block1/se"].mean.dtype == np.float64
    one_by_one = class_statistics(
        model, variables, ((IMAGES[[i]], LABELS[[i]]) for i in range(10)), CLASSES
    )
    assert_same(one_by_one, found)
    known = found["stage1/block1/se"].known_mean
    assert np.isnan(known[2]).all()
    assert np.isfinite(known[:2]).all()


def test_eight_devices_find_what_one_does(tmp_path):
    command = [sys.executable, "-m", "tests.attention_on_eight_devices", str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    one, eight = (np.load(tmp_path / f"{name}.npz") for name in ("one", "eight"))
    assert one.files == eight.files and len(one.files) == 2 * len(FIELDS)
    for name in one.files:
        np.testing.assert_allclose(eight[name], one[name], 1e-5, 1e-6, err_msg=name)
    assert one["stage1/block1/se:count"].sum() == 37  # 16 + 16 + 5 that are no padding


def test_all_classes_together_are_one_class():
    found = of_batch(GATES, LABELS, CLASSES)["a/se"].over_classes()
    alone = of_batch(GATES, np.zeros(10, int), 1)["a/se"]
    assert_same({"se": found}, {"se": alone})
    np.testing.assert_allclose(found.std[0], GATES["a/se"].std(axis=0), rtol=1e-5)


def test_a_plain_network_has_none():
    plain = create_model("seresnet20", num_classes=CLASSES, stage_sizes=(1,), attention=None)
    variables = jax.jit(plain.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    assert class_statistics(plain, variables, [(IMAGES, LABELS)], CLASSES) == {}


def test_wrong_batches_are_refused(network):
    with pytest.raises(TypeError, match="normalise them first"):
        class_statistics(*network, [(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, int))], CLASSES)
    with pytest.raises(ValueError, match="no batches"):
        class_statistics(*network, [], CLASSES)
    with pytest.raises(ValueError, match="num_classes=0, expected 1 or more"):
        class_statistics(*network, [(IMAGES, LABELS)], 0)
    one, other = of_batch(GATES, LABELS, CLASSES), of_batch(GATES, LABELS, 4)
    with pytest.raises(ValueError, match="different networks or numbers of classes"):
        merge(one, other)


@pytest.mark.parametrize(
    "batch,error,message",
    [
        ((IMAGES[:2], np.array([0, 3])), ValueError, "Labels are 0 to 3, expected 0 to 2"),
        ((IMAGES[:2], [0, 3]), ValueError, "Labels are 0 to 3, expected 0 to 2"),
        (
            (IMAGES[:3], LABELS[:2]),
            ValueError,
            r"Labels have shape \(2,\), expected \[N\] with N=3",
        ),
        ((IMAGES[:3], np.eye(3)), TypeError, "Labels are float64, expected whole numbers"),
        ((IMAGES[:3], LABELS[:3], np.ones(2)), ValueError, r"The mask has shape \(2,\)"),
        (IMAGES, ValueError, r"A batch is ndarray, expected \(images, labels\)"),
        ((IMAGES,), ValueError, r"A batch is 1 arrays, expected \(images, labels\)"),
    ],
)
def test_batches_of_other_arrays_are_refused(network, batch, error, message):
    with pytest.raises(error, match=message):
        class_statistics(*network, [batch], CLASSES)


def test_gates_that_do_not_fit_the_labels_are_refused():
    with pytest.raises(ValueError, match=r"of a/se have shape .* with labels \[N\], not \(3,\)"):
        of_batch(GATES, LABELS[:3], CLASSES)


def test_distances_are_root_mean_squares_of_differences():
    mean = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [np.nan, np.nan]])
    distances = profile_distances(mean)
    with pytest.raises(ValueError, match=r"mean has shape \(2,\), expected \[classes, C\]"):
        profile_distances(mean[0])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(distances[:3, :3], [[0, 1, half], [1, 0, half], [half, half, 0]])
    assert np.isnan(distances[3]).all()


def test_shares_between_classes_at_their_ends():
    by_class_alone = {"se": np.array([[0.2], [0.8], [0.2], [0.8]])}
    within_alone = {"se": np.array([[0.2], [0.2], [0.8], [0.8]])}
    constant = {"se": np.full((4, 1), 0.5)}
    labels = np.array([0, 1, 0, 1])
    for gates, share in ((by_class_alone, 1), (within_alone, 0), (constant, 0)):
        assert between_class_share(of_batch(gates, labels, 2)["se"]) == pytest.approx(share)


def test_saturation_counts_gates_of_images():
    gates = {"se": np.array([[0.01, 0.5], [0.99, 0.5], [0.02, 0.97], [0.3, 0.5]])}
    assert saturation(of_batch(gates, np.zeros(4, int), 1)["se"]) == (0.25, 0.25)


def test_effective_channels_of_equal_single_and_shut_ones():
    gates = np.array([[0.3, 0.3, 0.3, 0.3], [0, 0.7, 0, 0], [0, 0, 0, 0], [-1, 1, -1, 1]])
    np.testing.assert_allclose(effective_channels(gates), [4, 1, 0, 4])


def test_the_image_with_another_class_s_gates_is_the_odd_one():
    rng = np.random.default_rng(1)
    labels = np.array([0] * 10 + [1] * 10)
    gates = np.where(labels[:, None] == 0, 0.2, 0.8) + 0.02 * rng.normal(size=(20, 4))
    gates[3] = 0.8  # mislabelled
    statistics = of_batch({"se": gates}, labels, 2)
    far = profile_deviation({"se": jnp.asarray(gates)}, labels, statistics)
    assert int(np.argmax(far)) == 3
    far = np.delete(np.asarray(far), 3)
    assert far.max() < 1


def test_odd_images_need_images_and_the_network_s_statistics(network):
    statistics = class_statistics(*network, [(IMAGES, LABELS)], CLASSES)
    with pytest.raises(ValueError, match=r"batches was empty, or a generator .* has used up"):
        odd_images(*network, iter(()), statistics)
    other = {"stem/se": next(iter(statistics.values()))}
    with pytest.raises(ValueError, match=r"The gates of stage1/block1/se, .* were not measured"):
        odd_images(*network, [(IMAGES, LABELS)], other)


def test_odd_images_are_numbered_through_padded_batches(network):
    model, variables = network
    batches = [
        (IMAGES[:4], LABELS[:4], np.array([1, 0, 1, 1])),
        (IMAGES[4:8], LABELS[4:8], np.array([0, 1, 1, 1])),
    ]
    statistics = class_statistics(model, variables, batches, CLASSES)
    found = odd_images(model, variables, batches, statistics, keep=4)
    there = [0, 2, 3, 5, 6, 7]
    gates = attention_weights(model, variables, IMAGES[there])
    far = np.asarray(profile_deviation(gates, LABELS[there], statistics))
    assert [image.number for image in found] == np.argsort(-far)[:4].tolist()
    assert [image.label for image in found] == LABELS[there][np.argsort(-far)[:4]].tolist()
