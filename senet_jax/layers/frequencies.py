"""Statistics that are coefficients of the discrete cosine transform: FcaNet (arXiv 2012.11879)."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from senet_jax.fused import Features
from senet_jax.layers.padding import Size, pair
from senet_jax.layers.squeezes import as_image

__all__ = ["Frequencies"]

BASE = 7  # frequencies are counted on a map of 7x7
Table = tuple[tuple[int, int], ...]
TOP: Table = ((0, 0), (0, 1), (6, 0), (0, 5), (0, 2), (1, 0), (1, 2), (4, 0))
TOP += ((5, 0), (1, 6), (3, 0), (0, 4), (0, 6), (0, 3), (3, 5), (2, 2))
LOW: Table = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 1), (1, 2))
LOW += ((2, 2), (0, 3), (3, 0), (4, 0), (0, 4), (1, 3), (3, 1), (0, 5))
# (u, v) along height and width, in the order of the authors' code (cfzd/FcaNet: model/layer.py):
# "top" by the accuracy of each alone, "low" from the lowest
TABLES: Mapping[str, Table] = {"top": TOP, "low": LOW}
COUNTS = (1, 2, 4, 8, 16)


class Frequencies(nn.Module):
    """One DCT coefficient of each channel, another frequency for each of n equal runs of channels:
    `[N, H, W, C]` -> `[N, 1, C]`.

        z_c = sum_pq x[p, q, c] beta(p, u_i, H) beta(q, v_i, W),    i = c // (C / n)
        beta(p, u, H) = cos(pi u (p + 1/2) / H) / sqrt(H) * (sqrt(2) if u > 0 else 1)

    The frequency (0, 0) is sqrt(H W) times the mean, not the mean, as published. No parameters.
    Use it with `Bottleneck(use_bias=False)`.

    Attributes:
      which: "top" or "low" and 1, 2, 4, 8 or 16: the authors' tables. Their further ones ("bot",
        and 32) can be given as indices.
      indices: other frequencies `((u, v), ...)`, each from 0 to 6, instead of `which`.
      size: of the map whose frequencies are meant; u and v are multiplied by `size // 7`. Other
        maps are averaged to it first (torch's adaptive average pool). The authors store 56, 28,
        14 and 7, the sizes of the stages for images of 224. None: the map's own size, which is the
        same at 224, and 7 where it is smaller.

    Raises:
      ValueError: unknown frequencies, a size below 7, channels that the frequencies do not divide,
        features that are not `[N, H, W, C]`.
    """

    which: str = "top16"
    indices: tuple[tuple[int, int], ...] | None = None
    size: Size | None = None

    def __call__(self, u: Features) -> jax.Array:
        x = as_image(u, self)
        n, height, width, channels = x.shape
        indices = self._indices()
        if channels % len(indices):
            raise ValueError(
                f"{channels} channels cannot be split among {len(indices)} frequencies: choose"
                f" fewer, for example Frequencies('{self.which[:3]}1'), or indices whose number"
                " divides the channels."
            )
        sizes = pair(self.size or (max(height, BASE), max(width, BASE)))
        if min(sizes) < BASE:
            raise ValueError(f"size={self.size}, expected {BASE} or more in both directions.")
        filters = dct_filters(indices, sizes, (height, width))
        runs = x.reshape(n, height, width, len(indices), -1)
        weights = jnp.asarray(filters, x.dtype)[None, ..., None]  # [1, H, W, n, 1]
        return jnp.sum(runs * weights, axis=(1, 2)).reshape(n, 1, channels)

    def _indices(self) -> tuple[tuple[int, int], ...]:
        if self.indices is not None:
            if not self.indices or any(not 0 <= i < BASE for uv in self.indices for i in uv):
                raise ValueError(
                    f"indices={self.indices}, expected pairs (u, v) of numbers from 0 to"
                    f" {BASE - 1}: they count on a map of {BASE}x{BASE}."
                )
            return self.indices
        table, count = self.which[:3], self.which[3:]
        if table not in TABLES or count not in map(str, COUNTS):
            raise ValueError(
                f"Unknown frequencies {self.which!r}: expected 'top' or 'low' and"
                f" {', '.join(map(str, COUNTS))}, for example 'top16', or give others as"
                " indices=((u, v), ...)."
            )
        return TABLES[table][: int(count)]


def dct_filters(
    indices: tuple[tuple[int, int], ...], sizes: tuple[int, int], given: tuple[int, int]
) -> np.ndarray:
    """`[H, W, n]`: the filters of a map of `sizes`, to be multiplied with a map of the size `given`
    that would be averaged to it first.
    """
    filters = []
    for frequencies in indices:
        lines = [
            cosine(frequency * (size // BASE), size) @ adaptive_average(size, length)
            for frequency, size, length in zip(frequencies, sizes, given, strict=True)
        ]
        filters.append(np.outer(*lines))
    return np.stack(filters, axis=-1)


def cosine(frequency: int, length: int) -> np.ndarray:
    """The DCT's unit vector of one frequency."""
    positions = np.arange(length) + 0.5
    scale = np.sqrt((2 if frequency else 1) / length)
    return scale * np.cos(np.pi * frequency * positions / length)


def adaptive_average(out: int, length: int) -> np.ndarray:
    """torch's adaptive average pool of one axis as a matrix `[out, length]`: bin i holds positions
    from floor(i length / out) to ceil((i + 1) length / out).
    """
    matrix = np.zeros((out, length))
    for i in range(out):
        first, last = i * length // out, -((i + 1) * length // -out)
        matrix[i, first:last] = 1 / (last - first)
    return matrix
