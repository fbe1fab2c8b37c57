"""RegNet (arXiv 2003.13678): plain, or with SE in every block, which makes it RegNetY.

Depths and widths by name are those that the authors' code and timm's regnet.py compute from a few
numbers; the two with the suffix tv are torchvision's, which rounds widths another way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from senet_jax.fused import Features, finish
from senet_jax.layers import BatchNorm, Head, SEBlock, attach
from senet_jax.models.resnet import Attention, Stage
from senet_jax.models.single_blocks import singly
from senet_jax.models.spec import FeatureInfo, Variant, bound_layers, check_images, per_stage
from senet_jax.models.stems import HALVING, Stem
from senet_jax.models.training import drop_branch, drop_rates


class RegNet(nn.Module):
    """Network of grouped bottlenecks: float images `[N, H, W, C]` -> float32 logits `[N,
    num_classes]`.

    Attributes:
      depths: blocks per stage; every stage halves height and width.
      widths: channels per stage, of all three convolutions of its blocks.
      group_width: channels of each group of the 3x3 convolutions, a divisor of every width.
      num_classes: 0 gives the pooled features instead of logits.
      stem_width: channels of the first convolution.
      attention: None for the plain network; an unbound module, made anew in every block, after the
        activated 3x3 convolution; or a tuple, one per stage.
      zero_init_last: blocks start as their shortcut, by a zero scale in their last batch norm.
      dropout: rate before the classifier; training then needs `rngs={"dropout": key}`.
      stochastic_depth, remat, norm, dtype, param_dtype: as in `ResNet`.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_width: int
    num_classes: int = 1000
    stem_width: int = 32
    attention: Attention = None
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
        """The pyramid: the stem's output and every stage's, as `feature_info` describes."""
        check_images(images)
        self._check_widths()
        conv, norm = bound_layers(self, train, group_init=True)
        x, _ = Stem(self.stem_width, HALVING, conv, norm, name="stem")(images)
        levels = [x]
        attentions = per_stage("attention", self.attention, len(self.depths))
        last_scale_init = nn.initializers.zeros if self.zero_init_last else nn.initializers.ones
        rates = drop_rates(self.stochastic_depth, self.depths, train)
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            block = partial(
                RegNetBlock,
                width,
                width // self.group_width,
                conv=conv,
                norm=norm,
                attention=attentions[i],
                last_scale_init=last_scale_init,
            )
            own = [{"drop_rate": rate} for rate in rates[i]]
            x = Stage(depth, 2, singly(block, own), self.remat, name=f"stage{i + 1}")(x)
            levels.append(x)
        return tuple(levels)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`."""
        stages = enumerate(self.widths, 1)
        return (
            FeatureInfo("stem", 2, self.stem_width),
            *(FeatureInfo(f"stage{i}", 2 ** (i + 1), width) for i, width in stages),
        )

    def _check_widths(self) -> None:
        if len(self.depths) != len(self.widths):
            raise ValueError(
                f"depths has {len(self.depths)} entries and widths {len(self.widths)}, expected"
                " one of each for every stage."
            )
        strangers = [width for width in self.widths if width % self.group_width]
        if strangers:
            raise ValueError(
                f"group_width={self.group_width} does not divide the widths"
                f" {', '.join(map(str, strangers))}: choose widths that are multiples of it."
            )


class RegNetBlock(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolution of one width: `[N, H, W, C]` -> `[N, H', W', width]`.

    The shortcut is the input, or its 1x1 projection where shape or width change.
    """

    width: int
    groups: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    attention: nn.Module | None
    last_scale_init: Callable
    drop_rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm, width = self.conv, self.norm, self.width
        y = finish(norm(name="bn1")(conv(width, 1, name="conv1")(x)))
        y = finish(norm(name="bn2")(conv(width, 3, self.strides, self.groups, name="conv2")(y)))
        y = attach(self.attention, self, y, x.shape[-1])
        y = norm(name="bn3", scale_init=self.last_scale_init)(conv(width, 1, name="conv3")(y))
        return finish(drop_branch(self, y, self.drop_rate), self._shortcut(x))

    def _shortcut(self, x: jax.Array) -> Features:
        if self.strides == 1 and x.shape[-1] == self.width:
            return x
        y = self.conv(self.width, 1, self.strides, name="shortcut_conv")(x)
        return self.norm(name="shortcut_bn")(y)


REGNETY = {  # depths, widths, group width
    "regnety_002": ((1, 1, 4, 7), (24, 56, 152, 368), 8),
    "regnety_004": ((1, 3, 6, 6), (48, 104, 208, 440), 8),
    "regnety_006": ((1, 3, 7, 4), (48, 112, 256, 608), 16),
    "regnety_008": ((1, 3, 8, 2), (64, 128, 320, 768), 16),
    "regnety_008_tv": ((1, 3, 8, 2), (64, 144, 320, 784), 16),
    "regnety_016": ((2, 6, 17, 2), (48, 120, 336, 888), 24),
    "regnety_032": ((2, 5, 13, 1), (72, 216, 576, 1512), 24),
    "regnety_040": ((2, 6, 12, 2), (128, 192, 512, 1088), 64),
    "regnety_064": ((2, 7, 14, 2), (144, 288, 576, 1296), 72),
    "regnety_080": ((2, 4, 10, 1), (168, 448, 896, 2016), 56),
    "regnety_080_tv": ((2, 4, 10, 1), (224, 448, 896, 2016), 56),
    "regnety_120": ((2, 5, 11, 1), (224, 448, 896, 2240), 112),
    "regnety_160": ((2, 4, 11, 1), (224, 448, 1232, 3024), 112),
    "regnety_320": ((2, 5, 12, 1), (232, 696, 1392, 3712), 232),
}


def _options(depths: tuple[int, ...], widths: tuple[int, ...], group_width: int) -> dict[str, Any]:
    attention = SEBlock(reduction=4, of_input=True)
    return dict(depths=depths, widths=widths, group_width=group_width, attention=attention)


VARIANTS = {name: Variant(RegNet, _options(*row)) for name, row in REGNETY.items()}
