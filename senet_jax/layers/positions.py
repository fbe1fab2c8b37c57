"""Attention that compares each position with the whole map: `[N, *spatial, C]` -> the same."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax import fused
from senet_jax.fused import Features
from senet_jax.layers.activations import activation, gate
from senet_jax.layers.se import reduced_channels
from senet_jax.layers.squeezes import as_array

__all__ = ["SGE", "DANetChannelAttention", "NoSqueeze", "SimAM"]


def positions(u: Features) -> tuple[jax.Array, jax.Array]:
    """Features `[N, *spatial, C]` as an array in their own dtype, and as `[N, P, C]` with one axis
    of positions, wide enough for statistics.

    Raises:
      ValueError: there is no axis of positions.
    """
    x = fused.finish(u, act=None)
    if x.ndim < 3:
        raise ValueError(
            f"features have shape {x.shape}, expected [N, *spatial, C], for example [N, H, W, C]."
        )
    return x, as_array(x).reshape(x.shape[0], -1, x.shape[-1])


class SGE(nn.Module):
    """Spatial group-wise enhance (arXiv 1905.09646): a map of gates for each group of channels.

        a_p = <mean_hw u, u_p>                              in each group of C / groups channels
        gate_p = sigmoid(w (a_p - mean a) / (std a + 1e-5) + b)     [N, *spatial, groups]

    The standard deviation is torch's, of n - 1. Starts with w = 0 and b = 1, every gate
    sigmoid(1) = 0.73; some ports start with b = 0, or have 8 groups. 128 parameters whatever C.

    Attributes:
      groups: divide the channels.
    """

    groups: int = 64
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        x, flat = positions(u)
        n, count, channels = flat.shape
        if self.groups < 1 or channels % self.groups:
            raise ValueError(
                f"groups={self.groups} do not divide {channels} channels: choose a number that"
                " does."
            )
        w = self.param("scale", nn.initializers.zeros, (self.groups,), self.param_dtype)
        b = self.param("bias", nn.initializers.ones, (self.groups,), self.param_dtype)
        grouped = flat.reshape(n, count, self.groups, -1)
        a = jnp.sum(jnp.mean(grouped, axis=1, keepdims=True) * grouped, axis=-1)  # [N, P, groups]
        centred = a - jnp.mean(a, axis=1, keepdims=True)
        variance = jnp.sum(jnp.square(centred), axis=1, keepdims=True) / max(count - 1, 1)
        # constant maps are common, behind a norm that starts at zero: the root has no slope there
        some = variance > 0
        std = jnp.where(some, jnp.sqrt(jnp.where(some, variance, 1)), 0)
        s = nn.sigmoid(centred / (std + 1e-5) * w.reshape(1, 1, -1) + b.reshape(1, 1, -1))
        s = s.reshape(*x.shape[:-1], self.groups)
        self.sow("intermediates", "gates", s)
        by_channel = jnp.repeat(s, channels // self.groups, axis=-1)
        return (x * by_channel).astype(x.dtype)


class SimAM(nn.Module):
    """Gates by how much a value stands out from its map (ICML 2021, PMLR v139), without parameters.

        d = (u - mean_hw u)^2,  v = sum_hw d / (n - 1)
        u * sigmoid(d / (4 (v + regularisation)) + 1/2)     gates [N, *spatial, C], in [0.62, 1)

    On a constant map, also that of a single position, every gate is sigmoid(1/2). The authors place
    it before the second norm of a block; their ImageNet runs have the regularisation 0.1.

    Attributes:
      regularisation: the paper's lambda, positive.
    """

    regularisation: float = 1e-4

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        if not self.regularisation > 0:
            raise ValueError(
                f"regularisation={self.regularisation}: expected a positive number, as constant"
                " maps have variance 0."
            )
        x, flat = positions(u)
        squares = jnp.square(flat - jnp.mean(flat, axis=1, keepdims=True))
        variance = jnp.sum(squares, axis=1, keepdims=True) / max(flat.shape[1] - 1, 1)
        s = nn.sigmoid(squares / (4 * (variance + self.regularisation)) + 0.5).reshape(x.shape)
        self.sow("intermediates", "gates", s)
        return (x * s).astype(x.dtype)


class DANetChannelAttention(nn.Module):
    """Each channel plus a mean over all channels, weighted by how little they resemble it (arXiv
    1809.02983, channel attention module).

        E = X^T X                                           [N, C, C], X: [N, positions, C]
        X + gamma * X A^T,  A = softmax(max E - E)          softmax over the second channel

    As the authors' code, with the sign reversed: like channels get little weight. E is not scaled,
    so A is nearly one-hot. No gate, and none can be looked at. One parameter, gamma, which starts
    at 0: the identity, exactly. Published in the head of a segmentation network, not in blocks.
    """

    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        x, flat = positions(u)
        gamma = self.param("gamma", nn.initializers.zeros, (1,), self.param_dtype)
        # an error of 1 in the energy is a factor e of a weight: no shortened products here
        energy = jnp.einsum("npi,npj->nij", flat, flat, precision=jax.lax.Precision.HIGHEST)
        weights = jax.nn.softmax(-energy, axis=-1)  # the maximum cancels
        mixed = jnp.einsum("npj,nij->npi", flat, weights)
        return (flat + gamma.reshape(1, 1, 1) * mixed).reshape(x.shape).astype(x.dtype)


class NoSqueeze(nn.Module):
    """SE without its squeeze: the two layers at every position (arXiv 1709.01507, ablation of the
    squeeze in the journal version, called NoSqueeze there).

        u * sigmoid(W2 relu(W1 u + b1) + b2)                gates [N, *spatial, C]

    Variables are those of an `SEBlock`, 8464 parameters at C = 256; it costs as many multiply-adds
    more as there are positions.

    Attributes:
      reduction, divisor, hidden, act, gate, use_bias: as in `SEBlock`.
    """

    reduction: int = 16
    divisor: int | None = None
    hidden: int | None = None
    act: str = "relu"
    gate: str = "sigmoid"
    use_bias: bool = True
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        x, flat = positions(u)
        channels = x.shape[-1]
        hidden = self.hidden or reduced_channels(channels, self.reduction, self.divisor)
        dense = partial(nn.Dense, use_bias=self.use_bias, param_dtype=self.param_dtype)
        y = activation(self.act)(dense(hidden, name="fc1")(flat))
        s = gate(self.gate)(dense(channels, name="fc2")(y)).reshape(x.shape)
        self.sow("intermediates", "gates", s)
        return (x * s).astype(x.dtype)
