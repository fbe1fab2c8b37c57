"""A residual block's tail in one read and one write: batch norm as a map that is not computed yet.

Normalisation is an affine map per channel, a gate a factor per image and channel: both are
`a*x + b` with `a, b` of shape `[N, C]`. So batch norm returns an `AffineMap` and nothing has been
written; `squeeze` and `scale` work on the small arrays, and `finish` reads the big array once, adds
the shortcut, applies the activation and writes the result once:

    u = AffineMap(x, a, b, mean)               # what BatchNorm returns
    u = scale(u, gates(squeeze(u)))            # SE: no pass over memory, forward or backward
    y = finish(u, shortcut)                    # relu(a*x + b + shortcut), the one pass

Where x is a widening 1x1 convolution's output, not even x is written (see `senet_jax.product`).

An `AffineMap` never leaves a block. The same verbs take ordinary arrays, so blocks are written
once. Shapes are `[N, *spatial, C]` with any number of spatial axes; statistics and maps are float32
(float64 for float64 features).
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from senet_jax import functional, product
from senet_jax.product import Product, accumulator, spread, wide, written_on_gpu

__all__ = ["AffineMap", "Features", "finish", "moments", "scale", "shift", "squeeze"]


@struct.dataclass
class AffineMap:
    """The features `a*x + b`, not computed yet.

    Attributes:
      x: `[N, *spatial, C]`, a convolution's output, untouched, or not computed either.
      a: `[N or 1, C]`, float32.
      b: `[N or 1, C]`, float32.
      mean: `[N, C]`, float32: the spatial mean of `a*x + b` where it is already known.
    """

    x: jax.Array | Product
    a: jax.Array
    b: jax.Array
    mean: jax.Array | None = None


Features = jax.Array | AffineMap
Activation = Callable[[jax.Array], jax.Array]


def spatial_moments(x: jax.Array, about: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Spatial means of `x - about` and `(x - about)**2`: `[N, *spatial, C]`, `[C]` -> two `[N, C]`,
    float32.

    Means of squares about zero lose all digits where the mean is large; about a running mean they
    keep them.
    """
    axes = _spatial_axes(x)
    centred = _centred(x, about)
    return jnp.mean(centred, axis=axes), jnp.mean(jnp.square(centred), axis=axes)


@jax.custom_vjp
def moments(x: jax.Array, about: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`spatial_moments` in one read of `x`, forward and backward; `about` is a constant for the
    gradient.
    """
    return spatial_moments(x, about)


def _moments_fwd(x, about):
    return spatial_moments(x, about), (x, about)


def _moments_bwd(residuals, cotangents):
    x, about = residuals
    first, second = (spread(g / math.prod(x.shape[1:-1]), x) for g in cotangents)
    dx = first + 2 * _centred(x, about) * second
    return dx.astype(x.dtype), jnp.zeros_like(about)


moments.defvjp(_moments_fwd, _moments_bwd)


def squeeze(u: Features) -> jax.Array:
    """Spatial mean `[N, C]`, float32: free on an `AffineMap` that knows it, one read otherwise."""
    if not isinstance(u, AffineMap):
        return functional.squeeze(u, spatial_rank=u.ndim - 2)
    if u.mean is not None:
        return u.mean
    x = u.x
    return u.a * (x.squeeze() if isinstance(x, Product) else squeeze(x)) + u.b


def scale(u: Features, s: jax.Array) -> Features:
    """Features times gates `[N, C]` (or factors per image `[N, 1]`); an `AffineMap` stays
    deferred.
    """
    if not isinstance(u, AffineMap):
        return functional.scale(u, s, spatial_rank=u.ndim - 2)
    mean = None if u.mean is None else s * u.mean
    return AffineMap(u.x, s * u.a, s * u.b, mean)


def shift(u: Features, t: jax.Array) -> Features:
    """Features plus a value per image and channel `[N, C]`; an `AffineMap` stays deferred."""
    if not isinstance(u, AffineMap):
        return (u + spread(t, u)).astype(u.dtype)
    mean = None if u.mean is None else u.mean + t
    return AffineMap(u.x, u.a, u.b + t, mean)


def finish(
    u: Features, shortcut: Features | None = None, act: Activation | None = jax.nn.relu
) -> jax.Array:
    """`act(u + shortcut)` as an array `[N, *spatial, C]`: the one read and write of a block's tail.

    `u` and `shortcut` may each be deferred or an array; the result has the features' dtype, the sum
    is float32 where anything is deferred. Differentiable twice in reverse mode; as every
    `jax.custom_vjp`, not in forward mode.
    """
    terms = [u] if shortcut is None else [u, shortcut]
    maps = tuple((_worth_deferring(t), t.a, t.b) for t in terms if isinstance(t, AffineMap))
    arrays = [t for t in terms if not isinstance(t, AffineMap)]
    if maps:
        return _tail(act, maps, arrays[0] if arrays else None)
    return _activated(act, sum(arrays[1:], start=arrays[0]))


def _activated(act, total):
    if act is None:
        return total
    if act is not jax.nn.relu:
        return act(total)
    return jax.lax.platform_dependent(total, cpu=_relu_written_once, default=jax.nn.relu)


def _relu_written_once(total):
    """A CPU's compiler computes what has one large operand again for each of its readers, and what
    that operand is made of with it: a stage's last tail would read the maps of all before. A select
    has two large ones, and is written once.
    """
    return jnp.where(total <= 0, 0, total)  # NaN stays


def _worth_deferring(u):
    """`u.x`, computed if it is a product whose map differs by image and is small."""
    if isinstance(u.x, Product) and u.a.shape[0] > 1 and product.far_outweighs(u.x):
        return u.x.array()
    return u.x


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _tail(act, maps, array):
    return _tail_fwd(act, maps, array)[0]


def _tail_fwd(act, maps, array):
    if array is not None:
        # Without the barrier a GPU computes the earlier tails of the stage again inside this one (3
        # to 5 maps read instead of 2); a TPU is better off without it.
        array = written_on_gpu(array)
    composed = partial(_composed, act)
    if any(isinstance(x, Product) and x.kernel for x, _, _ in maps):
        from senet_jax import epilogue  # Pallas, for those who ask for it

        kernel = partial(epilogue.tail, act) if epilogue.fits(maps) else composed
        out = jax.lax.platform_dependent(maps, array, cuda=kernel, default=composed)
    else:
        out = composed(maps, array)
    out = written_on_gpu(out)  # rounded: else XLA writes what a squeeze reads in float32
    return out, (maps, array, out if act is jax.nn.relu else None)


def _composed(act, maps, array):
    return _activated(act, _sum(maps, array)).astype(maps[0][0].dtype)


def _tail_bwd(act, residuals, g):
    maps, array, out = residuals
    if act is not None and len(maps) == 1 and array is None and not isinstance(maps[0][0], Product):
        g, g_for_x = _through_twice(act, g, maps[0], out)
    else:
        g = g_for_x = _through(act, g, maps, array, out)
    d_maps = []
    d_x: jax.Array | Product
    for x, a, b in maps:
        if isinstance(x, Product):
            d_x, d_a = product.pulled_back(x, a, g.astype(x.dtype))
        else:
            d_x = (spread(a, x) * wide(g_for_x)).astype(x.dtype)
            d_a = _reduce_like(wide(g) * wide(x), a)
        d_maps.append((d_x, d_a, _reduce_like(wide(g), b)))
    return tuple(d_maps), None if array is None else g.astype(array.dtype)


_tail.defvjp(_tail_fwd, _tail_bwd)


def _through(act, g, maps, array, out):
    """The cotangent before the activation."""
    if act is None:
        return g
    if act is jax.nn.relu:
        return jnp.where(out > 0, g, 0)  # from the saved output
    # rounded before it is written: several read it
    return written_on_gpu(_derived(act, g, _again(maps), array).astype(g.dtype))


def _through_twice(act, g, only, out):
    """The cotangent before an activation without shortcut, for the sums over it and for the
    gradient of x.

    Either reads g and x anyway, and so can compute it; the barrier keeps XLA from writing it for
    both (in an SE-ResNet-50's stem alone: 0.2 GB of a step at batch 64). A ReLU's mask is also in
    the saved output, which is better where a chip keeps that at hand.
    """
    x, *ab = only
    anew = (x, *jax.lax.optimization_barrier(ab))

    def from_input():
        return tuple(_derived(act, g, (each,), None) for each in (only, anew))

    def from_output():
        return (jnp.where(out > 0, g, 0),) * 2

    if act is not jax.nn.relu:
        return from_input()
    return jax.lax.platform_dependent(cuda=from_input, default=from_output)


def _derived(act, g, maps, array):
    if act is jax.nn.relu:
        return jnp.where(_sum(maps, array) > 0, g, 0)
    return jax.vjp(act, _sum(maps, array))[1](wide(g))[0]


def _sum(maps, array):
    total = sum(_values(x) * spread(a, x) + spread(b, x) for x, a, b in maps)
    return total if array is None else total + array.astype(total.dtype)


def _again(maps):
    """The maps, so that products in them are computed anew: else XLA keeps the first ones."""
    return tuple(
        (jax.lax.optimization_barrier(x) if isinstance(x, Product) else x, a, b) for x, a, b in maps
    )


def _values(x):
    return product.exact_pointwise(x.y, x.w) if isinstance(x, Product) else wide(x)


def _reduce_like(g, small):
    """Sum over the spatial axes, and over the images where `small` is `[1, C]`."""
    axes = _spatial_axes(g)
    if small.shape[0] == g.shape[0]:
        return jnp.sum(g, axis=axes)
    return jnp.sum(g, axis=(0, *axes))[None]


def _centred(x, about):
    return wide(x) - about.astype(accumulator(x)).reshape((1,) * (x.ndim - 1) + (-1,))


def _spatial_axes(x):
    return tuple(range(1, x.ndim - 1))
