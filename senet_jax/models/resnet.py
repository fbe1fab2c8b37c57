"""ResNet (arXiv 1512.03385), ResNeXt (1611.05431), SENet (1709.01507), ResNet-RS (2103.07579)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from senet_jax.layers import BatchNorm, Head, SEBlock
from senet_jax.models.blocks import PLACES, SHORTCUTS, BasicBlock, Bottleneck
from senet_jax.models.single_blocks import (
    Kept,
    Widths,
    attention_per_block,
    kept_per_block,
    singly,
    widths_per_block,
)
from senet_jax.models.spec import (
    Attention,
    FeatureInfo,
    bound_layers,
    check_images,
    check_option,
    per_stage,
)
from senet_jax.models.stems import STEMS, Stem
from senet_jax.models.training import drop_rates, run

Placement = str | tuple[str, ...] | tuple[tuple[str, ...], ...]


class ResNet(nn.Module):
    """Residual network: float images `[N, H, W, C]` -> float32 logits `[N, num_classes]`.

    Attributes:
      stage_sizes: blocks per stage; every stage but the first halves height and width and doubles
        the channels.
      bottleneck: blocks of three convolutions (50 layers and more) instead of two.
      num_classes: 0 gives the pooled features `[N, C]` instead of logits.
      width: channels of the stem and of the first stage; behind bottlenecks there are four times as
        many.
      cardinality: groups of the bottlenecks' 3x3 convolutions.
      base_width: channels of each such group in the first stage, if `width` is 64.
      reduce_first: the bottlenecks' first convolution is so many times narrower than their second.
      stride_at: "3x3", or "1x1" for the stride in the bottlenecks' first convolution.
      stem: a name from the table in `senet_jax.models.stems`.
      shortcut: how shortcuts project: "1x1", "3x3" or "average", see `senet_jax.models.blocks`.
      antialias: strides are 2x2 average pools after the convolutions (timm's suffix aa).
      attention: None for the plain network; an unbound module, made anew in every block; or a
        tuple, one per stage.
      placement: where attention sits in a block: "standard", "pre", "post", "identity", "3x3" or
        "activated", see `senet_jax.models.blocks`; a tuple for several places at once; a tuple of
        such tuples, one per stage.
      inner: what stands in place of every block's 3x3 convolution (of two, the first), its norm and
        ReLU: None for these themselves; an unbound module such as `SelectiveKernel`,
        `SplitAttention` or `MultiKernelConv`, to which the block gives features, strides, groups,
        convolution and norm; or a tuple, one per stage.
      without_attention: blocks that have none all the same, "stage2/block3" and the like.
      inner_widths: by stage and block, outputs of the bottlenecks' 3x3 convolutions, of two
        convolutions the first; None: the usual number, of all or of one block. SE's hidden width
        stays that of the usual number.
      kept_outputs: by stage and block, the channels (0, 1, ...) that the branch computes; the
        others get the shortcut alone. None: all, of all or of one block.
      zero_init_last: blocks start as the identity, by a zero scale in their last batch norm.
      dropout: rate before the classifier; training then needs `rngs={"dropout": key}`.
      stochastic_depth: rate at which training leaves the last block's branch out, image by image;
        less often before, see `senet_jax.models.training`. It needs the same `rngs`.
      remat: the gradient computes each block again from its input instead of keeping what is
        inside: less memory, a third more work.
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
    cardinality: int = 1
    base_width: int = 64
    reduce_first: int = 1
    stride_at: str = "3x3"
    stem: str = "imagenet"
    shortcut: str = "1x1"
    antialias: bool = False
    attention: Attention = None
    placement: Placement = "standard"
    inner: Attention = None
    without_attention: tuple[str, ...] = ()
    inner_widths: Widths | None = None
    kept_outputs: Kept | None = None
    zero_init_last: bool = True
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    remat: bool = False
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
        check_option("stem", self.stem, STEMS)
        check_option("shortcut", self.shortcut, SHORTCUTS)
        check_option("stride_at", self.stride_at, ("3x3", "1x1"))
        conv, norm = bound_layers(self, train)

        level, x = Stem(self.width, STEMS[self.stem], conv, norm, name="stem")(images)
        levels = [level]
        inners = per_stage("inner", self.inner, len(self.stage_sizes))
        placements = self.places()
        single_blocks = self.single_blocks(train)
        for i, size in enumerate(self.stage_sizes):
            of_stage = dict(conv=conv, norm=norm, places=placements[i], inner=inners[i])
            block = singly(partial(self._block(i), **of_stage), single_blocks[i])
            strides = 1 if i == 0 else 2
            x = Stage(size, strides, block, self.remat, name=f"stage{i + 1}")(x)
            levels.append(x)
        return tuple(levels)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`."""
        stem = STEMS[self.stem]
        levels = [FeatureInfo("stem", stem.strides, int(self.width * stem.widths[-1]))]
        stride = stem.strides * (1 if stem.pool is None else 2)
        for i in range(len(self.stage_sizes)):
            levels.append(FeatureInfo(f"stage{i + 1}", stride * 2**i, self._channels(i)))
        return tuple(levels)

    def _channels(self, stage: int) -> int:
        return self.width * 2**stage * (4 if self.bottleneck else 1)

    def _block(self, stage: int) -> Callable[..., nn.Module]:
        make: Callable[..., nn.Module] = BasicBlock
        if self.bottleneck:
            width = self.width * 2**stage * self.base_width // 64 * self.cardinality
            make = partial(
                Bottleneck,
                width=width,
                first_width=width // self.reduce_first,
                groups=self.cardinality,
                stride_at=self.stride_at,
            )
        return partial(
            make,
            features=self._channels(stage),
            last_scale_init=nn.initializers.zeros if self.zero_init_last else nn.initializers.ones,
            shortcut=self.shortcut,
            antialias=self.antialias,
        )

    def single_blocks(self, train: bool = False) -> list[list[dict[str, Any]]]:
        """What every block has of its own, by stage."""
        sizes = self.stage_sizes
        channels = [self._channels(i) for i in range(len(sizes))]
        attentions = per_stage("attention", self.attention, len(sizes))
        stages = zip(
            attention_per_block(attentions, self.without_attention, sizes),
            widths_per_block("inner_widths", self.inner_widths, sizes),
            kept_per_block("kept_outputs", self.kept_outputs, sizes, channels),
            drop_rates(self.stochastic_depth, sizes, train),
            strict=True,
        )
        fields = ("attention", "inner_width", "kept", "drop_rate")
        return [
            [dict(zip(fields, own, strict=True)) for own in zip(*stage, strict=True)]
            for stage in stages
        ]

    def places(self) -> tuple[tuple[str, ...], ...]:
        """The places in every stage; refuses what is none."""
        places: Any = self.placement
        if isinstance(places, str):
            places = (places,)
        if all(isinstance(place, str) for place in places):
            places = (places,) * len(self.stage_sizes)
        for place in (place for stage in places for place in stage):
            check_option("placement", place, PLACES)
        return per_stage("placement", places, len(self.stage_sizes))


class SEResNet(ResNet):
    """`ResNet` with a squeeze-and-excitation block at the end of every residual branch."""

    attention: Attention = SEBlock()


class Stage(nn.Module):
    """Blocks of one size and width, the first of which may have a stride."""

    size: int
    strides: int
    block: Callable[..., nn.Module]
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.size):
            block = self.block(strides=self.strides if i == 0 else 1, name=f"block{i + 1}")
            x = run(block, x, self.remat)
        return x
