"""ShuffleNet v1 (arXiv 1707.01083), plain and with SE as counted in Table 3 of arXiv 1709.01507.

That table gives costs alone. The SE block stands where the parameters come out as printed, 2.4
million: at the end of the branch, before the shortcut is added or concatenated.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax.fused import finish
from senet_jax.layers import BatchNorm, Head, SEBlock, attach, avg_pool
from senet_jax.models.resnet import Attention, Stage
from senet_jax.models.spec import FeatureInfo, Variant, bound_layers, check_images, per_stage
from senet_jax.models.stems import Stem, StemKind

STEM = StemKind((1,), 3, 2, "max")


class ShuffleNet(nn.Module):
    """Network of grouped and depthwise convolutions: float images `[N, H, W, C]` -> float32 logits
    `[N, num_classes]`.

    Attributes:
      stage_sizes: units per stage; every stage halves height and width.
      widths: channels that leave each stage: four times a multiple of `groups`, and more than enter
        it, by a multiple of `groups`, too.
      groups: of the 1x1 convolutions.
      num_classes: 0 gives the pooled features instead of logits.
      stem_width: channels of the first convolution.
      attention: None for the plain network; an unbound module, made anew in every unit, at the end
        of its branch; or a tuple, one per stage.
      dropout: rate before the classifier; training then needs `rngs={"dropout": key}`.
      norm, dtype, param_dtype: as in `ResNet`.
    """

    stage_sizes: tuple[int, ...] = (4, 8, 4)
    widths: tuple[int, ...] = (240, 480, 960)
    groups: int = 3
    num_classes: int = 1000
    stem_width: int = 24
    attention: Attention = None
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
        """The pyramid: the stem's output before its pool and every stage's, as `feature_info`
        describes.
        """
        check_images(images)
        self._check_widths()
        conv, norm = bound_layers(self, train, group_init=True)
        level, x = Stem(self.stem_width, STEM, conv, norm, name="stem")(images)
        levels = [level]
        attentions = per_stage("attention", self.attention, len(self.stage_sizes))
        for i, (size, width) in enumerate(zip(self.stage_sizes, self.widths, strict=True)):
            unit = partial(
                ShuffleUnit,
                width,
                self.groups,
                # the stem's few channels are not cut into groups, says the paper
                first_groups=1 if i == 0 else self.groups,
                conv=conv,
                norm=norm,
                attention=attentions[i],
            )
            x = Stage(size, 2, unit, name=f"stage{i + 1}")(x)
            levels.append(x)
        return tuple(levels)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`."""
        stages = enumerate(self.widths, 1)
        return (
            FeatureInfo("stem", 2, self.stem_width),
            *(FeatureInfo(f"stage{i}", 2 ** (i + 2), width) for i, width in stages),
        )

    def _check_widths(self) -> None:
        if len(self.stage_sizes) != len(self.widths):
            raise ValueError(
                f"stage_sizes has {len(self.stage_sizes)} entries and widths {len(self.widths)},"
                " expected one of each for every stage."
            )
        for inputs, width in pairwise((self.stem_width, *self.widths)):
            added = width - inputs
            if width % (4 * self.groups) or added % self.groups or added <= 0:
                raise ValueError(
                    f"A stage that turns {inputs} into {width} channels cannot be cut into"
                    f" {self.groups} groups: choose a width that is a multiple of"
                    f" {4 * self.groups}, and larger than {inputs} by a multiple of {self.groups}."
                )


class ShuffleUnit(nn.Module):
    """Grouped 1x1, depthwise 3x3 and grouped 1x1 convolution: `[N, H, W, C]` -> `[N, H', W',
    features]`.

    Without a stride the input is added. With one, its average pool is concatenated, before the
    branch, which so has only the channels that are missing; only the branch is activated.

    Attributes:
      first_groups: of the first convolution, in a unit with a stride.
    """

    features: int
    groups: int
    strides: int
    first_groups: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    attention: nn.Module | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm, inputs, strides = self.conv, self.norm, x.shape[-1], self.strides
        middle = self.features // 4
        width = self.features if strides == 1 else self.features - inputs
        groups = self.groups if strides == 1 else self.first_groups
        y = finish(norm(name="bn1")(conv(middle, 1, 1, groups, name="conv1")(x)))
        y = conv(middle, 3, strides, middle, name="conv2")(shuffle(y, self.groups))
        y = finish(norm(name="bn2")(y), act=None)
        y = norm(name="bn3")(conv(width, 1, 1, self.groups, name="conv3")(y))
        y = attach(self.attention, self, y, inputs)
        if strides == 1:
            return finish(y, x)
        pooled = avg_pool(x, 3, strides, count_padding=True)
        return jnp.concatenate([pooled, finish(y)], axis=-1)


def shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Channels `[..., C]` in another order, so that each group gets some of all groups: the first
    of each, then the second of each.
    """
    split = x.reshape(*x.shape[:-1], groups, -1)
    return jnp.swapaxes(split, -1, -2).reshape(x.shape)


VARIANTS = {
    "shufflenet_v1_x1_g3": Variant(ShuffleNet, {}),
    "seshufflenet_v1_x1_g3": Variant(ShuffleNet, dict(attention=SEBlock())),
}
