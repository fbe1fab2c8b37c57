"""Shake-Shake networks for CIFAR (arXiv 1705.07485; layers as in the author's code), with and
without SE.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax.fused import Features, finish, scale
from senet_jax.layers import BatchNorm, Head, SEBlock, attach
from senet_jax.models.resnet import Stage
from senet_jax.models.spec import FeatureInfo, Variant, bound_layers, check_images
from senet_jax.models.stems import STEMS, Stem

STEM_WIDTH = 16


class ShakeShake(nn.Module):
    """Two-branch residual network: float images `[N, H, W, C]` -> logits `[N, num_classes]`.

    In training every image mixes the two branches by its own random share, and the gradient by
    another one; at inference they are averaged. Training needs `rngs={"dropout": key}`.

    Attributes:
      stage_sizes: blocks per stage; every stage but the first halves height and width and doubles
        the channels.
      num_classes: 0 gives the pooled features instead of logits.
      width: channels of the first stage.
      even: the gradient's shares are one half ("Shake-Even").
      attention: None for the plain network, or an unbound module, made anew in every block, on the
        mixed branches.
      norm, dtype, param_dtype: as in `ResNet`.
    """

    stage_sizes: tuple[int, ...]
    num_classes: int = 10
    width: int = 96
    even: bool = False
    attention: nn.Module | None = None
    norm: BatchNorm = BatchNorm()
    dtype: DTypeLike = "float32"
    param_dtype: DTypeLike = "float32"

    def setup(self):
        self.head = Head(self.num_classes, param_dtype=self.param_dtype)

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        return self.head(self.features(images, train=train)[-1], train=train)

    @nn.compact
    def features(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, ...]:
        """The stem's output and every stage's, the last one activated."""
        check_images(images)
        conv, norm = bound_layers(self, train, deferred=False)
        x, _ = Stem(STEM_WIDTH, STEMS["cifar"], conv, norm, None, name="stem")(images)
        levels = [x]
        for i, size in enumerate(self.stage_sizes):
            block = partial(
                ShakeBlock,
                self.width * 2**i,
                conv=conv,
                norm=norm,
                attention=self.attention,
                random=train,
                even=self.even,
            )
            x = Stage(size, 1 if i == 0 else 2, block, name=f"stage{i + 1}")(x)
            levels.append(x)
        levels[-1] = nn.relu(x)
        return tuple(levels)

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, stride and channels of each level of `features`."""
        stages = range(len(self.stage_sizes))
        return (
            FeatureInfo("stem", 1, STEM_WIDTH),
            *(FeatureInfo(f"stage{i + 1}", 2**i, self.width * 2**i) for i in stages),
        )


class ShakeBlock(nn.Module):
    """`skip(x) + E(a * F1(x) + (1 - a) * F2(x))`, each F two 3x3 convolutions after a ReLU."""

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    attention: nn.Module | None
    random: bool
    even: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        forward, backward = self._shares(x.shape[0])
        y = mix(self._branch(x, 1), self._branch(x, 2), forward, backward)
        y = attach(self.attention, self, y, x.shape[-1])
        return finish(y, self._skip(x), act=None)

    def _shares(self, n):
        """The first branch's share of every image, `[N, 1]`, forward and for the gradient."""
        half = jnp.full((n, 1), 0.5)
        if not self.random:
            return half, half
        forward, backward = jax.random.uniform(self.make_rng("dropout"), (2, n, 1))
        return forward, half if self.even else backward

    def _branch(self, x, which) -> Features:
        prefix = f"branch{which}_"
        y = self.conv(self.features, 3, self.strides, name=f"{prefix}conv1")(nn.relu(x))
        y = finish(self.norm(name=f"{prefix}bn1")(y))
        return self.norm(name=f"{prefix}bn2")(self.conv(self.features, 3, name=f"{prefix}conv2")(y))

    def _skip(self, x) -> Features:
        """The input; where the width changes, two strided 1x1 convolutions, the second on the
        activated input moved by one pixel to the right and down.
        """
        if x.shape[-1] == self.features:
            return x
        x, half = nn.relu(x), self.features // 2
        moved = jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))[:, :-1, :-1]
        paths = [
            self.conv(half, 1, self.strides, name=f"shortcut_conv{i}")(path)
            for i, path in enumerate((x, moved), 1)
        ]
        return self.norm(name="shortcut_bn")(jnp.concatenate(paths, axis=-1))


def mix(first: Features, second: Features, forward: jax.Array, backward: jax.Array) -> jax.Array:
    """`a * first + (1 - a) * second`, `[N, *spatial, C]`, where a is `forward` for the value and
    `backward` for the gradient, `[N, 1]` each.
    """

    def combined(share):
        return finish(scale(first, share), scale(second, 1 - share), act=None)

    gradient = combined(backward)  # its value cancels, its gradient stays
    return gradient + jax.lax.stop_gradient(combined(forward) - gradient)


PLAIN = {"shake_shake26_2x96d": dict(stage_sizes=(4, 4, 4))}
VARIANTS = {name: Variant(ShakeShake, options, 32) for name, options in PLAIN.items()} | {
    f"se_{name}": Variant(ShakeShake, options | dict(attention=SEBlock()), 32)
    for name, options in PLAIN.items()
}
