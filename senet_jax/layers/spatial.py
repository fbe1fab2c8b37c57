"""Attention to places, alone and joined with attention to channels: CBAM, BAM, scSE."""

from collections.abc import Callable, Mapping
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax import fused
from senet_jax.fused import Features
from senet_jax.layers.activations import gate
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.conv import Conv, kaiming_fan_out
from senet_jax.layers.excitations import Bottleneck
from senet_jax.layers.maximum import largest
from senet_jax.layers.norm import BatchNorm
from senet_jax.layers.parts import own
from senet_jax.layers.se import reduced_channels
from senet_jax.layers.squeezes import Pool, as_array

__all__ = ["BAM", "CBAM", "SCSE", "SpatialAttention"]

ALONG: Mapping[str, Callable[..., jax.Array]] = {"max": largest, "mean": jnp.mean}


def maps(u: Features, who: nn.Module) -> tuple[jax.Array, jax.Array]:
    """Features `[N, H, W, C]` as an array, in their own dtype and wide enough for statistics.

    Raises:
      ValueError: they have another number of axes.
    """
    x = fused.finish(u, act=None)
    if x.ndim != 4:
        raise ValueError(
            f"features have shape {x.shape}, expected [N, H, W, C]: {type(who).__name__} tells"
            " height from width; for other ranks choose an attention to channels."
        )
    return x, as_array(x)


def statistics_along(x: jax.Array, axis: int, kinds: tuple[str, ...]) -> jax.Array:
    """One axis of `[N, H, W, C]` replaced by its statistics, which become the last axis."""
    unknown = [kind for kind in kinds if kind not in ALONG]
    if unknown:
        raise ValueError(
            f"Unknown statistic {unknown}: expected one or more of {', '.join(map(repr, ALONG))}."
        )
    return jnp.stack([ALONG[kind](x, axis=axis) for kind in kinds], axis=-1)


def check_odd(kernel_size: int) -> None:
    """Raises: ValueError where a padded convolution would change the size of a map."""
    if kernel_size % 2 == 0:
        raise ValueError(
            f"kernel_size={kernel_size}: expected an odd number, so that the gates have the size"
            " of the features."
        )


class SpatialAttention(nn.Module):
    """One gate for each position (CBAM's second half, arXiv 1807.06521, section 3):
    `[N, H, W, C]` -> the same shape and dtype.

        u * sigmoid(BN(conv7x7([max_c u, mean_c u])))       gates [N, H, W, 1], float32

    The gates start at 1/2 everywhere, as the authors' norm has the scale 0 at first. Without
    statistics the convolution sees all channels: the spatial half of scSE (arXiv 1803.02579) is
    `SpatialAttention(kinds=(), kernel_size=1, use_bias=True, norm=None)`. 100 parameters; C + 1 of
    the half of scSE.

    Attributes:
      kinds: statistics along the channels, "max" and "mean", in the order of the kernel's inputs;
        timm stacks ("mean", "max"). None, `()`: the features themselves.
      average: several statistics are averaged to one (timm's light CBAM).
      kernel_size: odd.
      use_bias: of the convolution.
      gate: a name from `senet_jax.layers.activations`, not "softmax", which is over channels.
      norm: a template, or None; timm's has torch's default momentum and the scale 1.
    """

    kinds: tuple[str, ...] = ("max", "mean")
    average: bool = False
    kernel_size: int = 7
    use_bias: bool = False
    gate: str = "sigmoid"
    # torch's momentum 0.01, counted the other way round; zero scale: model_resnet.py of the authors
    norm: BatchNorm | None = BatchNorm(momentum=0.99, scale_init=nn.initializers.zeros)
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        check_odd(self.kernel_size)
        if self.gate == "softmax":
            raise ValueError("gate='softmax' is 1 at every position, which has a single gate.")
        x, y = maps(u, self)
        if self.kinds:
            y = statistics_along(y, -1, self.kinds)
        if self.average:
            y = jnp.mean(y, axis=-1, keepdims=True)
        conv = partial(Conv, use_bias=self.use_bias, param_dtype=self.param_dtype, name="conv")
        y = conv(1, self.kernel_size)(y)
        if self.norm is not None:
            y = fused.finish(self.norm.clone(name="bn", parent=self)(y), act=None)
        s = gate(self.gate)(y)
        self.sow("intermediates", "gates", s)
        return (x * s).astype(x.dtype)


class CBAM(nn.Module):
    """Attention to channels, then to positions (arXiv 1807.06521): `[N, H, W, C]` -> the same.

        v = u * sigmoid(M(mean_hw u) + M(max_hw u))         M: C -> C // 16 -> C, shared
        v * sigmoid(BN(conv7x7([max_c v, mean_c v])))

    As the authors' code: biases in M, the order (max, mean), a spatial norm that starts at zero
    and moves slowly. 8564 parameters at C = 256.

    Two networks in timm differ, without biases in M and with a usual norm:

        channel = ChannelAttention(Pool(("mean", "max")), Bottleneck(divisor=1, use_bias=False))
        spatial = SpatialAttention(("mean", "max"), norm=BatchNorm())
        CBAM(channel, spatial)                              timm's cbam, 8292 parameters

    and its light one, `lcbam`, 8243 parameters, which averages mean and max in both halves:
    `Pool(..., average=True)` and `SpatialAttention(..., average=True)`.

    Attributes:
      channel, spatial: unbound modules, applied in this order.
    """

    channel: nn.Module = ChannelAttention(squeeze=Pool(("mean", "max")))
    spatial: nn.Module = SpatialAttention()

    @nn.compact
    def __call__(self, u: Features) -> Features:
        return own(self, "spatial")(own(self, "channel")(u))


class BAM(nn.Module):
    """Channels and positions in one gate beside the identity (arXiv 1807.06514): `[N, H, W, C]` ->
    the same.

        u * (1 + sigmoid(Mc(u) * Ms(u)))                    gates [N, H, W, C], in (0, 1)
        Mc = fc(relu(BN(fc(mean_hw u))))                    C -> C // 16 -> C, [N, 1, 1, C]
        Ms = conv1x1(two of relu(BN(conv3x3(.)))(relu(BN(conv1x1(u)))))     [N, H, W, 1]

    All layers have biases, the 3x3 convolutions have dilation 4. Published after the first three
    stages of a ResNet, not in its blocks. 17361 parameters at C = 256.

    Attributes:
      reduction: C over the hidden width of both branches.
      dilation, layers: of the 3x3 convolutions, and their number (a common port has 2 and 3).
      combine: "product", as the authors' code, or "sum", as the paper.
      last_norms: both branches end with a norm, as in the paper, not in the code.
      norm: a template.
    """

    reduction: int = 16
    dilation: int = 4
    layers: int = 2
    combine: str = "product"
    last_norms: bool = False
    norm: BatchNorm = BatchNorm()
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        if self.combine not in ("product", "sum"):
            raise ValueError(f"Unknown combine {self.combine!r}: expected 'product' or 'sum'.")
        x, wide = maps(u, self)
        hidden = reduced_channels(x.shape[-1], self.reduction)
        channel = self._channel(fused.squeeze(u), hidden)[:, None, None]
        spatial = self._spatial(wide, hidden)
        logits = channel * spatial if self.combine == "product" else channel + spatial
        s = nn.sigmoid(logits)
        self.sow("intermediates", "gates", s)
        return (x * (1 + s)).astype(x.dtype)

    def _channel(self, z, hidden):
        dense = partial(nn.Dense, param_dtype=self.param_dtype)
        y = self._normed(dense(hidden, name="channel_fc1")(z), "channel_bn", nn.relu)
        y = dense(z.shape[-1], name="channel_fc2")(y)
        return self._normed(y, "channel_last_bn") if self.last_norms else y

    def _spatial(self, y, hidden):
        conv = partial(nn.Conv, kernel_init=kaiming_fan_out(), param_dtype=self.param_dtype)
        wide = partial(conv, kernel_dilation=self.dilation, padding=self.dilation)
        y = self._normed(conv(hidden, (1, 1), name="spatial_conv1")(y), "spatial_bn1", nn.relu)
        for i in range(2, self.layers + 2):
            y = wide(hidden, (3, 3), name=f"spatial_conv{i}")(y)
            y = self._normed(y, f"spatial_bn{i}", nn.relu)
        y = conv(1, (1, 1), name=f"spatial_conv{self.layers + 2}")(y)
        return self._normed(y, "spatial_last_bn") if self.last_norms else y

    def _normed(self, y, name, act=None):
        return fused.finish(self.norm.clone(name=name, parent=self)(y), act=act)


class SCSE(nn.Module):
    """Attention to channels and, beside it, to positions (arXiv 1803.02579): `[N, H, W, C]` -> the
    same.

        max(u * sigmoid(fc(relu(fc(mean_hw u)))), u * sigmoid(conv1x1(u)))

    The larger of the two gated maps, element by element, which for negative features is the one
    with the smaller gate. Biases everywhere, C / 2 hidden units. 66177 parameters at C = 256.

    Attributes:
      channel, spatial: unbound modules.
      combine: "max", as the authors' code, or "sum" of the two, as most ports, which reduce by 16:
        `ChannelAttention(excite=Bottleneck(reduction=16))`.
    """

    channel: nn.Module = ChannelAttention(excite=Bottleneck(reduction=2))
    spatial: nn.Module = SpatialAttention(kinds=(), kernel_size=1, use_bias=True, norm=None)
    combine: str = "max"

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        if self.combine not in ("max", "sum"):
            raise ValueError(f"Unknown combine {self.combine!r}: expected 'max' or 'sum'.")
        by_channel, by_position = own(self, "channel")(u), own(self, "spatial")(u)
        if self.combine == "sum":
            return fused.finish(by_channel, by_position, act=None)
        return jnp.maximum(fused.finish(by_channel, act=None), by_position)
