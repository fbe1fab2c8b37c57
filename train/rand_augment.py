"""RandAugment on the device (arXiv 1909.13719): a few changes of colour or shape, drawn for each
image from the paper's list of 14, all of one magnitude.

An image is float32 [H, W, C] in 0..1, with 1 or 3 channels. How much is changed at magnitude 10 is
as in torchvision's RandAugment: the more, the higher the magnitude, in a random direction.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from train.resampling import bilinear

LEVELS = 256
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's
TURN, SHEAR, MOVE, ENHANCE, BITS = 30.0, 0.3, 150 / 331, 0.9, 4  # at 10; degrees, ..., bits lost
SHAPES = 5  # rotate, shear and move along either axis

Strength = jax.Array  # -1..1


def rand_augment(image: jax.Array, key: jax.Array, *, count: int, magnitude: float) -> jax.Array:
    """`count` changes one after the other, each drawn anew; magnitude 0 to 10."""
    for layer in jax.random.split(key, count):
        which, sign = jax.random.split(layer)
        number = jax.random.randint(which, (), 0, len(COLOURS) + SHAPES)
        strength = magnitude / 10 * jnp.where(jax.random.bernoulli(sign), 1.0, -1.0)
        # Over a batch all colours are computed and one chosen; all shapes are one resampling.
        of_colour = jnp.minimum(number, len(COLOURS) - 1)  # the last is none
        coloured = jax.lax.switch(of_colour, list(COLOURS.values()), image, strength)
        shape = jnp.arange(SHAPES) == number - len(COLOURS)
        image = _reshaped(coloured, jnp.where(shape, strength, 0.0))
    return image


def _blend(image: jax.Array, other: jax.Array, strength: Strength) -> jax.Array:
    """Away from the other image, or towards it."""
    return jnp.clip(other + (1 + ENHANCE * strength) * (image - other), 0, 1)


def _brightness(image: jax.Array, strength: Strength) -> jax.Array:
    return _blend(image, jnp.zeros_like(image), strength)


def _colour(image: jax.Array, strength: Strength) -> jax.Array:
    return _blend(image, jnp.broadcast_to(_grey(image), image.shape), strength)


def _contrast(image: jax.Array, strength: Strength) -> jax.Array:
    return _blend(image, jnp.full_like(image, jnp.mean(_grey(image))), strength)


def _sharpness(image: jax.Array, strength: Strength) -> jax.Array:
    """Against its smoothed self, borders as they are: Pillow's."""
    rows = image[:-2] + image[1:-1] + image[2:]
    around = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    smooth = (around + 4 * image[1:-1, 1:-1]) / 13
    return _blend(image, image.at[1:-1, 1:-1].set(smooth), strength)


def _solarise(image: jax.Array, strength: Strength) -> jax.Array:
    return jnp.where(image < 1 - jnp.abs(strength), image, 1 - image)


def _posterise(image: jax.Array, strength: Strength) -> jax.Array:
    step = 2 ** jnp.round(BITS * jnp.abs(strength))
    return jnp.floor(_levels(image) / step) * step / (LEVELS - 1)


def _auto_contrast(image: jax.Array, strength: Strength) -> jax.Array:
    low, high = (f(image, axis=(0, 1), keepdims=True) for f in (jnp.min, jnp.max))
    return jnp.where(high > low, (image - low) / jnp.where(high > low, high - low, 1.0), image)


def _equalise(image: jax.Array, strength: Strength) -> jax.Array:
    """Every level as often as any other, channel by channel: Pillow's."""
    levels = _levels(image).astype(jnp.int32)
    each = jnp.arange(LEVELS)[None, None, None]
    counts = jnp.sum(levels[..., None] == each, axis=(0, 1))  # [C, 256]
    highest = jnp.max(levels, axis=(0, 1))  # [C]
    of_highest = jnp.take_along_axis(counts, highest[:, None], axis=1)
    step = (jnp.sum(counts, axis=1, keepdims=True) - of_highest) // (LEVELS - 1)
    below = jnp.cumsum(counts, axis=1) - counts
    table = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, LEVELS - 1)
    table = jnp.where(step > 0, table, jnp.arange(LEVELS)[None])
    channels = jnp.arange(image.shape[-1])[None, None]
    return table[channels, levels] / (LEVELS - 1)


def _same(image: jax.Array, strength: Strength) -> jax.Array:
    return image


def _reshaped(image: jax.Array, strengths: jax.Array) -> jax.Array:
    """Turned, sheared and moved; `strengths` [5] of turn, shear and move along y and x."""
    h, w, _ = image.shape
    turn, shear_y, shear_x, move_y, move_x = strengths
    angle = jnp.deg2rad(TURN) * turn
    y, x = (jnp.arange(n) - (n - 1) / 2 for n in (h, w))
    y, x = (y - MOVE * h * move_y)[:, None], (x - MOVE * w * move_x)[None, :]
    source_y = jnp.cos(angle) * y + (jnp.sin(angle) + SHEAR * shear_y) * x
    source_x = jnp.cos(angle) * x + (-jnp.sin(angle) + SHEAR * shear_x) * y
    return bilinear(image, source_y + (h - 1) / 2, source_x + (w - 1) / 2)


def _grey(image: jax.Array) -> jax.Array:
    if image.shape[-1] == 1:
        return image
    return jnp.sum(image * np.array(GREY, np.float32)[None, None], axis=-1, keepdims=True)


def _levels(image: jax.Array) -> jax.Array:
    return jnp.round(image * (LEVELS - 1))


COLOURS: dict[str, Callable[[jax.Array, Strength], jax.Array]] = {
    "auto_contrast": _auto_contrast,
    "brightness": _brightness,
    "colour": _colour,
    "contrast": _contrast,
    "equalise": _equalise,
    "posterise": _posterise,
    "sharpness": _sharpness,
    "solarise": _solarise,
    "same": _same,
}
