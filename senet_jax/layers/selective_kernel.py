"""Selective kernels: convolutions of several sizes, of which every channel chooses."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax.fused import finish
from senet_jax.layers.conv import Conv
from senet_jax.layers.multi_input import softmax_over_inputs, squeeze_sum, weighted_sum
from senet_jax.layers.norm import BatchNorm
from senet_jax.layers.se import make_divisible

__all__ = ["SelectiveKernel"]


def hidden_width(
    channels: float, reduction: int, divisor: int | None = None, least: int = 32
) -> int:
    """`max(channels // reduction, least)`; with a divisor the quotient is rounded to its multiples,
    timm's way.
    """
    if divisor is None:
        return max(int(channels // reduction), least)
    return max(make_divisible(channels / reduction, divisor), least)


class SelectiveKernel(nn.Module):
    """Selective kernel convolution (SK, arXiv 1903.06586): `[N, H, W, C]` -> `[N, ceil(H /
    strides), ceil(W / strides), features]`.

        U_k = relu(norm(conv_k(x))),  k = 1 ... K
        z = mean over positions of the sum of all U_k
        s = softmax over k of W2 relu(norm(W1 z)), C -> d -> K C, without biases
        y = sum of s_k U_k,  d = max(C / 16, 32)

    It stands in place of a 3x3 convolution with its norm and ReLU: `inner` of a residual network.
    Its norm of the hidden layer is over the images of the batch alone, so training needs several.

    Defaults are the paper's. timm's networks differ: `skresnet18` and `skresnet34` have
    `split_input=True, reduction=8, divisor=16, least=0`, `skresnet50` and `skresnet50d`
    `split_input=True, divisor=8, least=0`, and all but `skresnext50_32x4d` one group.

    Sows "gates" `[N, K, features]`, float32. Parameters of the attention at C = 256 and d = 32:
    24,640.

    Attributes:
      features: channels of every convolution and of the output; None: as many as the input has.
      strides, groups: of the convolutions; residual blocks give their own.
      kernel_sizes: odd, one for each convolution; equal ones are allowed.
      keep_3x3: larger kernels are 3x3 kernels with holes (dilation), 5x5 by 2, 7x7 by 3.
      split_input: each convolution sees its own K-th part of the input's channels (timm's).
      reduction, divisor, least: of the hidden layer's width d, see `hidden_width`.
      conv: makes convolutions, `Conv` or one with its dtypes bound; residual blocks give theirs.
      norm: an unbound `BatchNorm` as template; likewise.
      param_dtype: of the two layers.
    """

    features: int | None = None
    strides: int = 1
    groups: int = 32
    kernel_sizes: tuple[int, ...] = (3, 5)
    keep_3x3: bool = True
    split_input: bool = False
    reduction: int = 16
    divisor: int | None = None
    least: int = 32
    conv: Callable[..., nn.Module] = Conv
    norm: BatchNorm = BatchNorm()
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = self.features or x.shape[-1]
        branches = []
        for i, (size, part) in enumerate(zip(self.kernel_sizes, self._parts(x), strict=True), 1):
            y = self._conv(features, size, f"conv{i}")(part)
            branches.append(finish(self.norm.clone(name=f"bn{i}", parent=self)(y)))
        s = self._gates(squeeze_sum(branches))
        return finish(weighted_sum(branches, s), act=None)

    def _parts(self, x: jax.Array) -> list[jax.Array]:
        """What each convolution sees."""
        count, channels = len(self.kernel_sizes), x.shape[-1]
        least = 3 if self.keep_3x3 else 1
        if not count or any(size % 2 == 0 or size < least for size in self.kernel_sizes):
            raise ValueError(
                f"kernel_sizes={self.kernel_sizes} with keep_3x3={self.keep_3x3}, expected one or"
                f" more odd numbers from {least} on."
            )
        if not self.split_input:
            return [x] * count
        if channels % count:
            raise ValueError(
                f"split_input=True cannot share {channels} channels among {count} convolutions:"
                " choose widths that it divides, or split_input=False."
            )
        return jnp.split(x, count, axis=-1)

    def _conv(self, features: int, size: int, name: str) -> nn.Module:
        size, dilation = (3, (size - 1) // 2) if self.keep_3x3 else (size, 1)
        return self.conv(features, size, self.strides, self.groups, dilation, name=name)

    def _gates(self, z: jax.Array) -> jax.Array:
        channels, count = z.shape[-1], len(self.kernel_sizes)
        hidden = hidden_width(channels, self.reduction, self.divisor, self.least)
        dense = partial(nn.Dense, use_bias=False, param_dtype=self.param_dtype)
        y = finish(self.norm.clone(name="bn", parent=self)(dense(hidden, name="fc1")(z)))
        logits = dense(count * channels, name="fc2")(y).reshape(-1, count, channels)
        s = softmax_over_inputs(logits)
        self.sow("intermediates", "gates", s)
        return s
