"""SE-ResNeXt-29 (8x64d) for CIFAR-10 as in taki0112/SENet-Tensorflow: 64, 128, 256 channels, 512
inside every block, TensorFlow's padding, no biases.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax.fused import finish
from senet_jax.layers import BatchNorm, Head, SEBlock, attach
from senet_jax.models.blocks import halved
from senet_jax.models.resnet import Stage
from senet_jax.models.spec import FeatureInfo, Variant, bound_layers, check_images
from senet_jax.models.stems import STEMS, Stem


class CifarResNeXt(nn.Module):
    """Float images `[N, H, W, C]`, height and width divisible by 4, -> logits `[N, num_classes]`.

    Attributes:
      stage_sizes: blocks per stage; every stage but the first halves height and width and doubles
        the channels.
      num_classes: 0 gives the pooled features instead of logits.
      width: channels of the stem and of the first stage.
      cardinality: paths of a block, the groups of its 3x3 convolution.
      path_width: channels of each path, in every stage.
      attention: None for the plain network, or an unbound module, made anew at the end of every
        residual branch.
      norm, dtype, param_dtype: as in `ResNet`.
    """

    stage_sizes: tuple[int, ...]
    num_classes: int = 10
    width: int = 64
    cardinality: int = 8
    path_width: int = 64
    attention: nn.Module | None = None
    norm: BatchNorm = BatchNorm(epsilon=1e-3)  # tf.contrib's default
    dtype: DTypeLike = "float32"
    param_dtype: DTypeLike = "float32"

    def setup(self):
        self.head = Head(self.num_classes, use_bias=False, param_dtype=self.param_dtype)

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        return self.head(self.features(images, train=train)[-1], train=train)

    @nn.compact
    def features(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, ...]:
        """The stem's output and every stage's."""
        check_images(images)
        conv, norm = bound_layers(self, train, padding="same")
        x, _ = Stem(self.width, STEMS["cifar"], conv, norm, name="stem")(images)
        levels = [x]
        for i, size in enumerate(self.stage_sizes):
            block = partial(
                PathsBlock,
                self.width * 2**i,
                self.cardinality,
                self.path_width,
                conv=conv,
                norm=norm,
                attention=self.attention,
            )
            x = Stage(size, 1 if i == 0 else 2, block, name=f"stage{i + 1}")(x)
            levels.append(x)
        return tuple(levels)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`."""
        stages = range(len(self.stage_sizes))
        return (
            FeatureInfo("stem", 1, self.width),
            *(FeatureInfo(f"stage{i + 1}", 2**i, self.width * 2**i) for i in stages),
        )


class PathsBlock(nn.Module):
    """Split, transform, merge: the paths as one grouped convolution, which computes the same."""

    features: int
    cardinality: int
    path_width: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    attention: nn.Module | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm = self.conv, self.norm
        inside = self.cardinality * self.path_width
        y = finish(norm(name="bn1")(conv(inside, 1, name="conv1")(x)))
        y = conv(inside, 3, self.strides, self.cardinality, name="conv2")(y)
        y = norm(name="bn3")(conv(self.features, 1, name="conv3")(finish(norm(name="bn2")(y))))
        y = attach(self.attention, self, y, x.shape[-1])
        return finish(y, self._shortcut(x))

    def _shortcut(self, x):
        """The input, pooled where there is a stride, zero channels on both sides where it grows."""
        if self.strides > 1:
            x = halved(x)
        missing = self.features - x.shape[-1]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))


OPTIONS = dict(stage_sizes=(3, 3, 3))
VARIANTS = {
    "resnext29_8x64d": Variant(CifarResNeXt, OPTIONS, 32),
    "seresnext29_8x64d": Variant(
        CifarResNeXt, OPTIONS | dict(attention=SEBlock(reduction=4, use_bias=False)), 32
    ),
}
