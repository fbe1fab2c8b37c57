"""What the gates do while a network trains: sums that are collected as it is evaluated."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from senet_jax.attention import OPEN, SHUT, sown_gates

Gates = dict[str, dict[str, float]]  # by block


def gate_sums(intermediates: Mapping[str, Any], mask: jax.Array) -> dict[str, dict[str, jax.Array]]:
    """Of each block's gates, over the images that the mask [b] leaves: sums of their means,
    of those of their squares, and of the share that is shut or open."""
    return {
        path: {
            "mean": _over_images(g, mask),
            "square": _over_images(jnp.square(g), mask),
            "saturated": _over_images((g < SHUT) | (g > OPEN), mask),
        }
        for path, g in sown_gates(intermediates).items()
    }


def describe_gates(sums: Mapping[str, Mapping[str, Any]], count: float) -> Gates:
    """{"mean", "spread", the standard deviation over images and channels, "saturated", the share
    below 0.05 or above 0.95} by block."""
    found = {}
    for path, block in sums.items():
        mean, square, saturated = (float(block[k]) / count for k in ("mean", "square", "saturated"))
        spread = max(square - mean**2, 0.0) ** 0.5
        found[path] = {"mean": mean, "spread": spread, "saturated": saturated}
    return found


def _over_images(values: jax.Array, mask: jax.Array) -> jax.Array:
    means = jnp.mean(values.astype(jnp.float32), axis=tuple(range(1, values.ndim)))
    return jnp.sum(jnp.where(mask > 0, means, 0.0))
