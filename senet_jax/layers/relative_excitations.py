"""Excitations in which a channel's answer depends on where its statistics stand among those of all
channels of the same example: `[N, S, C]` -> `[N, C]`, float32. More choices for
`ChannelAttention(excite=...)`.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax.layers.excitations import one_statistic
from senet_jax.layers.stored import sized_param

__all__ = ["GatedNorm", "SelfAttention", "Standardise"]


class GatedNorm(nn.Module):
    """The normalisation of the gated channel transformation (arXiv 1909.11519), one statistic:

        e = alpha z,    answer = gamma e / sqrt(mean_c e^2 + epsilon) + beta

    Use it as `ChannelAttention(Pool(("l2",)), GatedNorm(), gate="one_plus_tanh")`. At first alpha
    is 1, gamma and beta are 0, so that every gate is exactly 1; alpha has no gradient until gamma
    has moved. The authors put it before every convolution and do not decay beta.

    Variables: `alpha`, `gamma`, `beta`, each `[C]`: 768 values for C = 256.

    Attributes:
      order: 1: by `mean_c |e| + epsilon`, for `Pool(("l1",))`.
    """

    order: int = 2
    epsilon: float = 1e-5
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        z = one_statistic(z, self)
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        shape = z.shape[-1:]
        e = z * self.param("alpha", ones, shape, self.param_dtype)[None]
        gamma = self.param("gamma", zeros, shape, self.param_dtype)[None]
        beta = self.param("beta", zeros, shape, self.param_dtype)[None]
        if self.order == 2:
            size = jnp.sqrt(jnp.mean(jnp.square(e), axis=-1, keepdims=True) + self.epsilon)
        elif self.order == 1:
            size = jnp.mean(jnp.abs(e), axis=-1, keepdims=True) + self.epsilon
        else:
            raise ValueError(f"order={self.order}, expected 2, or 1 for sums of absolute values.")
        return e * (gamma / size) + beta


class Standardise(nn.Module):
    """`(z - mean_c z) / sqrt(var_c z + epsilon) / width`, one statistic: with the gate "gaussian",
    exp(-t^2 / 2), the Gaussian context transformer (CVPR 2021):

        g = exp(-y^2 / (2 width^2)),    y the standardised mean

    Every gate is 1 where all statistics are equal, and far from the mean, above as well as below,
    gates shut. No parameters (its variant B0), or `width []`, 1 value (B1). Neither the formula nor
    epsilon was read in the paper; epsilon is the common port's.

    Attributes:
      width: c of the paper.
      learn_width: whether the width is a parameter that starts at `width`.
      width_multiplies: the common port's exp(-(y^2 / 2) width), an operator's precedence away from
        the formula: exp(-y^2) for the width 2, and not exp(-y^2 / 8).
    """

    width: float = 2.0
    learn_width: bool = False
    width_multiplies: bool = False
    epsilon: float = 1e-5
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        z = one_statistic(z, self)
        if self.width <= 0:
            raise ValueError(f"width={self.width}, expected a number above 0.")
        centred = z - jnp.mean(z, axis=-1, keepdims=True)
        y = centred / jnp.sqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + self.epsilon)
        if self.width_multiplies:
            if self.learn_width:
                raise ValueError(
                    "width_multiplies=True is for the common port, whose width is fixed: leave"
                    " learn_width=False."
                )
            return y * math.sqrt(self.width)
        if not self.learn_width:
            return y / self.width
        return y / self.param("width", nn.initializers.constant(self.width), (), self.param_dtype)


class SelfAttention(nn.Module):
    """Self-attention whose tokens are the channels, each with its S statistics as features
    `t_c [S]`, one head of width d, added to the mean statistic:

        A = softmax((t Wq + bq)(t Wk)^T / sqrt(d)),    answer = mean_s t + A (t Wv + bv)

    Wv and bv are 0 at first, so that the answer starts as the statistic itself, `Identity`. The
    values need one feature each, and a bias of the keys would cancel in the softmax. It follows
    permutations of the channels, and its weights do not depend on C. The map A is `[N, C, C]`: 16
    MiB for each image at C = 2048.

    Our composition: no paper states it. Variables: `query [S, d]`, `query_bias [d]`, `key [S, d]`,
    `value [S, 1]`, `value_bias [1]`: 26 values for one statistic and the default, at any C.

    Attributes:
      features: d.
    """

    features: int = 8
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        t = jnp.swapaxes(z, 1, 2)  # [N, C, S]
        kernel, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        shape = (t.shape[-1], self.features)
        dtype, other = self.param_dtype, "Bottleneck() or Full()"
        query = t @ sized_param(self, "query", kernel, shape, dtype, other)
        query += self.param("query_bias", zeros, (self.features,), dtype)[None, None]
        key = t @ self.param("key", kernel, shape, dtype)
        value = t @ self.param("value", zeros, (t.shape[-1], 1), dtype)
        value += self.param("value_bias", zeros, (1,), dtype)[None, None]
        scores = query @ jnp.swapaxes(key, 1, 2) / math.sqrt(self.features)
        attended = jax.nn.softmax(scores, axis=-1) @ value  # [N, C, 1]
        return jnp.mean(z, axis=1) + attended[..., 0]
