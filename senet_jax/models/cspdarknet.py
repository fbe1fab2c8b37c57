"""CSPDarknet-53 (arXiv 1911.11929), the backbone of YOLOv4 (2004.10934): plain as in timm's
cspnet.py, with SE as in argusswift/YOLOv4-pytorch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax.fused import finish
from senet_jax.layers import BatchNorm, Head, SEBlock, activation, attach
from senet_jax.layers.activations import Activation
from senet_jax.models.resnet import Attention
from senet_jax.models.spec import (
    FeatureInfo,
    Variant,
    bound_layers,
    check_images,
    check_option,
    per_stage,
)
from senet_jax.models.stems import STEMS, Stem

PLACES = ("standard", "inner")


class CSPDarknet(nn.Module):
    """Cross-stage partial Darknet: float images `[N, H, W, C]` -> float32 logits `[N,
    num_classes]`.

    For a detector's neck, the last three levels of `features` are the maps at strides 8, 16 and 32,
    with 256, 512 and 1024 channels:

        p3, p4, p5 = model.apply(variables, images, method="features")[-3:]

    Attributes:
      stage_sizes: blocks per stage; every stage halves height and width.
      widths: channels that leave each stage.
      num_classes: 0 gives the pooled features instead of logits.
      stem_width: channels of the first convolution, which has no stride.
      act: activation, a name from `senet_jax.layers.activations`.
      attention: None for the plain network; an unbound module, made anew in every block; or a
        tuple, one per stage.
      placement: where it sits in a block: "standard", on the activated 3x3 convolution, before the
        shortcut (argusswift); or "inner", between the two convolutions (timm's `attn`).
      zero_init_last: blocks start as the identity, by a zero scale in their last batch norm.
      dropout: rate before the classifier; training then needs `rngs={"dropout": key}`.
      norm, dtype, param_dtype: as in `ResNet`.

    Example:
      >>> from senet_jax import create_model
      >>> for level in create_model("secspdarknet53").feature_info[-3:]:
      ...     print(level)
      FeatureInfo(name='stage3', stride=8, channels=256)
      FeatureInfo(name='stage4', stride=16, channels=512)
      FeatureInfo(name='stage5', stride=32, channels=1024)
    """

    stage_sizes: tuple[int, ...] = (1, 2, 8, 8, 4)
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    num_classes: int = 1000
    stem_width: int = 32
    act: str = "leaky_relu"
    attention: Attention = None
    placement: str = "standard"
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
        """The pyramid: the stem's output and every stage's, as `feature_info` describes."""
        check_images(images)
        check_option("placement", self.placement, PLACES)
        conv, norm = bound_layers(self, train)
        act = activation(self.act)
        x, _ = Stem(self.stem_width, STEMS["cifar"], conv, norm, act, name="stem")(images)
        levels = [x]
        attentions = per_stage("attention", self.attention, len(self.stage_sizes))
        widths = per_stage("widths", self.widths, len(self.stage_sizes))
        last_scale_init = nn.initializers.zeros if self.zero_init_last else nn.initializers.ones
        for i, (size, width) in enumerate(zip(self.stage_sizes, widths, strict=True)):
            block = partial(
                DarkBlock,
                width // 2,
                act=act,
                conv=conv,
                norm=norm,
                attention=attentions[i],
                placement=self.placement,
                last_scale_init=last_scale_init,
            )
            half = width if i == 0 else width // 2  # the first stage alone is not narrowed
            x = CrossStage(size, width, half, block, act, conv, norm, name=f"stage{i + 1}")(x)
            levels.append(x)
        return tuple(levels)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`."""
        stages = enumerate(per_stage("widths", self.widths, len(self.stage_sizes)), 1)
        return (
            FeatureInfo("stem", 1, self.stem_width),
            *(FeatureInfo(f"stage{i}", 2**i, width) for i, width in stages),
        )


class CrossStage(nn.Module):
    """Halves the size; one half of the channels goes through the blocks, the other around them:
    `[N, H, W, C]` -> `[N, H', W', features]`.

    YOLOv4's own code has `expand_conv` as two convolutions; the first gives the half that goes
    around.

    Attributes:
      half: channels of each of the two ways.
    """

    size: int
    features: int
    half: int
    block: Callable[..., nn.Module]
    act: Activation
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def layer(width, kernel_size, strides, name, x):
            x = self.conv(width, kernel_size, strides, name=f"{name}_conv")(x)
            return finish(self.norm(name=f"{name}_bn")(x), act=self.act)

        x = layer(self.features, 3, 2, "down", x)
        around, y = jnp.split(layer(2 * self.half, 1, 1, "expand", x), 2, axis=-1)
        for i in range(self.size):
            y = self.block(name=f"block{i + 1}")(y)
        y = layer(self.half, 1, 1, "branch", y)
        return layer(self.features, 1, 1, "join", jnp.concatenate([around, y], axis=-1))


class DarkBlock(nn.Module):
    """1x1 and 3x3 convolution, both activated, and the input, which is added to them: shape as the
    input's.

    Attributes:
      width: channels between the convolutions.
    """

    width: int
    act: Activation
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    attention: nn.Module | None
    placement: str
    last_scale_init: Callable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm, act, features = self.conv, self.norm, self.act, x.shape[-1]
        y = finish(norm(name="bn1")(conv(self.width, 1, name="conv1")(x)), act=act)
        if self.placement == "inner":
            y = attach(self.attention, self, y, features)
        y = conv(features, 3, name="conv2")(y)
        y = finish(norm(name="bn2", scale_init=self.last_scale_init)(y), act=act)
        if self.placement == "standard":
            y = attach(self.attention, self, y, features)
        return finish(y, x, act=None)


YOLO: dict[str, Any] = dict(act="mish", attention=SEBlock())
VARIANTS = {
    "cspdarknet53": Variant(CSPDarknet, {}, 256),
    "secspdarknet53": Variant(CSPDarknet, YOLO, 256),
}
