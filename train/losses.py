"""Losses between logits and targets, both `[b, classes]`, one number an image."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def targets_of(labels: jax.Array, classes: int, smoothing: float = 0.0) -> jax.Array:
    """Targets float32 [b, classes] of labels int32 [b]; a share `smoothing` is for all alike."""
    return optax.smooth_labels(jax.nn.one_hot(labels, classes), smoothing)


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Of a softmax over the classes, [b]."""
    return optax.softmax_cross_entropy(logits, targets)


def binary_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Of a sigmoid for every class by itself, the mean over the classes, [b]: arXiv 2110.00476."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, targets), axis=-1)


# By config.loss.
LOSSES: dict[str, Loss] = {
    "binary_cross_entropy": binary_cross_entropy,
    "cross_entropy": cross_entropy,
}
