"""Linen modules that every family shares."""

from senet_jax.layers.conv import Conv
from senet_jax.layers.head import Head
from senet_jax.layers.norm import BatchNorm
from senet_jax.layers.se import SEBlock, reduced_channels

__all__ = ["BatchNorm", "Conv", "Head", "SEBlock", "reduced_channels"]
