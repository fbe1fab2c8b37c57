"""Attention that squeezes one axis at a time: height, width, and in one case the channels."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax import fused
from senet_jax.fused import Features
from senet_jax.layers.activations import activation, gate
from senet_jax.layers.conv import Conv, kaiming_fan_out
from senet_jax.layers.norm import BatchNorm
from senet_jax.layers.se import make_divisible
from senet_jax.layers.spatial import check_odd, maps, statistics_along

__all__ = ["CoordinateAttention", "StripAttention", "TripletAttention"]


class CoordinateAttention(nn.Module):
    """A gate for each row and one for each column, by channel (arXiv 2103.02907): `[N, H, W, C]` ->
    the same shape and dtype.

        y = hard_swish(BN(fc([mean_w u, mean_h u])))        [N, H + W, m], one layer for both
        u * sigmoid(fc_h(y_h)) * sigmoid(fc_w(y_w))         [N, H, 1, C] and [N, 1, W, C]

    The norm's statistics are over rows and columns together. As the authors' code: biases, and m =
    max(8, C // 32). 6680 parameters at C = 256.

    timm's `coord` is `CoordinateAttention(reduction=24, divisor=8, use_bias=False)`: C / 16 * 2 / 3
    rounded to a multiple of 8, the same m = 8 at 256 channels, 24 instead of 16 at 512; 6160
    parameters.

    Attributes:
      reduction: C over the hidden width m.
      divisor: None: m = C // reduction, at least 8; a number: the nearest multiple of it.
      hidden: m itself.
      act, gate: names from `senet_jax.layers.activations`.
      use_bias: of all three layers.
      norm: a template.
    """

    reduction: int = 32
    divisor: int | None = None
    hidden: int | None = None
    act: str = "hard_swish"
    gate: str = "sigmoid"
    use_bias: bool = True
    norm: BatchNorm = BatchNorm()
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        x, wide = maps(u, self)
        height, channels = x.shape[1], x.shape[-1]
        dense = partial(
            nn.Dense,
            use_bias=self.use_bias,
            kernel_init=kaiming_fan_out(),
            param_dtype=self.param_dtype,
        )
        y = jnp.concatenate([jnp.mean(wide, axis=2), jnp.mean(wide, axis=1)], axis=1)
        y = dense(self._hidden(channels), name="fc1")(y)
        y = fused.finish(self.norm.clone(name="bn", parent=self)(y), act=activation(self.act))
        rows = dense(channels, name="height_fc")(y[:, :height])[:, :, None]
        columns = dense(channels, name="width_fc")(y[:, height:])[:, None]
        rows, columns = gate(self.gate)(rows), gate(self.gate)(columns)
        self.sow("intermediates", "height_gates", rows)
        self.sow("intermediates", "width_gates", columns)
        return (x * rows * columns).astype(x.dtype)

    def _hidden(self, channels):
        if self.hidden is not None:
            return self.hidden
        if self.reduction < 1:
            raise ValueError(f"reduction={self.reduction}, expected a ratio of 1 or more.")
        if self.divisor is not None:
            return make_divisible(channels / self.reduction, self.divisor, limit=0.0)
        return max(8, channels // self.reduction)


class StripAttention(nn.Module):
    """A gate for each channel at each position, from its row and its column: strip pooling (arXiv
    2003.13328), `[N, H, W, C]` -> the same shape and dtype.

        y = BN(conv3x1(mean_w u)) + BN(conv1x3(mean_h u))   [N, H, 1, C] + [N, 1, W, C]
        u * sigmoid(fc(relu(y)))                            gates [N, H, W, C]

    The convolutions mix all channels and have no biases, the last layer has one. 460032 parameters
    at C = 256: in SPNet it follows the narrow 3x3 convolution of a bottleneck. timm's `strip` is
    another, much smaller module.

    Attributes:
      kernel_size: along the strips, odd.
      act, gate: names from `senet_jax.layers.activations`.
      norm: a template, for both norms.
    """

    kernel_size: int = 3
    act: str = "relu"
    gate: str = "sigmoid"
    norm: BatchNorm = BatchNorm()
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        check_odd(self.kernel_size)
        x, wide = maps(u, self)
        channels = x.shape[-1]
        conv = partial(Conv, channels, param_dtype=self.param_dtype)
        rows = jnp.mean(wide, axis=2, keepdims=True)
        rows = conv((self.kernel_size, 1), name="height_conv")(rows)
        rows = fused.finish(self.norm.clone(name="height_bn", parent=self)(rows), act=None)
        columns = jnp.mean(wide, axis=1, keepdims=True)
        columns = conv((1, self.kernel_size), name="width_conv")(columns)
        columns = fused.finish(self.norm.clone(name="width_bn", parent=self)(columns), act=None)
        y = activation(self.act)(rows + columns)
        init = kaiming_fan_out()
        y = nn.Dense(channels, kernel_init=init, param_dtype=self.param_dtype, name="fc")(y)
        s = gate(self.gate)(y)
        self.sow("intermediates", "gates", s)
        return (x * s).astype(x.dtype)


class TripletAttention(nn.Module):
    """Three gates, each blind to one axis, averaged (arXiv 2010.03045): `[N, H, W, C]` -> the same
    shape and dtype.

        gate_A = sigmoid(BN(conv7x7([max_A u, mean_A u])))
        u * (gate_H + gate_W + gate_C) / 3                  [N, 1, W, C], [N, H, 1, C], [N, H, W, 1]

    The convolutions of the first two slide over channels, so these are taken to be ordered. 300
    parameters whatever C. Modules and gates bear the axes that are left, as the authors' `cw`, `hc`
    and `hw`, which are also the kernels' rows and columns.

    Attributes:
      kernel_size: odd.
      no_spatial: without the third.
      norm: a template, for all norms.
    """

    kernel_size: int = 7
    no_spatial: bool = False
    norm: BatchNorm = BatchNorm(momentum=0.99)  # torch's 0.01, counted the other way round
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        check_odd(self.kernel_size)
        x, wide = maps(u, self)
        # [N, C, W, 2] -> [N, 1, W, C], then [N, H, C, 2] -> [N, H, 1, C]
        pooled = statistics_along(wide, 1, ("max", "mean")).swapaxes(1, 2)
        gates = [self._gate(pooled, "cw").transpose(0, 3, 2, 1)]
        gates += [self._gate(statistics_along(wide, 2, ("max", "mean")), "hc").swapaxes(2, 3)]
        if not self.no_spatial:
            gates += [self._gate(statistics_along(wide, 3, ("max", "mean")), "hw")]
        for name, s in zip(("cw", "hc", "hw"), gates, strict=False):
            self.sow("intermediates", f"{name}_gates", s)
        return (x * (sum(gates[1:], start=gates[0]) / len(gates))).astype(x.dtype)

    def _gate(self, pooled, name):
        conv = Conv(1, self.kernel_size, param_dtype=self.param_dtype, name=f"{name}_conv")
        norm = self.norm.clone(name=f"{name}_bn", parent=self)
        return nn.sigmoid(fused.finish(norm(conv(pooled)), act=None))
