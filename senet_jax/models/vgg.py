"""VGG (arXiv 1409.1556), with batch norm and SE after every convolution as in section 3.3 of arXiv
1709.01507.

The paper draws no network: the place of its SE blocks, on the activated features and so before the
pool that follows some of them, is read from its words, "after the non-linearity following each
convolution". Everything else is as in timm's vgg.py.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from senet_jax.fused import Features, finish
from senet_jax.layers import BatchNorm, Conv, Head, SEBlock, attach, max_pool
from senet_jax.models.resnet import Attention
from senet_jax.models.spec import FeatureInfo, Variant, bound_layers, check_images, per_stage

HEAD_SIZE = 7  # pixels of the features that the head's first layer sees: images of 224


class VGG(nn.Module):
    """Runs of 3x3 convolutions with pools between: float images `[N, H, W, C]` -> float32 logits
    `[N, num_classes]`.

    Images have 32 pixels or more on each side. The head's first layer needs 224: smaller features
    are spread before it, of larger ones its outputs are averaged, both as timm does.

    Attributes:
      stage_sizes: convolutions between two pools; the first run is the stem.
      widths: their channels.
      batch_norm: whether there is one after each convolution, which has a bias all the same.
      num_classes: 0 gives the head's last hidden layer, pooled, instead of logits.
      head_width: channels of both hidden layers of the head.
      attention: None for the plain network; an unbound module, made anew after every activated
        convolution; or a tuple, one per run.
      dropout: rate in the head, after its first layer and before the classifier; training then
        needs `rngs={"dropout": key}`.
      norm, dtype, param_dtype: as in `ResNet`.
    """

    stage_sizes: tuple[int, ...] = (2, 2, 3, 3, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    batch_norm: bool = True
    num_classes: int = 1000
    head_width: int = 4096
    attention: Attention = None
    dropout: float = 0.0
    norm: BatchNorm = BatchNorm()
    dtype: DTypeLike = "float32"
    param_dtype: DTypeLike = "float32"

    def setup(self):
        self.head = VGGHead(
            self.num_classes,
            self.dropout,
            width=self.head_width,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        return self.head(self.features(images, train=train)[-1], train=train)

    @nn.compact
    def features(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, ...]:
        """The pyramid: what every run gives to the pool after it, and the last pool's output."""
        check_images(images)
        self._check_size(images)
        conv, norm = bound_layers(self, train, use_bias=True)
        runs = len(self.stage_sizes)
        attentions = per_stage("attention", self.attention, runs)
        widths = per_stage("widths", self.widths, runs)
        x, levels = images, []
        for i, size in enumerate(self.stage_sizes):
            run = ConvolutionRun(
                size,
                widths[i],
                conv,
                norm if self.batch_norm else None,
                attentions[i],
                name=self.feature_info[i].name,
            )
            levels.append(run(x))
            x = max_pool(levels[-1], 2, 2, "valid")
        return (*levels, x)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`."""
        widths = per_stage("widths", self.widths, len(self.stage_sizes))
        names = ["stem", *(f"stage{i}" for i in range(1, len(widths)))]
        return (
            *(FeatureInfo(names[i], 2**i, width) for i, width in enumerate(widths)),
            FeatureInfo("pool", 2 ** len(widths), widths[-1]),
        )

    def _check_size(self, images: jax.Array) -> None:
        h, w = images.shape[1:3]
        least = 2 ** len(self.stage_sizes)
        if min(h, w) < least:
            raise ValueError(
                f"images of {h}x{w} pixels leave nothing after {len(self.stage_sizes)} pools that"
                f" halve: give at least {least}x{least}."
            )


class ConvolutionRun(nn.Module):
    """3x3 convolutions of one width, each normalised, if there is a `norm`, and activated; then
    attention, `se1` and so on.
    """

    size: int
    width: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module] | None
    attention: nn.Module | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(1, self.size + 1):
            inputs = x.shape[-1]
            y: Features = self.conv(self.width, 3, name=f"conv{i}")(x)
            if self.norm is not None:
                y = self.norm(name=f"bn{i}")(y)
            x = attach(self.attention, self, finish(y), inputs, name=f"se{i}")
        return x


class VGGHead(Head):
    """`Head` after a convolution over 7x7 positions, which at images of 224 is a dense layer, and
    another over one, both of `width` channels, activated.
    """

    width: int = 4096
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(
            Conv,
            self.width,
            padding="valid",
            use_bias=True,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        x = spread(spread(x, HEAD_SIZE, axis=1), HEAD_SIZE, axis=2)
        x = nn.relu(conv(kernel_size=HEAD_SIZE, name="hidden1")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.relu(conv(kernel_size=1, name="hidden2")(x))
        return super().__call__(x, train=train)


def spread(x: jax.Array, least: int, axis: int) -> jax.Array:
    """An axis with at least so many positions: each new one is the mean of the old ones that it
    touches, two at most (torch's `adaptive_avg_pool2d` to a larger size).
    """
    n = x.shape[axis]
    if n >= least:
        return x
    positions = np.arange(least)
    first, last = positions * n // least, ((positions + 1) * n - 1) // least
    return (jnp.take(x, first, axis) + jnp.take(x, last, axis)) / 2


VARIANTS = {
    "vgg16": Variant(VGG, dict(batch_norm=False)),
    "vgg16_bn": Variant(VGG, {}),
    "sevgg16_bn": Variant(VGG, dict(attention=SEBlock())),
}
