"""Networks of depthwise separable convolutions: MobileNet v1 (arXiv 1704.04861), MnasNet
(1807.11626), MobileNetV3 (1905.02244), EfficientNet (1905.11946), EfficientNetV2 (2104.00298).

A network is a table of stages; blocks and their variants by name are in `mobile_blocks` and
`mobile_variants`.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from senet_jax.fused import finish
from senet_jax.layers import BatchNorm, Head, activation, make_divisible
from senet_jax.models.mobile_blocks import PLACES, MobileBlock, Row
from senet_jax.models.single_blocks import (
    Widths,
    attention_per_block,
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
from senet_jax.models.stems import HALVING, Stem
from senet_jax.models.training import drop_rates, run

HEADS = ("convolution", "hidden", "plain")
ROUNDINGS: dict[str, Callable[[float], int]] = {"up": math.ceil, "nearest": round}


class MobileNet(nn.Module):
    """Network of separable, inverted or fused blocks: float images `[N, H, W, C]` -> float32 logits
    `[N, num_classes]`.

    Attributes:
      stages: of each, its rows of equal blocks, at width and depth 1; see `mobile_blocks.Row`.
      num_classes: 0 gives the features before the classifier, pooled.
      width: factor of all channels but the head's, rounded to multiples of 8.
      depth: factor of the number of blocks.
      deepen: how a stage's number of blocks is rounded, "up" or "nearest" (TinyNet).
      stem_width: channels of the first convolution.
      stem_scales: whether `width` is a factor of these, too.
      head_kind: before the classifier, "convolution" has one with norm and activation, then pools
        (EfficientNet); "hidden" pools, then has a layer with activation (MobileNetV3); "plain"
        pools (MobileNet v1).
      head_width: channels of the head's layer.
      head_bias: of the layer of "hidden".
      act: activation where a row has none of its own, a name from `senet_jax.layers.activations`.
      attention: None for the plain network; an unbound module, made anew in every block whose row
        says so; or a tuple, one per stage.
      placement: where it sits in a block: "depthwise", after that convolution and its activation;
        or "output", at the end of the branch.
      without_attention: blocks that have none all the same, "stage2/block3" and the like.
      middle_widths: by stage and block, the middle channels of inverted and fused blocks; None: as
        the row says, of all or of one block. SE's hidden width stays that of the row.
      width_limit: of rounding widths, see `make_divisible`.
      padding: of strided convolutions, "torch", or "same" as TensorFlow's weights want it.
      dropout: rate before the classifier; training then needs `rngs={"dropout": key}`.
      stochastic_depth, remat: as in `ResNet`; blocks without a shortcut are never left out.
      norm: an unbound `BatchNorm` as template. TensorFlow's weights have an epsilon of 1e-3 in it:
        `create_model(name).norm.clone(groups=8)` keeps it.
      dtype, param_dtype: as in `ResNet`.
    """

    stages: tuple[tuple[Row, ...], ...]
    num_classes: int = 1000
    width: float = 1.0
    depth: float = 1.0
    deepen: str = "up"
    stem_width: int = 32
    stem_scales: bool = True
    head_kind: str = "convolution"
    head_width: int = 1280
    head_bias: bool = True
    act: str = "relu"
    attention: Attention = None
    placement: str = "depthwise"
    without_attention: tuple[str, ...] = ()
    middle_widths: Widths | None = None
    width_limit: float = 0.9
    padding: str = "torch"
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    remat: bool = False
    norm: BatchNorm = BatchNorm()
    dtype: DTypeLike = "float32"
    param_dtype: DTypeLike = "float32"

    def setup(self):
        check_option("head_kind", self.head_kind, HEADS)
        shared: dict[str, Any] = dict(dropout=self.dropout, act=self.act)
        if self.head_kind == "convolution":
            shared |= dict(width=self.head_width, norm=self.norm, dtype=self.dtype)
        elif self.head_kind == "hidden":
            shared |= dict(hidden=self.head_width, hidden_bias=self.head_bias)
        kind = ConvHead if self.head_kind == "convolution" else Head
        self.head = kind(self.num_classes, param_dtype=self.param_dtype, **shared)

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        return self.head(self.features(images, train=train)[-1], train=train)

    @nn.compact
    def features(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, ...]:
        """The pyramid: the last output at each size, as `feature_info` describes."""
        check_images(images)
        check_option("placement", self.placement, PLACES)
        check_option("deepen", self.deepen, ROUNDINGS)
        conv, norm = bound_layers(self, train, padding=self.padding, group_init=True)
        act = activation(self.act)
        x, _ = Stem(self._stem_width, HALVING, conv, norm, act, name="stem")(images)
        outputs = {"stem": x}
        block = partial(MobileBlock, conv=conv, norm=norm, placement=self.placement)
        single_blocks = self.single_blocks(train)
        for i, rows in enumerate(self.scaled()):
            own = singly(block, single_blocks[i])
            x = MobileStage(rows, own, self.remat, name=f"stage{i + 1}")(x)
            outputs[f"stage{i + 1}"] = x
        return tuple(outputs[info.name] for info in self.feature_info)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`: what the next stage halves, and
        the last.
        """
        level = FeatureInfo("stem", 2, self._stem_width)
        levels = []
        for i, rows in enumerate(self.scaled()):
            strides = rows[0].strides
            if strides > 1:
                levels.append(level)
            level = FeatureInfo(f"stage{i + 1}", level.stride * strides, rows[-1].features)
        return (*levels, level)

    def single_blocks(self, train: bool = False) -> list[list[dict[str, Any]]]:
        """What every block has of its own, by stage."""
        sizes = [sum(row.repeats for row in rows) for rows in self.scaled()]
        attentions = per_stage("attention", self.attention, len(sizes))
        stages = zip(
            attention_per_block(attentions, self.without_attention, sizes),
            widths_per_block("middle_widths", self.middle_widths, sizes),
            drop_rates(self.stochastic_depth, sizes, train),
            strict=True,
        )
        fields = ("attention", "middle_width", "drop_rate")
        return [
            [dict(zip(fields, own, strict=True)) for own in zip(*stage, strict=True)]
            for stage in stages
        ]

    @property
    def _stem_width(self) -> int:
        return self._wide(self.stem_width) if self.stem_scales else self.stem_width

    def _wide(self, channels: int) -> int:
        return make_divisible(channels * self.width, limit=self.width_limit)

    def scaled(self) -> tuple[tuple[Row, ...], ...]:
        """The stages at this network's width and depth, every activation named."""
        deep = ROUNDINGS[self.deepen]
        return tuple(
            tuple(
                dataclasses.replace(
                    row,
                    features=self._wide(row.features),
                    repeats=max(1, deep(row.repeats * self.depth)),
                    act=row.act or self.act,
                )
                for row in rows
            )
            for rows in self.stages
        )


class MobileStage(nn.Module):
    """Rows of blocks, counted through."""

    rows: tuple[Row, ...]
    block: Callable[..., nn.Module]
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        count = 0
        for row in self.rows:
            for i in range(row.repeats):
                count += 1
                strides = row.strides if i == 0 else 1
                x = run(self.block(row, strides, name=f"block{count}"), x, self.remat)
        return x


class ConvHead(Head):
    """`Head` after a 1x1 convolution of `width` channels, its norm and activation."""

    width: int = 1280
    norm: BatchNorm = BatchNorm()
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        conv, norm = bound_layers(self, train, group_init=True)
        y = norm(name="bn")(conv(self.width, 1, name="conv")(x))
        return super().__call__(finish(y, act=activation(self.act)), train=train)
