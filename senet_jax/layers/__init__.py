"""Linen modules and functions that every family shares."""

from senet_jax.layers.activations import activation
from senet_jax.layers.attach import attach
from senet_jax.layers.conv import Conv, kaiming_fan_out
from senet_jax.layers.head import Head
from senet_jax.layers.max_pool import max_pool
from senet_jax.layers.norm import BatchNorm
from senet_jax.layers.padding import avg_pool
from senet_jax.layers.se import SEBlock, make_divisible, reduced_channels

__all__ = [
    "BatchNorm",
    "Conv",
    "Head",
    "SEBlock",
    "activation",
    "attach",
    "avg_pool",
    "kaiming_fan_out",
    "make_divisible",
    "max_pool",
    "reduced_channels",
]
