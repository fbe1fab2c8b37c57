"""Activations and gates by name: a model's options stay plain values that print and compare."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

Activation = Callable[[jax.Array], jax.Array]


def mish(x: jax.Array) -> jax.Array:
    """x tanh(softplus(x)), arXiv 1908.08681."""
    return x * jnp.tanh(jax.nn.softplus(x))


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": nn.relu,
    "relu6": nn.relu6,
    "leaky_relu": nn.leaky_relu,  # slope 0.01, torch's and timm's
    "silu": nn.silu,
    "hard_swish": nn.hard_swish,
    "mish": mish,
}
GATES: Mapping[str, Activation] = {
    "sigmoid": nn.sigmoid,
    "hard_sigmoid": nn.hard_sigmoid,  # relu6(x + 3) / 6, MobileNetV3's
    "tanh": nn.tanh,
    "relu": nn.relu,
    "softmax": nn.softmax,  # over the channels
    "one_plus_tanh": lambda x: 1 + jnp.tanh(x),  # arXiv 1909.11519
    "gaussian": lambda x: jnp.exp(-jnp.square(x) / 2),  # 1 at 0, see `Standardise`
    "identity": lambda x: x,
}
HALVES = ("sigmoid", "hard_sigmoid")  # are 1/2 at 0


def activation(name: str) -> Activation:
    """An activation by name.

    Raises:
      ValueError: with the names there are.
    """
    return _of(ACTIVATIONS, "activation", name)


def gate(name: str) -> Activation:
    """A gate by name.

    Raises:
      ValueError: with the names there are.
    """
    return _of(GATES, "gate", name)


def _of(table: Mapping[str, Activation], what: str, name: str) -> Activation:
    if name not in table:
        raise ValueError(f"Unknown {what} {name!r}: expected {', '.join(map(repr, table))}.")
    return table[name]
