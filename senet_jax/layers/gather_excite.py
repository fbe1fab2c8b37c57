"""Gather-excite: gates from the neighbourhood of each position, or from the whole map."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from senet_jax import fused
from senet_jax.fused import Features
from senet_jax.layers.activations import gate
from senet_jax.layers.conv import Conv, kaiming_fan_out
from senet_jax.layers.learned_squeezes import whole_map
from senet_jax.layers.norm import BatchNorm
from senet_jax.layers.padding import avg_pool
from senet_jax.layers.se import reduced_channels
from senet_jax.layers.spatial import maps

__all__ = ["GatherExcite"]

EXTENTS = (0, 2, 4, 8)
PARAMETERS = ("none", "gather", "both")


def sources(few: int, many: int) -> np.ndarray:
    """Which of a few positions each of many repeats, by torch's rule "nearest": i * few / many,
    rounded down. In float32 as there, or 122 positions of 16 and some others would differ.
    """
    ratio = np.float32(few) / np.float32(many)
    return np.floor(np.arange(many, dtype=np.float32) * ratio).astype(int).clip(max=few - 1)


def nearest(y: jax.Array, height: int, width: int) -> jax.Array:
    """`[N, h, w, C]` -> `[N, height, width, C]`."""
    rows, columns = sources(y.shape[1], height), sources(y.shape[2], width)
    return jnp.take(jnp.take(y, rows, axis=1), columns, axis=2)


class GatherExcite(nn.Module):
    """Gather-excite (arXiv 1810.12348): `[N, H, W, C]` -> the same shape and dtype.

        u * nearest(sigmoid(gather(u)))                     "none" and "gather"
        u * nearest(sigmoid(fc(relu(fc(relu(gather(u)))))))     "both"

    Where a gather has parameters, batch norm follows each of its convolutions. Global, without
    parameters, it works with any number of spatial axes, and a deferred map stays deferred, as it
    does for all global ones.

    Attributes:
      extent: 0: global; 2, 4, 8: gates have as many times fewer rows and columns, and are repeated.
      parameters: "none" (GE-theta-minus): the mean over the map, or over windows of 2 * extent - 1,
        at the border of what lies inside; "gather" (GE-theta): a depthwise convolution as large as
        the map, which binds the network to one size of image, or log2(extent) of 3x3 with stride 2
        and ReLU between them; "both" (GE-theta-plus): these, ReLU, and the two layers of SE.
      reduction: of the latter.
      gate: a name from `senet_jax.layers.activations`.
      norm: a template, for all norms.

    Parameters at C = 256, "none": 0; "gather": 803328 at 56x56, 2816 and 8448 at the extents 2 and
    8; "both": 8464 more. timm's `ge` has by default neither a global kernel nor norms, but
    SE's layers: that is `SEBlock`.
    """

    extent: int = 0
    parameters: str = "none"
    reduction: int = 16
    gate: str = "sigmoid"
    norm: BatchNorm = BatchNorm()
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> Features:
        if self.extent not in EXTENTS:
            raise ValueError(f"extent={self.extent}: expected 0, which is global, or 2, 4 or 8.")
        if self.parameters not in PARAMETERS:
            raise ValueError(
                f"Unknown parameters {self.parameters!r}: expected"
                f" {', '.join(map(repr, PARAMETERS))}."
            )
        if self.extent == 0 and self.parameters == "none":
            y = fused.squeeze(u)
        else:
            x, wide = maps(u, self)
            y = self._gather(wide)
        if self.parameters == "both":
            y = self._excite(nn.relu(y))
        s = gate(self.gate)(y)
        if self.extent:
            s = nearest(s, *x.shape[1:3])
        self.sow("intermediates", "gates", s)
        return (x * s).astype(x.dtype) if self.extent else fused.scale(u, s)

    def _gather(self, y):
        if self.parameters == "none":
            return avg_pool(y, 2 * self.extent - 1, self.extent)
        if self.extent == 0:
            return self._gather_globally(y)
        channels, last = y.shape[-1], self.extent.bit_length() - 1
        conv = partial(
            Conv, channels, 3, 2, channels, group_init=True, param_dtype=self.param_dtype
        )
        for i in range(1, last + 1):
            y = self.norm.clone(name=f"bn{i}", parent=self)(conv(name=f"conv{i}")(y))
            y = fused.finish(y, act=nn.relu if i < last else None)
        return y

    def _gather_globally(self, y):
        init = kaiming_fan_out(groups=y.shape[-1])
        y = whole_map(self, y, init, otherwise="extent=2, 4 or 8")
        return fused.finish(self.norm.clone(name="bn", parent=self)(y), act=None)

    def _excite(self, y):
        channels = y.shape[-1]
        dense = partial(
            nn.Dense, kernel_init=nn.initializers.normal(0.01), param_dtype=self.param_dtype
        )
        y = nn.relu(dense(reduced_channels(channels, self.reduction), name="fc1")(y))
        return dense(channels, name="fc2")(y)
