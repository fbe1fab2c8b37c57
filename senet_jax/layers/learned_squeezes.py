"""Statistics with learned weights: `[N, *spatial, C]` -> `[N, S, C]`, float32. More choices for
`ChannelAttention(squeeze=...)`.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax import fused
from senet_jax.fused import Features
from senet_jax.layers.activations import activation
from senet_jax.layers.conv import Conv
from senet_jax.layers.norm import BatchNorm
from senet_jax.layers.squeezes import as_array, as_image, flat
from senet_jax.layers.stored import sized_param

__all__ = ["LinearPool", "SoftClusters", "StridedConvolutions", "WholeMap"]

MSRA = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # the release's filler


class WholeMap(nn.Module):
    """One depthwise convolution as large as the map, then batch norm: the gather of gather-excite
    over the whole map (GE-theta, arXiv 1810.12348). S = 1.

    Its weights fix the size of the features. Variables: `kernel [*spatial, 1, C]`, `bn`; positions
    times C values, and 2 C: 803,328 for C = 256 at 56x56.

    Attributes:
      norm: None: the convolution alone.
      act: after the norm, a name from `senet_jax.layers.activations`; "relu" before a `Bottleneck`
        is GE-theta+.
    """

    norm: BatchNorm | None = BatchNorm()
    act: str | None = None
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        x = as_array(u)
        z = whole_map(self, x, MSRA, otherwise="Pool()")
        act = None if self.act is None else activation(self.act)
        normed = z if self.norm is None else self.norm.clone(name="bn", parent=self)(z)
        return fused.finish(normed, act=act)[:, None]


def whole_map(module: Any, x: jax.Array, init: Callable, otherwise: str) -> jax.Array:
    """A module's parameter `kernel [*spatial, 1, C]`, a depthwise convolution as large as the map:
    `[N, *spatial, C]` -> `[N, C]`. `otherwise` ends the sentence of `sized_param`'s error.
    """
    shape = (*x.shape[1:-1], 1, x.shape[-1])
    kernel = sized_param(module, "kernel", init, shape, module.param_dtype, otherwise)
    return jnp.sum(x * kernel[None, ..., 0, :], axis=tuple(range(1, x.ndim - 1)))


class StridedConvolutions(nn.Module):
    """3x3 depthwise convolutions of stride 2, each with batch norm, ReLU between them, then the
    mean: the gather of gather-excite over an extent (arXiv 1810.12348), pooled to S = 1. Any size.

    GE itself keeps the small map and enlarges its gates; here one gate holds for the whole map.

    Variables: `conv1/kernel [3, 3, 1, C]`, `bn1`, ...; 11 C values for each convolution: 8,448 for
    C = 256 and the default.

    Attributes:
      extent: 2, 4, 8, ...: the product of the strides.
    """

    extent: int = 8
    norm: BatchNorm = BatchNorm()
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        if self.extent < 2 or self.extent & (self.extent - 1):
            raise ValueError(f"extent={self.extent}, expected a power of two: 2, 4, 8, ...")
        x = as_image(u, self)
        channels, steps = x.shape[-1], self.extent.bit_length() - 1
        for i in range(1, steps + 1):
            conv = Conv(
                channels,
                strides=2,
                groups=channels,
                kernel_init=MSRA,
                param_dtype=self.param_dtype,
                name=f"conv{i}",
            )
            y = self.norm.clone(name=f"bn{i}", parent=self)(conv(x))
            if i < steps:
                x = fused.finish(y)
        return fused.squeeze(y)[:, None]  # no ReLU after the last


class LinearPool(nn.Module):
    """A linear map of the positions, the same for all channels: `z_c = sum_p w_p x_pc`. S = 1.

    It starts as the mean (our choice, no paper states it), and its weights fix the size of the
    features. It has no bias: a constant added to every channel is the excitation's business.

    Variables: `kernel [*spatial]`.
    """

    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        x = as_array(u)
        spatial = x.shape[1:-1]
        mean = nn.initializers.constant(1 / math.prod(spatial))
        kernel = sized_param(self, "kernel", mean, spatial, self.param_dtype, "Pool()")
        return jnp.sum(x * kernel[None, ..., None], axis=tuple(range(1, x.ndim - 1)))[:, None]


class SoftClusters(nn.Module):
    """The mean of each of K soft clusters of positions, S = K:

        a_pk = softmax_k(-|x_p - m_k|^2 / (2 sqrt(C)))
        z_k  = sum_p a_pk x_p / sum_p a_pk

    No one paper defines this squeeze. The assignment is NetVLAD's (arXiv 1511.07247, eq. 2 and 3)
    with its softness alpha = 1 / (2 sqrt(C)), so that features of variance 1 differ in their
    assignment by about 1, as in scaled dot-product attention; the centres m_k are the only weights,
    not an independent w_k and b_k, so that a cluster is where its centre lies. NetVLAD's residuals
    become means, since an excitation expects statistics of the features' size, however many
    positions a cluster has. One cluster is the mean over all positions.

    Variables: `centres [K, C]`, standard normal at first: 1,024 values for C = 256 and K = 4.

    Attributes:
      clusters: K.
    """

    clusters: int = 4
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        if self.clusters < 1:
            raise ValueError(f"clusters={self.clusters}, expected 1 or more.")
        x = flat(u)
        shape = (self.clusters, x.shape[-1])
        m = self.param("centres", nn.initializers.normal(1.0), shape, self.param_dtype)
        m = m.astype(x.dtype)
        # |x|^2 is the same for all clusters, so softmax does not see it
        nearness = jnp.einsum("npc,kc->npk", x, m) - jnp.sum(jnp.square(m), axis=1)[None, None] / 2
        log_a = jax.nn.log_softmax(nearness / math.sqrt(x.shape[-1]), axis=2)
        shares = jax.nn.softmax(log_a, axis=1)  # a / sum_p a, without dividing by an empty cluster
        return jnp.einsum("npk,npc->nkc", shares, x)
