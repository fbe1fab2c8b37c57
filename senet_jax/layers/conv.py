"""Convolution with explicit padding, as every published SE network has it."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

# Kaiming initialisation by fan-out, as the public (SE-)ResNets; jax's he_normal is truncated
kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """2-D convolution: `[N, H, W, C]` -> `[N, ceil(H / strides), ceil(W / strides), features]`.

    Attributes:
      kernel_size: height and width of the kernel, odd.
      padding: "torch" pads `kernel_size // 2` on every side, as Caffe does too. "same" is
        TensorFlow's, which at even sizes pads strided convolutions on one side only: same shapes,
        other numbers.

    Raises:
      ValueError: the input isn't `[N, H, W, C]`, the groups do not divide the channels, or the
        stored kernel was made for another number of input channels.
    """

    features: int
    kernel_size: int = 3
    strides: int = 1
    groups: int = 1
    padding: str = "torch"
    use_bias: bool = False
    kernel_init: Callable = kaiming_fan_out
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = self._kernel_shape(x)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(self.strides, self.strides),
            padding=self._padding(),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )
        return y if bias is None else y + bias.reshape((1, 1, 1, -1))

    def _padding(self):
        if self.padding == "same":
            return "SAME"
        if self.padding != "torch":
            raise ValueError(f"Unknown padding {self.padding!r}: expected 'torch' or 'same'.")
        pad = self.kernel_size // 2
        return ((pad, pad), (pad, pad))

    def _kernel_shape(self, x):
        if x.ndim != 4:
            raise ValueError(f"features have shape {x.shape}, expected [N, H, W, C].")
        channels = x.shape[-1]
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"{self.groups} groups do not divide both {channels} input and {self.features} "
                "output channels: choose a cardinality that does."
            )
        shape = (self.kernel_size, self.kernel_size, channels // self.groups, self.features)
        if self.has_variable("params", "kernel"):
            stored: tuple[int, ...] = self.get_variable("params", "kernel").shape
            if stored != shape:
                raise ValueError(
                    f"{'/'.join(self.path)}/kernel has shape {stored}, but an input with "
                    f"{channels} channels needs {shape}: "
                    "give the input that the variables were made for, or make new variables with "
                    "model.init."
                )
        return shape
