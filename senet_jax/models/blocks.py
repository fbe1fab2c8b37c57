"""Residual blocks, written in the order in which the paper draws them.

A block gets its `conv` and `norm` bound by the model, and knows neither whether it is training nor
whether batch norm is deferred. `attention` is an unbound module, made anew at each of the block's
places (section 6.5 of the journal version of arXiv 1709.01507, and Table 14):

    standard   relu(S(x) + E(F(x)))        pre        relu(S(x) + F(E(x)))
    post       E(relu(S(x) + F(x)))        identity   relu(E(S(x)) + F(x))
    3x3        E after the batch norm of the block's inner 3x3 convolution, or after its `inner`
    activated  relu(S(x) + E(relu(F(x)))), as timm's legacy_seresnet18 and 34
"""

from collections.abc import Callable
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from senet_jax.fused import Features, finish
from senet_jax.layers import attach, avg_pool
from senet_jax.models.training import drop_branch

F = TypeVar("F", bound=Features)

PLACES = ("standard", "pre", "post", "identity", "3x3", "activated")
SHORTCUTS = ("1x1", "3x3", "average")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: `[N, H, W, C]` -> `[N, H', W', features]`.

    The place "3x3" is after its first convolution.

    Attributes:
      shortcut: what projects the input where shape or width change, see `project`.
      antialias: a stride is a 2x2 average pool after the convolution.
      inner: what stands in place of the first convolution, its norm and ReLU, see `convolve`.
      inner_width: channels of the first convolution, if not `features`.
      kept: the channels that the branch computes, if not all.
      drop_rate: how often the branch is left out, see `drop_branch`.
    """

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    last_scale_init: Callable
    attention: nn.Module | None
    places: tuple[str, ...]
    shortcut: str = "1x1"
    antialias: bool = False
    inner: nn.Module | None = None
    inner_width: int | None = None
    kept: tuple[int, ...] | None = None
    drop_rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm = self.conv, self.norm
        strides, pool = strided(self)
        y = attend(self, x, "pre", x)
        y = pool(convolve(self, x, y, 1, self.inner_width or self.features, strides))
        y = conv(outputs(self), 3, name="conv2")(y)
        y = norm(name="bn2", scale_init=self.last_scale_init)(y)
        return join(self, y, x)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution: `[N, H, W, C]` -> `[N, H', W', features]`.

    Attributes:
      width: channels of the 3x3 convolution.
      first_width: channels of the first convolution.
      groups: of the 3x3 convolution (cardinality).
      stride_at: the convolution that has the stride, "3x3" or the first, "1x1", as in the Caffe
        release's SE-ResNets.
      shortcut, antialias: as in `BasicBlock`.
      inner: what stands in place of the 3x3 convolution, its norm and ReLU, see `convolve`.
      inner_width: channels of the 3x3 convolution, if not `width`.
      kept, drop_rate: as in `BasicBlock`.
    """

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    last_scale_init: Callable
    attention: nn.Module | None
    places: tuple[str, ...]
    width: int
    first_width: int
    groups: int = 1
    stride_at: str = "3x3"
    shortcut: str = "1x1"
    antialias: bool = False
    inner: nn.Module | None = None
    inner_width: int | None = None
    kept: tuple[int, ...] | None = None
    drop_rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm = self.conv, self.norm
        strides, pool = strided(self)
        first, second = (strides, 1) if self.stride_at == "1x1" else (1, strides)
        y = attend(self, x, "pre", x)
        y = finish(norm(name="bn1")(conv(self.first_width, 1, first, name="conv1")(y)))
        y = pool(convolve(self, x, y, 2, self.inner_width or self.width, second, self.groups))
        y = conv(outputs(self), 1, name="conv3")(y)
        y = norm(name="bn3", scale_init=self.last_scale_init)(y)
        return join(self, y, x)


Block = BasicBlock | Bottleneck


def convolve(
    block: Block,
    x: jax.Array,
    y: jax.Array,
    number: int,
    features: int,
    strides: int,
    groups: int = 1,
) -> jax.Array:
    """The block's inner 3x3 convolution of `y` with norm and ReLU; `x` is the block's input.

    In its place there may be the block's `inner`, an unbound module with the fields `features`,
    `strides`, `groups`, `conv` and `norm`, which the block fills in. It is called as the
    convolution is, conv1 or conv2.

    Raises:
      ValueError: `inner` is a module without these fields.
    """
    if block.inner is None:
        y = block.conv(features, 3, strides, groups, name=f"conv{number}")(y)
        u = block.norm(name=f"bn{number}")(y)
    else:
        given: dict[str, Any] = dict(features=features, strides=strides, groups=groups)
        given |= dict(conv=block.conv, norm=block.norm(parent=None))
        if missing := [field for field in given if not hasattr(block.inner, field)]:
            raise ValueError(
                f"inner={type(block.inner).__name__} has no {', '.join(missing)}: expected a module"
                " that stands in place of a convolution, for example SelectiveKernel()."
            )
        u = attach(block.inner.clone(**given), block, y, y.shape[-1], f"conv{number}")
    return finish(attend(block, x, "3x3", u))


def join(block: Block, branch: Features, x: jax.Array) -> jax.Array:
    """Branch and shortcut, added and activated."""
    branch = attend(block, x, "standard", branch)
    if "activated" in block.places:
        branch = attend(block, x, "activated", finish(branch))
    if block.kept is not None:
        branch = spread_out(finish(branch, act=None), block.kept, block.features)
    branch = drop_branch(block, branch, block.drop_rate)
    shortcut = attend(block, x, "identity", project(block, x))
    return attend(block, x, "post", finish(branch, shortcut))


def attend(block: Block, x: jax.Array, place: str, u: F) -> F:
    """The block's attention, if it sits at this place: called `se`, or `se_<place>` of several.

    `x` is the block's input.
    """
    if place not in block.places:
        return u
    name = "se" if len(block.places) == 1 else f"se_{place}"
    inner = getattr(block, "width", block.features)
    uncut = {"pre": x.shape[-1], "3x3": inner}.get(place, block.features)
    return attach(block.attention, block, u, x.shape[-1], name, uncut)


def outputs(block: Block) -> int:
    """Channels that the branch computes."""
    return block.features if block.kept is None else len(block.kept)


def spread_out(x: jax.Array, channels: tuple[int, ...], of: int) -> jax.Array:
    """`[..., C]` -> `[..., of]`: the values in these channels, zeros in the others."""
    return jnp.zeros((*x.shape[:-1], of), x.dtype).at[..., jnp.asarray(channels)].set(x)


def project(block: Block, x: jax.Array) -> Features:
    """The input itself, or its projection where shape or width change.

    "1x1" is option B of arXiv 1512.03385. "3x3" has a larger kernel where there is a stride
    (SENet-154), "average" pools before a 1x1 convolution without stride (timm's suffix d).
    """
    if block.strides == 1 and x.shape[-1] == block.features:
        return x
    kernel_size, strides = 1, block.strides
    if block.shortcut == "3x3" and strides > 1:
        kernel_size = 3
    elif block.shortcut == "average" and strides > 1:
        # at odd sizes the last window is smaller, and its mean is true
        x, strides = avg_pool(x, strides, strides, "same"), 1
    y = block.conv(block.features, kernel_size, strides, name="shortcut_conv")(x)
    return block.norm(name="shortcut_bn")(y)


def strided(block: Block) -> tuple[int, Callable[[jax.Array], jax.Array]]:
    """The stride of the block's convolution, and what pools after it."""
    if not block.antialias or block.strides == 1:
        return block.strides, lambda y: y
    return 1, halved


def halved(x: jax.Array) -> jax.Array:
    """2x2 average pool.

    Raises:
      ValueError: height or width is odd: branch and shortcut would then differ in size.
    """
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(
            f"Features of {x.shape[1]}x{x.shape[2]} cannot be halved by this network's average "
            "pools: give images whose sides the strides divide, for example multiples of 32."
        )
    return avg_pool(x, 2, 2, "valid")
