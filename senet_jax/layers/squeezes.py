"""What a channel attention knows of the features: `[N, *spatial, C]` -> statistics `[N, S, C]`,
float32. The choices for `ChannelAttention(squeeze=...)` that fit features of any size; those with
weights for positions are in `senet_jax.layers.learned_squeezes`, and frequencies in
`senet_jax.layers.frequencies`.
"""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax import fused
from senet_jax.fused import Features
from senet_jax.layers.maximum import largest

__all__ = ["DirectionalPool", "Pool", "SoftmaxPool"]


def as_array(u: Features) -> jax.Array:
    """Features as an array, computed where they were deferred; wide enough for statistics."""
    x = fused.finish(u, act=None)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def flat(u: Features) -> jax.Array:
    """`as_array` with one axis of positions, `[N, positions, C]`."""
    x = as_array(u)
    return x.reshape(x.shape[0], -1, x.shape[-1])


def as_image(u: Features, who: nn.Module) -> jax.Array:
    """`as_array`, `[N, H, W, C]`.

    Raises:
      ValueError: there are not two spatial axes.
    """
    x = as_array(u)
    if x.ndim != 4:
        raise ValueError(
            f"features have shape {x.shape}, expected [N, H, W, C]: {type(who).__name__} tells"
            " height from width; Pool() takes any [N, *spatial, C]."
        )
    return x


def standard_deviation(x: jax.Array, unbiased: bool = True, epsilon: float = 1e-5) -> jax.Array:
    """sqrt(variance + epsilon) over axis 1; one position has variance 0."""
    positions = x.shape[1]
    centred = x - jnp.mean(x, axis=1, keepdims=True)
    squares = jnp.sum(jnp.square(centred), axis=1)
    return jnp.sqrt(squares / max(positions - unbiased, 1) + epsilon)


def norm_l2(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """sqrt(sum of squares + epsilon) over axis 1, as in arXiv 1909.11519."""
    return jnp.sqrt(jnp.sum(jnp.square(x), axis=1) + epsilon)


STATISTICS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "mean": lambda x: jnp.mean(x, axis=1),
    "max": lambda x: largest(x, axis=1),
    "std": standard_deviation,  # torch's: of n - 1, with 1e-5 below the root (arXiv 1903.10829)
    "l1": lambda x: jnp.sum(jnp.abs(x), axis=1),  # a sum, not a mean, as l2
    "l2": norm_l2,
}


def statistic(kind: str) -> Callable[[jax.Array], jax.Array]:
    """A statistic over axis 1 by name.

    Raises:
      ValueError: with the names there are.
    """
    if kind not in STATISTICS:
        raise ValueError(
            f"Unknown statistic {kind!r}: expected {', '.join(map(repr, STATISTICS))}."
        )
    return STATISTICS[kind]


class Pool(nn.Module):
    """Statistics of each channel over all positions.

    Attributes:
      kinds: "mean", "max", "std", "l1" or "l2", one or several.
      average: several are averaged to one; by default each is one of the S statistics.
    """

    kinds: tuple[str, ...] = ("mean",)
    average: bool = False

    def __call__(self, u: Features) -> jax.Array:
        if not self.kinds:
            raise ValueError('kinds=(), expected one or more statistics, for example ("mean",).')
        functions = [statistic(kind) for kind in self.kinds]
        if self.kinds == ("mean",):
            return fused.squeeze(u)[:, None]  # free where the features are deferred
        x = flat(u)
        z = jnp.stack([of(x) for of in functions], axis=1)
        return jnp.mean(z, axis=1, keepdims=True) if self.average else z


class DirectionalPool(nn.Module):
    """A statistic of each channel along the height alone or along the width alone, for an
    excitation of several statistics: `[N, H, W, C]` -> `[N, W, C]` or `[N, H, C]`.

    `Bottleneck` and `Full` treat all rows alike and so fit any size; `PerChannel` has a weight for
    each row and `SelfAttention` features of each.

    Attributes:
      along: the axis that goes, "height" (S = W) or "width" (S = H).
      kind: the statistic, as in `Pool`.
    """

    along: str = "height"
    kind: str = "mean"

    def __call__(self, u: Features) -> jax.Array:
        x = as_image(u, self)
        of = statistic(self.kind)
        if self.along == "height":
            return of(x)
        if self.along == "width":
            return of(jnp.swapaxes(x, 1, 2))
        raise ValueError(f"Unknown along={self.along!r}: expected 'height' or 'width'.")


class SoftmaxPool(nn.Module):
    """The mean over positions, each weighted by the softmax of a linear map of its features: global
    context (arXiv 1904.11492). S = 1.

    The layer's bias changes nothing, as softmax does not see it; published weights have it.
    """

    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Features) -> jax.Array:
        x = flat(u)
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # mmcv's and timm's
        dense = nn.Dense(1, kernel_init=init, param_dtype=self.param_dtype, name="fc")
        weights = jax.nn.softmax(dense(x), axis=1)  # [N, positions, 1]
        return jnp.sum(weights * x, axis=1, keepdims=True)
