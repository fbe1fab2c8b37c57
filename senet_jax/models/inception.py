"""Inception networks: BN-Inception (arXiv 1502.03167), Inception-v3 (1512.00567), Inception-v4 and
Inception-ResNet-v2 (1602.07261), with and without SE at the end of every module.

A network is a table of modules, a module one of branches, a branch one of convolutions and pools,
as the papers draw them; those of the networks by name are in `inception_variants` and
`inception_cifar`.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import accumulate, chain
from string import ascii_lowercase
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax.fused import finish
from senet_jax.layers import BatchNorm, Head, attach, avg_pool, max_pool
from senet_jax.layers.padding import Size
from senet_jax.models.spec import (
    FeatureInfo,
    bound_layers,
    check_images,
    check_option,
    per_stage,
    some_left,
)

POOLS = ("max", "average")
NORMALISED = ("convolutions", "modules")


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution with the norm and ReLU that follow it.

    Attributes:
      width: channels that come out.
      size: height and width of its kernel, or one number for both.
      padding: "torch", "same" or "valid", see `senet_jax.layers.padding`.
    """

    width: int
    size: Size = 1
    strides: int = 1
    padding: str = "torch"


@dataclasses.dataclass(frozen=True)
class Pool:
    """A 3x3 pool, "max" or "average"; `count_padding` as in `avg_pool`."""

    kind: str
    strides: int = 1
    padding: str = "torch"
    count_padding: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        check_option("kind of pool", self.kind, POOLS)
        if self.kind == "max":
            return max_pool(x, 3, self.strides, self.padding)
        return avg_pool(x, 3, self.strides, self.padding, count_padding=self.count_padding)


Fork = tuple[Conv, ...]  # of one input, concatenated: at the end of branches on the 8x8 grid
Branch = tuple[Conv | Pool | Fork, ...]


@dataclasses.dataclass(frozen=True)
class Mixed:
    """A module: branches of one input, concatenated in this order.

    Attributes:
      branches: of each, its layers in order.
      scale: None: the concatenated branches are the output. A number makes the module residual: a
        1x1 convolution with bias and without norm brings them to the input's channels, and so many
        times that is added to the input.
      act: whether the sum is activated.
      attend: whether the module has attention, if the network has any.
    """

    branches: tuple[Branch, ...]
    scale: float | None = None
    act: bool = True
    attend: bool = True


Layer = Conv | Pool | Fork | Mixed


def mixed(*branches: Conv | Pool | Branch, **options: Any) -> Mixed:
    """A module; a branch of one layer may be given as that layer."""
    return Mixed(tuple(b if isinstance(b, tuple) else (b,) for b in branches), **options)


class Inception(nn.Module):
    """Network of modules: float images `[N, H, W, C]` -> float32 logits `[N, num_classes]`.

    Attributes:
      stem: runs of layers and modules before the first stage, without attention; what each but the
        last ends with is a level of the pyramid.
      stages: of each, its modules.
      num_classes: 0 gives the pooled features instead of logits.
      width: factor of all channels, rounded to the nearest number.
      normalised: what norm and ReLU follow: "convolutions", or "modules" (taki0112's networks):
        then convolutions have a bias and a ReLU, the stem and every module end with norm and ReLU.
      margin: zeros put around the images on every side, in pixels.
      attention: None for the plain network; an unbound module, made anew in every module whose row
        says so: on the concatenated branches, in residual modules on the branch before it is scaled
        and added (arXiv 1709.01507, Figures 2 and 3); with norms at the end of modules, after that;
        or a tuple, one per stage.
      dropout: rate before the classifier; training then needs `rngs={"dropout": key}`.
      norm: an unbound `BatchNorm` as template. Most Inceptions have an epsilon of 1e-3 in it:
        `create_model(name).norm.clone(groups=8)` keeps it.
      dtype, param_dtype: as in `ResNet`.
    """

    stem: tuple[tuple[Layer, ...], ...]
    stages: tuple[tuple[Mixed, ...], ...]
    num_classes: int = 1000
    width: float = 1.0
    normalised: str = "convolutions"
    margin: int = 0
    attention: nn.Module | tuple[nn.Module | None, ...] | None = None
    dropout: float = 0.0
    norm: BatchNorm = BatchNorm()
    dtype: DTypeLike = "float32"
    param_dtype: DTypeLike = "float32"

    def setup(self):
        self.head = Head(self.num_classes, self.dropout, param_dtype=self.param_dtype)

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        return self.head(self.features(images, train=train)[-1], train=train)

    @nn.compact
    def features(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, ...]:
        """The pyramid: two levels of the stem, if it has three runs, and every stage's output, as
        `feature_info` describes.
        """
        check_images(images)
        check_option("normalised", self.normalised, NORMALISED)
        conv, norm = bound_layers(self, train)
        each, last = (norm, None) if self.normalised == "convolutions" else (None, norm)
        stem, stages = scaled(self.stem, self.width), scaled(self.stages, self.width)
        attentions = per_stage("attention", self.attention, len(stages))

        margin = (self.margin, self.margin)
        x = jnp.pad(images, ((0, 0), margin, margin, (0, 0)))
        outputs = Chain(tuple(chain(*stem)), conv, each, name="stem")(x)
        levels = [outputs[end - 1] for end in accumulate(map(len, stem[:-1]))]
        x = outputs[-1]
        if last is not None:
            x = finish(last(name="stem_bn")(x))
        for i, rows in enumerate(stages):
            options = dict(last_norm=last, attention=attentions[i])
            x = Chain(rows, conv, each, **options, name=f"stage{i + 1}")(x)[-1]
            levels.append(x)
        return tuple(levels)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`."""
        channels, stride, levels = 0, 1, []
        runs = [(f"stem{i + 1}", run) for i, run in enumerate(self.stem)]
        runs += [(f"stage{i + 1}", stage) for i, stage in enumerate(self.stages)]
        for name, run in runs:
            channels, stride = _behind(scaled(run, self.width), channels, stride)
            levels.append(FeatureInfo(name, stride, channels))
        del levels[len(self.stem) - 1]
        return tuple(levels)


class Chain(nn.Module):
    """Layers and modules one after another: `[N, H, W, C]` -> the output of each of them.

    What has variables is counted from 1: conv1, bn1, conv2, bn2, block1; a fork's convolutions are
    conv3a, conv3b.

    Attributes:
      norm: what follows every convolution; None: they have biases instead.
      last_norm: what follows every module; None: nothing.
    """

    layers: tuple[Layer, ...]
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module] | None
    last_norm: Callable[..., nn.Module] | None = None
    attention: nn.Module | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        outputs, convs, blocks = [], 0, 0
        for layer in self.layers:
            match layer:
                case Pool():
                    x = some_left(layer(x))
                case Conv():
                    convs += 1
                    x = self._convolve(x, layer, str(convs))
                case Mixed():
                    blocks += 1
                    block = partial(InceptionBlock, layer, self.conv, self.norm, self.last_norm)
                    x = block(self.attention, name=f"block{blocks}")(x)
                case _:
                    convs += 1
                    fork = zip(layer, ascii_lowercase, strict=False)
                    ends = [self._convolve(x, row, f"{convs}{letter}") for row, letter in fork]
                    x = jnp.concatenate(ends, axis=-1)
            outputs.append(x)
        return outputs

    def _convolve(self, x, row, number):
        bias = self.norm is None
        conv = partial(self.conv, padding=row.padding, use_bias=bias, name=f"conv{number}")
        y = some_left(conv(row.width, row.size, row.strides)(x))
        return finish(y if self.norm is None else self.norm(name=f"bn{number}")(y))


class InceptionBlock(nn.Module):
    """A module: `[N, H, W, C]` -> `[N, H', W', C']`; its branches are branch1, branch2 and so on.

    Attributes:
      norm, last_norm: as in `Chain`.
    """

    row: Mixed
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module] | None
    last_norm: Callable[..., nn.Module] | None
    attention: nn.Module | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        row, inputs = self.row, x.shape[-1]
        attention = self.attention if row.attend else None
        branches = enumerate(row.branches, 1)
        ends = [Chain(b, self.conv, self.norm, name=f"branch{i}")(x)[-1] for i, b in branches]
        if len({end.shape[1:3] for end in ends}) > 1:
            raise ValueError(
                f"Features of {x.shape[1]}x{x.shape[2]} cannot be halved by this network, whose"
                " pools and convolutions round their sizes in other ways: give images whose sides"
                " are multiples of 32."
            )
        y = jnp.concatenate(ends, axis=-1)
        if row.scale is not None:
            y = self.conv(inputs, 1, use_bias=True, name="project_conv")(y)
        if self.last_norm is None:
            y = attach(attention, self, y, inputs)
        if row.scale is not None:
            y = finish(row.scale * y, x, act=nn.relu if row.act else None)
        if self.last_norm is None:
            return y
        return attach(attention, self, finish(self.last_norm(name="bn")(y)), inputs)


def scaled(rows: Any, width: float) -> Any:
    """A table with all its channels times a factor."""
    match rows:
        case tuple():
            return tuple(scaled(row, width) for row in rows)
        case Mixed():
            return dataclasses.replace(rows, branches=scaled(rows.branches, width))
        case Conv():
            return dataclasses.replace(rows, width=max(1, round(rows.width * width)))
    return rows


def _behind(layers: tuple[Layer, ...], channels: int, stride: int) -> tuple[int, int]:
    """Channels and stride behind layers."""
    for layer in layers:
        match layer:
            case Pool():
                stride *= layer.strides
            case Conv():
                channels, stride = layer.width, stride * layer.strides
            case Mixed():
                ends = [_behind(branch, channels, stride) for branch in layer.branches]
                stride = ends[0][1]
                channels = sum(end for end, _ in ends) if layer.scale is None else channels
            case _:
                channels = sum(row.width for row in layer)
    return channels, stride
