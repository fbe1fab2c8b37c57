"""Residual blocks, written in the order in which the paper draws them.

A block gets its `conv` and `norm` bound by the model, and knows neither whether it is training nor
whether batch norm is deferred. `attention` is an unbound module, made anew at each of the block's
places (section 6.5 of the journal version of arXiv 1709.01507, and Table 14):

    standard   relu(S(x) + E(F(x)))        pre    relu(S(x) + F(E(x)))
    post       E(relu(S(x) + F(x)))        identity   relu(E(S(x)) + F(x))
    3x3        E after the batch norm of the block's inner 3x3 convolution
"""

from collections.abc import Callable
from typing import TypeVar

import flax.linen as nn
import jax

from senet_jax.fused import Features, finish

F = TypeVar("F", bound=Features)

PLACES = ("standard", "pre", "post", "identity", "3x3")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet-18 and -34, the CIFAR networks): `[N, H, W, C]` -> `[N, H', W',
    features]`.

    The place "3x3" is after its first convolution.
    """

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    last_scale_init: Callable
    attention: nn.Module | None
    places: tuple[str, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm = self.conv, self.norm
        y = attend(self, "pre", x)
        y = norm(name="bn1")(conv(self.features, 3, self.strides, name="conv1")(y))
        y = finish(attend(self, "3x3", y))
        y = norm(name="bn2", scale_init=self.last_scale_init)(
            conv(self.features, 3, name="conv2")(y)
        )
        y = attend(self, "standard", y)
        return attend(self, "post", finish(y, attend(self, "identity", shortcut(self, x))))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution (ResNet-50 and deeper): `[N, H, W, C]` -> `[N, H', W',
    features]`.

    Attributes:
      width: channels of the 3x3 convolution.
      groups: its groups.
    """

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    last_scale_init: Callable
    attention: nn.Module | None
    places: tuple[str, ...]
    width: int
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm = self.conv, self.norm
        y = attend(self, "pre", x)
        y = finish(norm(name="bn1")(conv(self.width, 1, name="conv1")(y)))
        y = norm(name="bn2")(conv(self.width, 3, self.strides, self.groups, name="conv2")(y))
        y = finish(attend(self, "3x3", y))
        y = norm(name="bn3", scale_init=self.last_scale_init)(
            conv(self.features, 1, name="conv3")(y)
        )
        y = attend(self, "standard", y)
        return attend(self, "post", finish(y, attend(self, "identity", shortcut(self, x))))


def attend(block: "BasicBlock | Bottleneck", place: str, u: F) -> F:
    """The block's attention, if it sits at this place: called `se`, or `se_<place>` if there are
    several.
    """
    if block.attention is None or place not in block.places:
        return u
    name = "se" if len(block.places) == 1 else f"se_{place}"
    return block.attention.clone(name=name, parent=block)(u)


def shortcut(block: "BasicBlock | Bottleneck", x: jax.Array) -> Features:
    """The input itself, or its 1x1 projection where shape or width change (option B of arXiv
    1512.03385).
    """
    if block.strides == 1 and x.shape[-1] == block.features:
        return x
    return block.norm(name="shortcut_bn")(
        block.conv(block.features, 1, block.strides, name="shortcut_conv")(x)
    )
