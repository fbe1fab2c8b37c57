"""What stands before the first stage of a residual network."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax

from senet_jax.fused import finish
from senet_jax.layers import avg_pool, max_pool
from senet_jax.layers.activations import Activation
from senet_jax.models.spec import some_left


class StemKind(NamedTuple):
    """A row of the table of stems.

    Attributes:
      widths: of its convolutions, in units of the network's width; the first may have a stride.
      kernel_size: of its convolutions.
      strides: of the first one, 2 or 1.
      pool: what follows, halving once more; None: nothing.
    """

    widths: tuple[float, ...]
    kernel_size: int
    strides: int
    pool: str | None


STEMS = {
    "imagenet": StemKind((1,), 7, 2, "max"),
    "legacy": StemKind((1,), 7, 2, "max-ceil"),  # of the Caffe release
    "legacy-senet": StemKind((1, 1, 2), 3, 2, "max-ceil"),
    "senet": StemKind((1, 1, 2), 3, 2, "max"),
    "deep": StemKind((1 / 2, 1 / 2, 1), 3, 2, "max"),  # timm's suffix d
    "tiered": StemKind((3 / 8, 1 / 2, 1), 3, 2, "max"),  # t
    "deep-aa": StemKind((1 / 2, 1 / 2, 1), 3, 2, "average"),  # aa...d
    "senet-aa": StemKind((1, 1, 2), 3, 2, "average"),
    "rs": StemKind((1 / 2, 1 / 2, 1), 3, 2, "convolution"),  # ResNet-RS
    "cifar": StemKind((1,), 3, 1, None),
}
HALVING = StemKind((1,), 3, 2, None)  # of RegNet and the mobile networks


class Stem(nn.Module):
    """Images `[N, H, W, C]` -> the convolutions' output, and what the first stage gets of it."""

    width: int
    kind: StemKind
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    act: Activation | None = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for i, fraction in enumerate(self.kind.widths, 1):
            width, strides = int(self.width * fraction), self.kind.strides if i == 1 else 1
            x = self.conv(width, self.kind.kernel_size, strides, name=f"conv{i}")(x)
            x = finish(self.norm(name=f"bn{i}")(x), act=self.act)
        return x, some_left(self._pooled(x))

    def _pooled(self, x):
        match self.kind.pool:
            case "max":
                return max_pool(x, 3, 2)
            case "max-ceil":  # Caffe rounds up: one more row and column where they are missing
                return max_pool(x, 3, 2, "ceil")
            case "average":
                return avg_pool(x, 2, 2, "valid")
            case "convolution":
                y = self.conv(x.shape[-1], 3, 2, name="pool_conv")(x)
                return finish(self.norm(name="pool_bn")(y))
        return x
