"""Split attention: a grouped convolution's outputs, of which every channel chooses."""

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
from senet_jax.layers.padding import avg_pool
from senet_jax.layers.selective_kernel import hidden_width

__all__ = ["SplitAttention"]

POOLS = (None, "before", "after")


class SplitAttention(nn.Module):
    """Split attention (ResNeSt, arXiv 2004.08955) with radix R and cardinality k: `[N, H, W, C]` ->
    `[N, ceil(H / strides), ceil(W / strides), features]`.

        U_1 ... U_R = relu(norm(conv(x))), C -> R C in k R groups
        z = mean over positions of the sum of all U_r
        s = softmax over r of W2 relu(norm(W1 z + b1)) + b2, C -> a -> R C in k groups
        y = sum of s_r U_r,  a = max(C R / 4, 32)

    U_r sees the r-th part of the input's channels alone. With R = 1 the gates are sigmoids: SE on
    the convolution's output, with a norm in the middle. The order of channels, which matters where
    k > 1: the convolution gives [r][group][c], W2 gives [group][r][c].

    It stands in place of a 3x3 convolution with its norm and ReLU: `inner` of a residual network.
    The norm of the hidden layer is over the images of the batch alone, so training needs several.
    Defaults are the authors'. timm rounds `a` to multiples of 8, and its module, not its networks,
    leaves out both norms by default.

    Sows "gates" `[N, R, features]`, float32. Parameters of the attention at C = 256, R = 2, k = 1:
    99,200.

    Attributes:
      features: C of the output; None: as many as the input has.
      strides, groups: of the convolution, `groups` being the cardinality k; residual blocks give
        their own.
      radix: R.
      reduction, divisor, least: of the hidden layer's width a: C R / 4, `C` being of the input, see
        `senet_jax.layers.selective_kernel.hidden_width`.
      pool: None: the convolution has the stride. "after" or "before" it, a 3x3 average pool, of
        which zeros of the border are a part, has a stride in its place (avd, as in all ResNeSts).
      conv: makes convolutions, `Conv` or one with its dtypes bound; residual blocks give theirs.
      norm: an unbound `BatchNorm` as template; likewise.
      param_dtype: of the two layers.
    """

    features: int | None = None
    strides: int = 1
    groups: int = 1
    radix: int = 2
    reduction: int = 4
    divisor: int | None = None
    least: int = 32
    pool: str | None = None
    conv: Callable[..., nn.Module] = Conv
    norm: BatchNorm = BatchNorm()
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.pool not in POOLS:
            raise ValueError(f"Unknown pool {self.pool!r}: expected {', '.join(map(repr, POOLS))}.")
        inputs, features = x.shape[-1], self.features or x.shape[-1]
        strides = self.strides if self.pool is None else 1
        if self.pool == "before":
            x = self._pooled(x)
        conv = self.conv(self.radix * features, 3, strides, self.radix * self.groups, name="conv1")
        y = finish(self.norm.clone(name="bn1", parent=self)(conv(x)))
        splits = jnp.split(y, self.radix, axis=-1)
        s = self._gates(squeeze_sum(splits), inputs)
        y = finish(weighted_sum(splits, s), act=None)
        return self._pooled(y) if self.pool == "after" else y

    def _pooled(self, x: jax.Array) -> jax.Array:
        if self.strides == 1:
            return x
        return avg_pool(x, 3, self.strides, count_padding=True)

    def _gates(self, z: jax.Array, inputs: int) -> jax.Array:
        n, channels = z.shape
        hidden = hidden_width(inputs * self.radix, self.reduction, self.divisor, self.least)
        # dense layers in groups; float32 whatever the features' dtype
        dense = partial(
            Conv, kernel_size=1, groups=self.groups, use_bias=True, param_dtype=self.param_dtype
        )
        y = self.norm.clone(name="bn", parent=self)(dense(hidden, name="fc1")(z[:, None, None]))
        logits = dense(self.radix * channels, name="fc2")(finish(y))
        logits = logits.reshape(n, self.groups, self.radix, -1).swapaxes(1, 2)
        logits = logits.reshape(n, self.radix, channels)
        s = nn.sigmoid(logits) if self.radix == 1 else softmax_over_inputs(logits)
        self.sow("intermediates", "gates", s)
        return s
