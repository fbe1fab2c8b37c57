"""The squeeze-and-excitation block."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import zeros
from jax.typing import DTypeLike

from senet_jax import fused
from senet_jax.fused import AffineMap, Features


def reduced_channels(channels: int, reduction: int, divisor: int | None = None) -> int:
    """Width of the bottleneck between the two layers.

    Args:
      channels: C.
      reduction: the ratio r.
      divisor: None: `C // r`, as the paper and the Caffe release. A number d: `C / r` rounded to a
        multiple of d, at least d; timm's rule with d = 8 (`make_divisible` with `round_limit=0`).

    Raises:
      ValueError: the ratio is not positive, or exceeds the channels under the rule without a floor.
    """
    if reduction < 1:
        raise ValueError(f"reduction={reduction}, expected a ratio of 1 or more.")
    if divisor is not None:
        return max(divisor, int(channels / reduction + divisor / 2) // divisor * divisor)
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
      divisor: how h is rounded, see `reduced_channels`.
      use_bias: the released Caffe networks have biases; the paper's ablations and
        moskomule/senet.pytorch do not.
      identity_start: the gates are `2 sigmoid(...)`, in (0, 2), and the second layer starts at
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
    use_bias: bool = True
    identity_start: bool = False
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def gates(self, z: jax.Array) -> jax.Array:
        """The gates of squeezed features: `[..., C]` -> `[..., C]`, float32, in (0, 1), or (0, 2)
        with `identity_start`.
        """
        channels = z.shape[-1]
        dense = partial(nn.Dense, use_bias=self.use_bias, param_dtype=self.param_dtype)
        hidden = nn.relu(
            dense(reduced_channels(channels, self.reduction, self.divisor), name="fc1")(z)
        )
        if self.identity_start:
            s = 2 * nn.sigmoid(dense(channels, kernel_init=zeros, name="fc2")(hidden))
        else:
            s = nn.sigmoid(dense(channels, name="fc2")(hidden))
        self.sow("intermediates", "gates", s)
        return s

    def __call__(self, u: Features) -> Features:
        if not isinstance(u, AffineMap) and u.ndim < 3:
            raise ValueError(
                f"features have shape {u.shape}, expected [N, *spatial, C], for example "
                "[N, H, W, C]: for features that are pooled already call the block's method gates."
            )
        return fused.scale(u, self.gates(fused.squeeze(u)))
