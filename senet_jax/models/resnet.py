"""ResNet (arXiv 1512.03385) and SE-ResNet (arXiv 1709.01507), for ImageNet and for CIFAR."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from senet_jax.fused import finish
from senet_jax.layers import BatchNorm, Conv, Head, SEBlock
from senet_jax.models.blocks import PLACES, BasicBlock, Bottleneck
from senet_jax.models.spec import FeatureInfo, Variant, check_images, options_of

Attention = nn.Module | None | tuple[nn.Module | None, ...]
Placement = str | tuple[str, ...] | tuple[tuple[str, ...], ...]

STEMS = ("imagenet", "cifar")


class ResNet(nn.Module):
    """Residual network: float images `[N, H, W, C]` -> float32 logits `[N, num_classes]`.

    Attributes:
      stage_sizes: blocks per stage; every stage but the first halves height and width and doubles
        the channels.
      bottleneck: blocks of three convolutions (50 layers and more) instead of two.
      num_classes: 0 gives the pooled features `[N, C]` instead of logits.
      width: channels of the first stage's 3x3 convolutions; behind bottlenecks there are four times
        as many.
      stem: "imagenet", a 7x7 convolution with stride 2 and max-pool, or "cifar", a 3x3 convolution.
      attention: None for the plain network; an unbound module, made anew in every block; or a
        tuple, one per stage.
      placement: where attention sits in a block: "standard", "pre", "post", "identity" or "3x3"; a
        tuple for several places at once; a tuple of such tuples, one per stage.
      zero_init_last: blocks start as the identity, by a zero scale in their last batch norm.
      dropout: rate before the classifier; training then needs `rngs={"dropout": key}`.
      norm: an unbound `BatchNorm` as template, for example `BatchNorm(groups=8)` or
        `BatchNorm(axis_name="data")`.
      dtype: of the computation, "float32" or "bfloat16"; statistics, gates and logits are float32
        all the same.
      param_dtype: of the variables.
    """

    stage_sizes: tuple[int, ...]
    bottleneck: bool = True
    num_classes: int = 1000
    width: int = 64
    stem: str = "imagenet"
    attention: Attention = None
    placement: Placement = "standard"
    zero_init_last: bool = True
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
        """The pyramid: the output of the stem before its pooling, then of every stage, as
        `feature_info` describes.
        """
        check_images(images)
        conv = partial(Conv, dtype=self.dtype, param_dtype=self.param_dtype)
        norm_options = options_of(self.norm) | dict(
            use_running_average=not train, param_dtype=self.param_dtype
        )
        norm = partial(BatchNorm, **norm_options)

        x = Stem(self.width, self.stem, conv, norm, name="stem")(images)
        levels = [x]
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        attentions, placements = self._by_stage()
        for i, size in enumerate(self.stage_sizes):
            block = partial(
                self._block(i), conv=conv, norm=norm, attention=attentions[i], places=placements[i]
            )
            x = Stage(size, 1 if i == 0 else 2, block, name=f"stage{i + 1}")(x)
            levels.append(x)
        return tuple(levels)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`."""
        stride = 2 if self.stem == "imagenet" else 1
        levels = [FeatureInfo("stem", stride, self.width)]
        stride *= stride  # the ImageNet stem's pooling halves once more
        for i in range(len(self.stage_sizes)):
            levels.append(FeatureInfo(f"stage{i + 1}", stride * 2**i, self._channels(i)))
        return tuple(levels)

    def _channels(self, stage: int) -> int:
        return self.width * 2**stage * (4 if self.bottleneck else 1)

    def _block(self, stage: int) -> Callable[..., nn.Module]:
        init = nn.initializers.zeros if self.zero_init_last else nn.initializers.ones
        shared: dict[str, Any] = dict(features=self._channels(stage), last_scale_init=init)
        if self.bottleneck:
            return partial(Bottleneck, width=self.width * 2**stage, **shared)
        return partial(BasicBlock, **shared)

    def _by_stage(self) -> tuple[tuple[nn.Module | None, ...], tuple[tuple[str, ...], ...]]:
        """One attention and one tuple of places for every stage; refuses what can't be either."""
        stages = len(self.stage_sizes)
        attentions = (
            self.attention if isinstance(self.attention, tuple) else (self.attention,) * stages
        )
        if isinstance(self.placement, str):
            placements: tuple = ((self.placement,),) * stages
        elif all(isinstance(place, str) for place in self.placement):
            placements = (self.placement,) * stages
        else:
            placements = self.placement
        for field, values in (("attention", attentions), ("placement", placements)):
            if len(values) != stages:
                raise ValueError(
                    f"{field} has {len(values)} entries, expected one for each of {stages} stages."
                )
        unknown = sorted({place for places in placements for place in places} - set(PLACES))
        if unknown:
            raise ValueError(
                f"Unknown placement {unknown[0]!r}: expected one or several of {', '.join(PLACES)}."
            )
        return attentions, placements


class SEResNet(ResNet):
    """`ResNet` with a squeeze-and-excitation block at the end of every residual branch."""

    attention: Attention = SEBlock()


class Stem(nn.Module):
    """Images `[N, H, W, C]` -> `[N, H', W', width]`: half the size for "imagenet", the same for
    "cifar".
    """

    width: int
    kind: str
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind not in STEMS:
            raise ValueError(f"Unknown stem {self.kind!r}: expected one of {', '.join(STEMS)}.")
        kernel_size, strides = (7, 2) if self.kind == "imagenet" else (3, 1)
        return finish(
            self.norm(name="bn1")(self.conv(self.width, kernel_size, strides, name="conv1")(x))
        )


class Stage(nn.Module):
    """Blocks of one size and width, the first of which may have a stride."""

    size: int
    strides: int
    block: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.size):
            x = self.block(strides=self.strides if i == 0 else 1, name=f"block{i + 1}")(x)
        return x


def _imagenet(stage_sizes: tuple[int, ...], bottleneck: bool = True) -> dict[str, Any]:
    return dict(stage_sizes=stage_sizes, bottleneck=bottleneck)


def _cifar(depth: int) -> dict[str, Any]:
    blocks = (depth - 2) // 6
    return dict(
        stage_sizes=(blocks,) * 3,
        bottleneck=False,
        width=16,
        stem="cifar",
        zero_init_last=False,
        num_classes=10,
    )


PLAIN = {
    "resnet18": _imagenet((2, 2, 2, 2), bottleneck=False),
    "resnet34": _imagenet((3, 4, 6, 3), bottleneck=False),
    "resnet50": _imagenet((3, 4, 6, 3)),
    "resnet101": _imagenet((3, 4, 23, 3)),
    "resnet152": _imagenet((3, 8, 36, 3)),
    "resnet20": _cifar(20),
    "resnet32": _cifar(32),
    "resnet44": _cifar(44),
    "resnet56": _cifar(56),
    "resnet110": _cifar(110),
}


def _variants():
    for name, options in PLAIN.items():
        cifar = options.get("stem") == "cifar"
        size = 32 if cifar else 224
        # timm's rule gives the 64 channels of the 18 and 34 layer networks a width of 8; the CIFAR
        # networks go down to 1
        attention = SEBlock(divisor=None if cifar else 8)
        yield name, Variant(ResNet, options, image_size=size)
        yield f"se{name}", Variant(SEResNet, options | dict(attention=attention), image_size=size)


VARIANTS = dict(_variants())
