"""Blocks around a depthwise convolution, and the rows of tables that describe them."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax

from senet_jax.fused import finish
from senet_jax.layers import activation, attach, make_divisible
from senet_jax.models.spec import check_option
from senet_jax.models.training import drop_branch

KINDS = ("separable", "inverted", "fused", "convolution")
WIDENING = ("inverted", "fused")
PLACES = ("depthwise", "output")


@dataclasses.dataclass(frozen=True)
class Row:
    """A run of equal blocks in a stage; only the first has the stride.

    Attributes:
      kind: "separable": depthwise and 1x1 convolution; "inverted": 1x1 convolution that widens,
        depthwise, 1x1 that narrows; "fused": one full convolution in place of the first two;
        "convolution": nothing else.
      kernel_size: of the depthwise or full convolution.
      strides: of it, in the first block.
      features: channels that come out.
      repeats: blocks.
      expansion: middle channels as a multiple of those that enter.
      attend: whether the blocks have attention, if the network has any.
      act: activation, "" for the network's.
      skip: whether a block's input is added, where stride and width allow.
      last_act: whether the last convolution is activated, too.
    """

    kind: str
    kernel_size: int
    strides: int
    features: int
    repeats: int = 1
    expansion: float = 1
    attend: bool = True
    act: str = ""
    skip: bool = True
    last_act: bool = False


class MobileBlock(nn.Module):
    """A block of a row: `[N, H, W, C]` -> `[N, H', W', row.features]`.

    Attributes:
      middle_width: middle channels, if not as many as the row says.
      drop_rate: how often the branch is left out where there is a shortcut, see `drop_branch`.

    Raises:
      ValueError: a block of a kind that has no middle channels of its own is given a number of
        these.
    """

    row: Row
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    attention: nn.Module | None
    placement: str
    middle_width: int | None = None
    drop_rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        row, conv, norm, act = self.row, self.conv, self.norm, activation(self.row.act)
        inputs, size, strides = x.shape[-1], row.kernel_size, self.strides
        uncut = make_divisible(inputs * row.expansion)
        middle = self.middle_width or uncut
        check_option("kind of block", row.kind, KINDS)
        if self.middle_width is not None and row.kind not in WIDENING:
            raise ValueError(
                f"{'/'.join(self.path)} is to have {middle} middle channels, but {row.kind} blocks"
                " have no others than their inputs: say None for it in middle_widths."
            )
        match row.kind:
            case "separable":
                y = conv(inputs, size, strides, inputs, name="depthwise_conv")(x)
                y = self._attend("depthwise", finish(norm(name="bn1")(y), act=act), inputs)
                y = norm(name="bn2")(conv(row.features, 1, name="pointwise_conv")(y))
            case "inverted":
                y = finish(norm(name="bn1")(conv(middle, 1, name="expand_conv")(x)), act=act)
                y = conv(middle, size, strides, middle, name="depthwise_conv")(y)
                y = self._attend("depthwise", finish(norm(name="bn2")(y), act=act), inputs, uncut)
                y = norm(name="bn3")(conv(row.features, 1, name="project_conv")(y))
            case "fused":
                y = conv(middle, size, strides, name="fused_conv")(x)
                y = self._attend("depthwise", finish(norm(name="bn1")(y), act=act), inputs, uncut)
                y = norm(name="bn2")(conv(row.features, 1, name="project_conv")(y))
            case _:
                y = norm(name="bn1")(conv(row.features, size, strides, name="conv")(x))
        if row.last_act:
            y = finish(y, act=act)
        y = self._attend("output", y, inputs)
        skips = row.skip and strides == 1 and inputs == row.features
        if not skips:
            return finish(y, act=None)
        return finish(drop_branch(self, y, self.drop_rate), x, act=None)

    def _attend(self, place, u, inputs, uncut=None):
        attention = self.attention if self.row.attend and place == self.placement else None
        return attach(attention, self, u, inputs, uncut=uncut)
