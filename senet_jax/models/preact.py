"""Pre-activation residual networks for CIFAR: ResNet-164 (arXiv 1603.05027) and wide ResNets
(1605.07146), with and without SE at the end of every residual branch.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from senet_jax.fused import finish
from senet_jax.layers import BatchNorm, Head, SEBlock, attach
from senet_jax.models.resnet import Stage
from senet_jax.models.spec import FeatureInfo, Variant, bound_layers, check_images

STEM_WIDTH = 16  # in both papers, whatever the stages' width


class PreActResNet(nn.Module):
    """Pre-activation residual network: float images `[N, H, W, C]` -> logits `[N, num_classes]`.

    Attributes:
      stage_sizes: blocks per stage; every stage but the first halves height and width and doubles
        the channels.
      bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions, four times as wide outside; or two 3x3.
      num_classes: 0 gives the pooled features instead of logits.
      width: channels of the first stage's 3x3 convolutions.
      attention: None for the plain network, or an unbound module, made anew at the end of every
        residual branch.
      dropout: rate before the classifier.
      norm, dtype, param_dtype: as in `ResNet`.
    """

    stage_sizes: tuple[int, ...]
    bottleneck: bool = False
    num_classes: int = 10
    width: int = 16
    attention: nn.Module | None = None
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
        """The stem's output and every stage's, the last one normalised and activated."""
        check_images(images)
        conv, norm = bound_layers(self, train, deferred=False)
        x = PlainStem(STEM_WIDTH, conv, name="stem")(images)
        levels = [x]
        for i, size in enumerate(self.stage_sizes):
            width = self.width * 2**i
            layers = (
                ((width, 1), (width, 3), (4 * width, 1)) if self.bottleneck else ((width, 3),) * 2
            )
            block = partial(PreActBlock, layers, conv=conv, norm=norm, attention=self.attention)
            x = Stage(size, 1 if i == 0 else 2, block, name=f"stage{i + 1}")(x)
            levels.append(x)
        levels[-1] = finish(norm(name="bn")(x))
        return tuple(levels)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`."""
        wider = 4 if self.bottleneck else 1
        stages = range(len(self.stage_sizes))
        return (
            FeatureInfo("stem", 1, STEM_WIDTH),
            *(FeatureInfo(f"stage{i + 1}", 2**i, self.width * 2**i * wider) for i in stages),
        )


class PlainStem(nn.Module):
    """One 3x3 convolution; what follows normalises first."""

    width: int
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(self.width, 3, name="conv1")(x)


class PreActBlock(nn.Module):
    """Normalise, activate, convolve, for each of the layers; then attention and the shortcut.

    Where the width changes, branch and projection (a 1x1 convolution without norm) share the first
    normalised and activated input, as in the authors' code of both papers.

    Attributes:
      layers: (width, kernel size) of its convolutions; the stride is in the first 3x3 one.
    """

    layers: tuple[tuple[int, int], ...]
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    attention: nn.Module | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = self.layers[-1][0]
        strided = [size for _, size in self.layers].index(3)
        y, shortcut = x, x
        for i, (width, kernel_size) in enumerate(self.layers):
            y = finish(self.norm(name=f"bn{i + 1}")(y))
            if i == 0 and x.shape[-1] != features:
                shortcut = self.conv(features, 1, self.strides, name="shortcut_conv")(y)
            strides = self.strides if i == strided else 1
            y = self.conv(width, kernel_size, strides, name=f"conv{i + 1}")(y)
        y = attach(self.attention, self, y, x.shape[-1])
        return finish(y, shortcut, act=None)


PLAIN = {
    "resnet164": dict(stage_sizes=(18, 18, 18), bottleneck=True),
    "wrn16_8": dict(stage_sizes=(2, 2, 2), width=128),
    "wrn28_10": dict(stage_sizes=(4, 4, 4), width=160),
}
VARIANTS = {name: Variant(PreActResNet, options, 32) for name, options in PLAIN.items()} | {
    f"se{name}": Variant(PreActResNet, options | dict(attention=SEBlock()), 32)
    for name, options in PLAIN.items()
}
