"""The squeeze-and-excitation block."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import zeros
from jax.typing import DTypeLike

from senet_jax import fused
from senet_jax.fused import AffineMap, Features
from senet_jax.layers.activations import HALVES, activation, gate


def make_divisible(value: float, divisor: int = 8, limit: float = 0.9) -> int:
    """A width as a multiple of `divisor`: the nearest, at least one of it, and the next larger
    where rounding took away more than `1 - limit` (MobileNet's rule, with timm's arguments).
    """
    nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < limit * value else nearest


def reduced_channels(
    channels: int, reduction: int, divisor: int | None = None, limit: float = 0.0
) -> int:
    """Width of the bottleneck between the two layers.

    Args:
      channels: C.
      reduction: the ratio r.
      divisor: None: `C // r`, as the paper and the Caffe release. A number d: `C / r` rounded to a
        multiple of d, at least d; timm's rule in residual networks with d = 8.
      limit: with a divisor, the share of `C / r` that rounding must leave; MobileNetV3's is 0.9.

    Raises:
      ValueError: the ratio is not positive, or exceeds the channels under the rule without a floor.
    """
    if reduction < 1:
        raise ValueError(f"reduction={reduction}, expected a ratio of 1 or more.")
    if divisor is not None:
        return make_divisible(channels / reduction, divisor, limit)
    if reduction > channels:
        raise ValueError(
            f"reduction={reduction} leaves no unit of {channels} channels: choose a ratio up to "
            f"{channels}, or divisor=8 for a width of at least 8."
        )
    return channels // reduction


class SEBlock(nn.Module):
    """Squeeze-and-excitation (arXiv 1709.01507, section 3), shape and dtype as the input's.

    The gates `sigmoid(W2 relu(W1 mean(u) + b1) + b2)`, float32, multiply the channels. The first
    axis is the batch, every axis between it and the channels is squeezed, so sequences `[N, T, C]`,
    images and volumes work alike. Given a batch norm's `AffineMap`, it returns one: then the block
    costs no pass over memory.

    Variables: `params/{fc1, fc2}/{kernel, bias}`, kernels `[C, h]` and `[h, C]`. The gates can be
    had from a whole model by `attention_weights`.

    Attributes:
      reduction: the ratio r between C and the bottleneck's width h.
      divisor, limit: how h is rounded, see `reduced_channels`.
      of_input: the ratio is taken of the channels that enter the residual block, not of C, as in
        EfficientNet and RegNetY (`attach` tells how many these are).
      hidden: h itself, where it is no ratio.
      act: between the two layers, a name from `senet_jax.layers.activations`.
      gate: the last activation, a name from the same place: "sigmoid", "hard_sigmoid", ...
      use_bias: the released Caffe networks have biases; the paper's ablations and
        moskomule/senet.pytorch do not.
      identity_start: the gates are twice as large, in (0, 2), and the second layer starts at
        zero, so that every gate is 1 at first: put into a trained network, the block changes
        nothing yet (see `senet_jax.graft`).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> u = jnp.ones((8, 7, 7, 64))
      >>> v, variables = SEBlock(reduction=16).init_with_output(jax.random.key(0), u)
      >>> v.shape
      (8, 7, 7, 64)
    """

    reduction: int = 16
    divisor: int | None = None
    limit: float = 0.0
    of_input: bool = False
    hidden: int | None = None
    act: str = "relu"
    gate: str = "sigmoid"
    use_bias: bool = True
    identity_start: bool = False
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def gates(self, z: jax.Array) -> jax.Array:
        """The gates of squeezed features: `[..., C]` -> `[..., C]`, float32, in (0, 1), or (0, 2)
        with `identity_start`.
        """
        channels = z.shape[-1]
        hidden = self.hidden or reduced_channels(channels, self.reduction, self.divisor, self.limit)
        dense = partial(nn.Dense, use_bias=self.use_bias, param_dtype=self.param_dtype)
        y = activation(self.act)(dense(hidden, name="fc1")(z))
        if self.identity_start and self.gate not in HALVES:
            raise ValueError(
                f"identity_start=True doubles a gate that starts at 1/2, and {self.gate!r} does"
                f" not: choose {' or '.join(map(repr, HALVES))}."
            )
        if self.identity_start:
            s = 2 * gate(self.gate)(dense(channels, kernel_init=zeros, name="fc2")(y))
        else:
            s = gate(self.gate)(dense(channels, name="fc2")(y))
        self.sow("intermediates", "gates", s)
        return s

    def __call__(self, u: Features) -> Features:
        if not isinstance(u, AffineMap) and u.ndim < 3:
            raise ValueError(
                f"features have shape {u.shape}, expected [N, *spatial, C], for example "
                "[N, H, W, C]: for features that are pooled already call the block's method gates."
            )
        return fused.scale(u, self.gates(fused.squeeze(u)))
