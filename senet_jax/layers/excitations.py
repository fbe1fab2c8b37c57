"""How a channel attention answers: statistics `[N, S, C]` -> one value per channel `[N, C]`,
float32, before the gate. The choices for `ChannelAttention(excite=...)`; those in which a channel
is measured against all others are in `senet_jax.layers.relative_excitations`.
"""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax.fused import finish
from senet_jax.layers.activations import activation
from senet_jax.layers.norm import BatchNorm
from senet_jax.layers.se import make_divisible, reduced_channels
from senet_jax.layers.stored import sized_param

__all__ = [
    "AcrossChannels",
    "AcrossChannelsMLP",
    "AcrossChannelsSizes",
    "Bottleneck",
    "Full",
    "Identity",
    "LocalAndGlobal",
    "PerChannel",
]


def one_statistic(z: jax.Array, who: nn.Module) -> jax.Array:
    """`[N, 1, C]` -> `[N, C]`.

    Raises:
      ValueError: there are several.
    """
    if z.shape[1] != 1:
        raise ValueError(
            f"{type(who).__name__} takes one statistic per channel and the squeeze gives"
            f" {z.shape[1]}: average them, Pool(kinds, average=True), or choose an excitation"
            " for several."
        )
    return z[:, 0]


class Bottleneck(nn.Module):
    """SE's two layers, C -> h -> C; of several statistics each goes through them, and the answers
    are added (CBAM).

    Attributes:
      reduction, divisor, hidden, act, use_bias: as in `SEBlock`. timm's global context has the
        reduction 8 with the divisor 1.
      layer_norm: whether the hidden layer is normalised before its activation (global context).
      epsilon: of the layer norm; 1e-5 is mmcv's, timm's is 1e-6.
      zero_init_last: the second layer starts at zero, its bias as well.
    """

    reduction: int = 16
    divisor: int | None = None
    hidden: int | None = None
    act: str = "relu"
    use_bias: bool = True
    layer_norm: bool = False
    epsilon: float = 1e-5
    zero_init_last: bool = False
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        channels = z.shape[-1]
        hidden = self.hidden or reduced_channels(channels, self.reduction, self.divisor)
        dense = partial(nn.Dense, use_bias=self.use_bias, param_dtype=self.param_dtype)
        y = dense(hidden, name="fc1")(z)
        if self.layer_norm:
            y = nn.LayerNorm(self.epsilon, param_dtype=self.param_dtype, name="ln")(y)
        y = activation(self.act)(y)
        start = nn.initializers.zeros if self.zero_init_last else nn.initializers.lecun_normal()
        return jnp.sum(dense(channels, kernel_init=start, name="fc2")(y), axis=1)


class Full(nn.Module):
    """One layer C -> C (effective SE, arXiv 1911.06667); of several statistics the sum."""

    use_bias: bool = True
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        dense = nn.Dense(
            z.shape[-1], use_bias=self.use_bias, param_dtype=self.param_dtype, name="fc"
        )
        return jnp.sum(dense(z), axis=1)


def adaptive_kernel_size(channels: int, gamma: int = 2, beta: int = 1) -> int:
    """ECA's: the odd number next to |log2(C) + b| / gamma, at least 3 (1910.03151, eq. 12)."""
    size = int(abs(math.log2(channels) + beta) / gamma)
    return max(size if size % 2 else size + 1, 3)


def check_kernel_size(size: int, channels: int) -> int:
    """The size itself.

    Raises:
      ValueError: it is even, or reaches over all channels and further.
    """
    if size < 1 or size % 2 == 0 or size > 2 * channels - 1:
        raise ValueError(
            f"kernel_size={size} over {channels} channels: expected an odd number, at most"
            " twice the channels minus one."
        )
    return size


class AcrossChannels(nn.Module):
    """A 1-D convolution over the channels: each sees its neighbours alone (ECA, 1910.03151).

    Variables: `kernel [k, 1]`: 5 values for C = 256.

    Attributes:
      kernel_size: odd; None: by `adaptive_kernel_size`, as timm. The authors' networks state
        theirs, 3 or 5: load their weights by the stored size.
      circular: the first channel is the neighbour of the last (timm's cECA).
    """

    kernel_size: int | None = None
    circular: bool = False
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        z = one_statistic(z, self)
        channels = z.shape[-1]
        wanted = adaptive_kernel_size(channels) if self.kernel_size is None else self.kernel_size
        size = check_kernel_size(wanted, channels)
        init = nn.initializers.lecun_normal(in_axis=0, out_axis=1)
        kernel = self.param("kernel", init, (size, 1), self.param_dtype)[:, 0]
        sides = (size // 2, size // 2)
        padded = jnp.pad(z, ((0, 0), sides), mode="wrap" if self.circular else "constant")
        shifted = [padded[:, i : i + channels] * kernel[i] for i in range(size)]
        return sum(shifted[1:], start=shifted[0])


class AcrossChannelsSizes(nn.Module):
    """Several `AcrossChannels`, added.

    What it computes one kernel of the largest size can compute as well; it starts and is trained
    otherwise. Variables: `conv3`, `conv5`, ..., by their sizes.

    Attributes:
      kernel_sizes: odd, each once.
      circular: as in `AcrossChannels`.
    """

    kernel_sizes: tuple[int, ...] = (3, 5, 7)
    circular: bool = False
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        if not self.kernel_sizes or len(set(self.kernel_sizes)) < len(self.kernel_sizes):
            raise ValueError(
                f"kernel_sizes={self.kernel_sizes}, expected one or more, each once: (3, 5, 7)."
            )
        answers = [
            AcrossChannels(size, self.circular, self.param_dtype, name=f"conv{size}")(z)
            for size in self.kernel_sizes
        ]
        return sum(answers[1:], start=answers[0])


class AcrossChannelsMLP(nn.Module):
    """Two convolutions over the channels, 1 -> h features of size 1, then h -> 1 of size k (timm's
    experiment `ecam`). Variables: `conv1`, `conv2`, with biases: 225 values for C = 256.

    Attributes:
      reduction, divisor, limit: h is `C / reduction` by `make_divisible`.
      kernel_size: as in `AcrossChannels`.
    """

    reduction: int = 8
    divisor: int = 8
    limit: float = 0.9
    kernel_size: int | None = None
    act: str = "relu"
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        z = one_statistic(z, self)[..., None]  # [N, C, 1], channels are the positions
        channels = z.shape[1]
        wanted = adaptive_kernel_size(channels) if self.kernel_size is None else self.kernel_size
        size = check_kernel_size(wanted, channels)
        hidden = make_divisible(channels / self.reduction, self.divisor, self.limit)
        y = nn.Conv(hidden, (1,), param_dtype=self.param_dtype, name="conv1")(z)
        y = activation(self.act)(y)
        last = nn.Conv(1, (size,), padding=size // 2, param_dtype=self.param_dtype, name="conv2")
        return last(y)[..., 0]


class PerChannel(nn.Module):
    """A weight for every statistic of every channel, then batch norm (SRM, arXiv 1903.10829): no
    channel sees another. Starts at zero, so with a sigmoid every gate is 1/2 at first.

    The authors decay neither the kernel nor the norm, and a batch of one image cannot be trained
    on. torch stores the unbiased running variance, of B images a factor B / (B - 1) more than ours.
    Variables: `kernel [S, C]`, `bn`: 1,024 values for C = 256 and two statistics.
    """

    norm: BatchNorm = BatchNorm()
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        init, other = nn.initializers.zeros, "Bottleneck() or Full()"
        weights = sized_param(self, "kernel", init, z.shape[1:], self.param_dtype, other)
        y = jnp.sum(z * weights[None], axis=1)
        return finish(self.norm.clone(name="bn", parent=self)(y), act=None)


class Identity(nn.Module):
    """The statistic itself, without a parameter (gather-excite, arXiv 1810.12348)."""

    def __call__(self, z: jax.Array) -> jax.Array:
        return one_statistic(z, self)


class LocalAndGlobal(nn.Module):
    """Two excitations added before the gate: by default what a channel's neighbours say (ECA) and
    what all channels say (SE). Variables: `local`, `global`: 8,469 values for C = 256.
    """

    nearby: nn.Module = AcrossChannels()
    everywhere: nn.Module = Bottleneck()

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        nearby = self.nearby.clone(name="local", parent=self)
        return nearby(z) + self.everywhere.clone(name="global", parent=self)(z)
