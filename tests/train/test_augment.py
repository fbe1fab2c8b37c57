"""Augmentation on the device, against SciPy's warp and closed forms."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from configs.defaults import defaults
from train.augment import AugmentOptions, augment, normalise, to_unit, warp

CHECKOUT = Path(__file__).parents[2]
EVERYTHING = AugmentOptions(
    shift=1.5, rotate=20, scale=0.2, shear=10, flip=True, crop_padding=2, cutout=3
)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(1, 256, (32, 8, 8, 1), dtype=np.uint8)  # no zeros


def augmented(images, options, seed=0):
    apply = jax.jit(lambda x, k: augment(x, k, options))
    return np.asarray(apply(images, keys(len(images), seed)))


def test_with_all_off_images_are_only_scaled_to_0_to_1(images):
    out = augmented(images, AugmentOptions())
    assert out.dtype == np.float32
    assert np.array_equal(out, images * np.float32(1 / 255))
    assert np.array_equal(out, to_unit(jnp.asarray(images)))  # the same bits outside of jit
    np.testing.assert_allclose(out, images / 255, rtol=1.2e-7)  # one rounding of 1 / 255
    assert augmented(np.full((1, 1, 1, 1), 255, np.uint8), AugmentOptions()) == 1.0


def test_what_is_off_is_not_traced(images):
    def operations(options):
        program = jax.make_jaxpr(lambda x, k: augment(x, k, options))(images, keys(len(images)))
        return {str(equation.primitive) for equation in program.eqns}

    assert operations(AugmentOptions()) == {"convert_element_type", "mul"}
    assert "gather" in operations(AugmentOptions(shift=1))
    assert "gather" not in operations(AugmentOptions(flip=True, cutout=2))


def test_the_config_has_just_these_options():
    assert AugmentOptions.from_config(defaults().data.augment) == AugmentOptions()


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 10, 3)])
def test_a_warp_agrees_with_scipy(shape):
    random = np.random.default_rng(1)
    h, w, _ = shape
    centre = (np.array([h, w]) - 1) / 2
    for _ in range(10):
        image = random.uniform(size=shape).astype(np.float32)
        shift, scale = random.uniform(-3, 3, 2), random.uniform(0.5, 1.5)
        angle, lean = random.uniform(-np.pi, np.pi), random.uniform(-0.7, 0.7)
        # Rows and columns count down and to the right: so turns a point counter-clockwise ...
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shear = np.array([[1, 0], [-np.tan(lean), 1]])  # ... and so it leans to the right
        back = np.linalg.inv(turn @ (scale * shear))
        offset = centre - back @ (centre + shift)
        expected = np.stack(
            [
                # Not "constant", which is zero as soon as a place is outside by a fraction
                ndimage.affine_transform(image[..., c], back, offset, order=1, mode="grid-constant")
                for c in range(shape[2])
            ],
            axis=-1,
        )
        out = warp(jnp.asarray(image), shift=shift, rotate=angle, scale=scale, shear=lean)
        np.testing.assert_allclose(out, expected, atol=1e-5)  # float32 places, up to 10 pixels


def test_a_quarter_turn_and_a_whole_shift_are_exact_but_for_rounding():
    image = np.random.default_rng(2).uniform(size=(6, 6, 2)).astype(np.float32)
    still = dict(shift=jnp.zeros(2), rotate=0.0, scale=1.0, shear=0.0)
    assert np.array_equal(warp(jnp.asarray(image), **still), image)

    turned = warp(jnp.asarray(image), **still | {"rotate": np.pi / 2})
    np.testing.assert_allclose(turned, np.rot90(image), atol=1e-6)  # cos(pi / 2) is 4e-8

    moved = warp(jnp.asarray(image), **still | {"shift": jnp.array([1.0, -2.0])})
    expected = np.zeros_like(image)
    expected[1:, :-2] = image[:-1, 2:]
    assert np.array_equal(moved, expected)


def test_an_example_is_changed_the_same_in_any_company(images):
    apply = jax.jit(lambda x, k: augment(x, k, EVERYTHING))
    out = apply(images, keys(32))
    order = np.random.default_rng(3).permutation(32)
    assert np.array_equal(apply(images[order], keys(32)[order]), out[order])
    assert not np.array_equal(apply(images, keys(32, seed=1)), out)

    alike = apply(np.repeat(images[:1], 32, axis=0), keys(32))
    assert len({image.tobytes() for image in np.asarray(alike)}) == 32


def test_switching_one_change_on_leaves_the_others_as_they_were(images):
    without = augmented(images, AugmentOptions(flip=True, crop_padding=2))
    with_cutout = augmented(images, AugmentOptions(flip=True, crop_padding=2, cutout=3))
    assert np.array_equal(with_cutout, np.where(with_cutout == 0, 0, without))


def test_a_shift_stays_within_its_limit():
    dot = np.zeros((200, 9, 9, 1), np.uint8)
    dot[:, 4, 4] = 255
    out = augmented(dot, AugmentOptions(shift=1.5))[..., 0]
    np.testing.assert_allclose(out.sum(axis=(1, 2)), 1, rtol=1e-5)
    rows, columns = out.sum(axis=2) @ np.arange(9) - 4, out.sum(axis=1) @ np.arange(9) - 4
    for moves in (rows, columns):
        assert np.abs(moves).max() <= 1.5 + 1e-5
        assert moves.min() < -1
        assert moves.max() > 1


def test_half_of_the_images_are_flipped(images):
    many = np.tile(images, (10, 1, 1, 1))
    out = augmented(many, AugmentOptions(flip=True))
    unit = np.asarray(to_unit(jnp.asarray(many)))
    flipped = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(out, unit, strict=True)])
    untouched = np.array([np.array_equal(a, b) for a, b in zip(out, unit, strict=True)])
    assert (flipped ^ untouched).all()
    assert 0.4 < flipped.mean() < 0.6  # 320 fair coins: 3.6 standard deviations


def test_a_crop_is_one_of_the_places_in_the_padded_image(images):
    out = augmented(images, AugmentOptions(crop_padding=2))
    unit = np.asarray(to_unit(jnp.asarray(images)))
    padded = np.pad(unit, [(0, 0), (2, 2), (2, 2), (0, 0)])
    places = [
        [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(padded[i, top : top + 8, left : left + 8], image)
        ]
        for i, image in enumerate(out)
    ]
    assert all(len(found) == 1 for found in places)
    assert len({found[0] for found in places}) > 10


def test_cutout_zeroes_a_square_that_the_border_may_cut(images):
    out = augmented(np.tile(images, (10, 1, 1, 1)), AugmentOptions(cutout=3))[..., 0]
    sizes = set()
    for image in out:
        rows, columns = np.nonzero(image == 0)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width
        sizes.add((int(height), int(width)))
    assert sizes == {(3, 3), (3, 2), (2, 3), (2, 2)}  # around a pixel on the border 2 are left


def test_normalising_gives_the_training_images_mean_0_and_deviation_1():
    x = np.random.default_rng(4).uniform(size=(50, 4, 4, 3)).astype(np.float32) * [1, 2, 3]
    mean, std = x.mean(axis=(0, 1, 2)), x.std(axis=(0, 1, 2))
    out = np.asarray(normalise(jnp.asarray(x), tuple(mean.tolist()), tuple(std.tolist())))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(out.std(axis=(0, 1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": -1}, "augment.shift is -1, expected at least 0."),
        ({"scale": 1.0}, "augment.scale is 1.0, expected at least 0 and below 1."),
        ({"shear": 90}, "augment.shear is 90, expected at least 0 and below 90."),
        ({"rotate": float("nan")}, "augment.rotate is nan, expected at least 0."),
        ({"cutout": 1.5}, "augment.cutout is 1.5, expected a whole number."),
    ],
)
def test_options_without_a_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AugmentOptions(**options)


def test_images_that_were_normalised_are_refused(images):
    with pytest.raises(ValueError, match=r"images are float32 .*, expected uint8 \[N, H, W, C\]"):
        augment(jnp.ones((1, 8, 8, 1)), keys(1), EVERYTHING)
    with pytest.raises(ValueError, match=r"images are uint8 \(8, 8, 1\), expected"):
        augment(images[0], keys(1), EVERYTHING)


def test_devices_need_not_talk_to_each_other_and_give_the_same_bits():
    program = f"""
import jax, numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from train.augment import AugmentOptions, augment

mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
positions = np.arange(16)

@jax.jit
def apply(images, positions):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), positions)
    return augment(images, keys, {EVERYTHING!r})

split = jax.device_put((images, positions), NamedSharding(mesh, PartitionSpec("data")))
text = apply.lower(*split).compile().as_text()
assert not any(word in text for word in ("all-gather", "all-reduce", "all-to-all", "permute")), text
out = apply(*split)
assert len(out.sharding.device_set) == 4
assert np.array_equal(out, apply(images, positions))
"""
    environment = os.environ | {
        "PYTHONPATH": str(CHECKOUT),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert run.returncode == 0, run.stderr
