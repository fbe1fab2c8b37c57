"""RandAugment's changes against Pillow's, and what is drawn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from train.rand_augment import COLOURS, SHAPES, _reshaped, rand_augment


def photo(seed=0, low=20, high=230):
    """Something smooth with all levels between two, uint8 [32, 40, 3]."""
    r = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :40]
    waves = [np.sin(y / r.uniform(3, 9) + x / r.uniform(3, 9) + r.uniform(0, 6)) for _ in range(3)]
    unit = (np.stack(waves, -1) + 1) / 2
    return np.round(low + (high - low) * unit).astype(np.uint8)


def changed(name, image, strength):
    out = COLOURS[name](jnp.asarray(image, jnp.float32) / 255, jnp.float32(strength))
    assert out.shape == image.shape and out.dtype == jnp.float32
    return np.asarray(out) * 255


def enhanced(kind):
    return lambda image, strength: kind(image).enhance(1 + 0.9 * strength)


def threshold(strength):
    """The first level that is turned round."""
    return math.ceil(round(255 * (1 - abs(strength)), 6))


PILLOW = {
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "brightness": enhanced(ImageEnhance.Brightness),
    "colour": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "equalise": lambda image, _: ImageOps.equalize(image),
    "posterise": lambda image, strength: ImageOps.posterize(image, 8 - round(4 * abs(strength))),
    "sharpness": enhanced(ImageEnhance.Sharpness),
    "solarise": lambda image, strength: ImageOps.solarize(image, threshold(strength)),
    "same": lambda image, _: image,
}


@pytest.mark.parametrize("strength", [0.9, -0.6])
@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_pillows(name, strength):
    image = photo()
    expected = np.asarray(PILLOW[name](Image.fromarray(image), strength), np.float32)
    got = changed(name, image, strength)
    # Pillow works in whole levels, and rounds greys and means before it blends
    assert np.abs(got - expected).max() <= (0.01 if name in ("equalise", "posterise") else 1.6)


@pytest.mark.parametrize("name", COLOURS)
def test_flat_and_grey_images_stay_finite(name):
    for image in (np.full((4, 5, 3), 255, np.uint8), np.zeros((4, 5, 1), np.uint8)):
        got = changed(name, image, 0.9)
        assert np.isfinite(got).all() and got.min() >= 0 and got.max() <= 255


@pytest.mark.parametrize("which", range(SHAPES))
def test_shapes_are_an_affine_map_of_pillows(which):
    """Turns of 30 degrees, shears of 0.3, moves of 150/331: the centre stays, or moves."""
    image = photo()
    h, w, _ = image.shape
    strengths = 0.5 * np.eye(SHAPES, dtype=np.float32)[which]
    turn, shear_y, shear_x, move_y, move_x = strengths
    cos, sin = np.cos(np.deg2rad(30) * turn), np.sin(np.deg2rad(30) * turn)
    matrix = np.array([[cos, -sin + 0.3 * shear_x], [sin + 0.3 * shear_y, cos]])  # of (x, y)
    centre = np.array([w, h]) / 2  # Pillow's, of pixels' corners
    moved = centre + 150 / 331 * np.array([w * move_x, h * move_y])
    offset = centre - matrix @ moved
    data = (*matrix[0], offset[0], *matrix[1], offset[1])
    expected = Image.fromarray(image).transform(
        (w, h), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
    )
    got = np.asarray(_reshaped(jnp.asarray(image, jnp.float32), jnp.asarray(strengths)))
    # Pillow repeats the outermost pixels by half a pixel, where zeros come in here
    inside = np.asarray(_reshaped(jnp.ones((h, w, 1)), jnp.asarray(strengths)))[..., 0] > 0.999
    assert inside.mean() > 0.5
    assert np.abs(got - np.asarray(expected, np.float32))[inside].max() <= 1.1


def test_every_change_is_drawn_and_two_differ_from_one():
    image = jnp.asarray(photo()[::4, ::4], jnp.float32) / 255
    keys = jax.random.split(jax.random.key(0), 128)
    one = jax.vmap(lambda key: rand_augment(image, key, count=1, magnitude=9.0))(keys)
    same = np.abs(one - image[None]).max(axis=(1, 2, 3)) < 1e-5
    kinds = len(np.unique(np.round(np.asarray(one).mean(axis=(1, 2)), 4), axis=0))
    assert 1 <= same.sum() <= 24  # a 14th of them
    assert kinds >= len(COLOURS) + SHAPES - 2  # signs and all; identity counts once
    two = jax.vmap(lambda key: rand_augment(image, key, count=2, magnitude=9.0))(keys)
    assert float(jnp.abs(two - one).max()) > 0.1
    assert float(two.min()) >= 0 and float(two.max()) <= 1 + 1e-6
