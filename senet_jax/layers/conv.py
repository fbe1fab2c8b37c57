"""Convolution, padded as published networks are."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax.layers.padding import Size, padding_of, pair
from senet_jax.product import defer, pointwise


def kaiming_fan_out(groups: int = 1) -> Callable:
    """Normal, as the public (SE-)ResNets; jax's he_normal is truncated.

    Args:
      groups: a fan-out counts the outputs of one of so many groups alone, as EfficientNet's and
        RegNet's do.
    """
    return nn.initializers.variance_scaling(2.0 * groups, "fan_out", "normal")


class Conv(nn.Module):
    """2-D convolution: `[N, H, W, C]` -> `[N, H', W', features]`, with odd kernels H' is
    ceil(H / strides), unless the padding is "valid".

    Attributes:
      kernel_size: height and width of the kernel, or one number for both.
      dilation: distance between the kernel's values in the features.
      padding: "torch", "same" or "valid", see `senet_jax.layers.padding`: at even sizes, strided
        convolutions by the first two have the same shapes and other numbers.
      kernel_init: None: Kaiming's by the fan-out, of each group with `group_init`.
      deferred: a 1x1 convolution without stride, groups and bias that gives at least twice as many
        channels as it gets returns a `Product`, for a `BatchNorm`; see `senet_jax.product`.

    Raises:
      ValueError: the input isn't `[N, H, W, C]`, the groups do not divide the channels, or the
        stored kernel was made for another number of input channels.
    """

    features: int
    kernel_size: Size = 3
    strides: int = 1
    groups: int = 1
    dilation: int = 1
    padding: str = "torch"
    use_bias: bool = False
    kernel_init: Callable | None = None
    group_init: bool = False
    deferred: bool = False
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:  # an array, or a Product
        shape = self._kernel_shape(x)
        init = self.kernel_init or kaiming_fan_out(self.groups if self.group_init else 1)
        kernel = self.param("kernel", init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if bias is None and self._is_product():
            widens = self.features >= 2 * x.shape[-1]
            multiply = defer if self.deferred and widens else pointwise
            return multiply(x, kernel[0, 0])
        y = jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(self.strides, self.strides),
            padding=padding_of(self.padding, self._reach(), self.strides),
            rhs_dilation=(self.dilation, self.dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )
        return y if bias is None else y + bias.reshape((1, 1, 1, -1))

    def _is_product(self) -> bool:
        """Whether every position's outputs are its inputs times a matrix."""
        return pair(self.kernel_size) == (1, 1) and self.strides == self.groups == 1

    def _reach(self) -> tuple[int, int]:
        """Height and width of what the kernel sees."""
        height, width = pair(self.kernel_size)
        return self.dilation * (height - 1) + 1, self.dilation * (width - 1) + 1

    def _kernel_shape(self, x):
        if x.ndim != 4:
            raise ValueError(f"features have shape {x.shape}, expected [N, H, W, C].")
        channels = x.shape[-1]
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"{self.groups} groups do not divide both {channels} input and {self.features} "
                "output channels: choose a cardinality that does."
            )
        shape = (*pair(self.kernel_size), channels // self.groups, self.features)
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
