"""Max pooling that a GPU differentiates in one pass.

XLA's own gradient (select-and-scatter) becomes four maps of indices and a scatter there: 0.9 of the
25 GB that a training step of ResNet-50 moves at batch 64. Here a byte keeps the maximum's place.
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from senet_jax.layers.padding import Padding, padding_of


def max_pool(x: jax.Array, size: int, strides: int, padding: str = "torch") -> jax.Array:
    """`[N, H, W, C]`; padding is minus infinity, and so never the maximum. Of equal maxima the
    first has the gradient.
    """
    pads = padding_of(padding, size, strides)
    return jax.lax.platform_dependent(
        x,
        cuda=partial(_by_place, size=size, strides=strides, pads=pads),
        default=partial(_reduced, size=size, strides=strides, pads=pads),
    )


def _reduced(x: jax.Array, *, size: int, strides: int, pads: Padding) -> jax.Array:
    return nn.max_pool(x, (size, size), (strides, strides), pads)


def _by_place(x: jax.Array, *, size: int, strides: int, pads: Padding) -> jax.Array:
    """The same, the gradient included, by the place of the maximum in its window."""
    sides: Sequence[tuple[int, int]] = pads if pads != "SAME" else _same(x, size, strides)
    padded = jnp.pad(x, ((0, 0), *sides, (0, 0)), constant_values=-jnp.inf)
    height, width = (strides * ((n - size) // strides) + 1 for n in padded.shape[1:3])
    windows = [
        padded[:, i : i + height : strides, j : j + width : strides]
        for i in range(size)
        for j in range(size)
    ]
    best, place = windows[0], jnp.zeros(windows[0].shape, jnp.uint8)
    for k, value in enumerate(windows[1:], 1):
        better = (value > best) | (jnp.isnan(value) & ~jnp.isnan(best))
        best, place = jnp.where(better, value, best), jnp.where(better, jnp.uint8(k), place)
    place = jax.lax.stop_gradient(place)
    chosen = (jnp.where(place == k, value, 0) for k, value in enumerate(windows))
    return sum(chosen, start=jnp.zeros_like(best))


def _same(x, size, strides):
    return jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (strides, strides), "SAME")
