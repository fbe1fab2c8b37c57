"""A widening 1x1 convolution's output that is not computed yet.

For `x = y . w` with y `[N, H, W, m]`, w `[m, C]` and C at least twice m, all that batch norm and SE
want to know of x comes from the smaller y:

    mean of x over positions     mean(y) . w
    variance of x                w' S w,  S = E[y y'] - E[y] E[y]', m x m

so statistics and gates are known before the convolution runs, and `senet_jax.fused.finish` computes
`act(a * (y . w) + b + shortcut)` as its epilogue: x is never written. Nor does the way back need
it: with g the gradient before the activation and `P[n] = sum_hw y' g` (`[m, C]`),

    da[n] = sum_hw(g * x) = sum_m(P[n] * w)      dw = sum_n a[n] P[n]      dy = (a g) . w'

Small products (of means, of S) are computed in float32 whatever the default precision of matrix
products is.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

__all__ = ["Product", "defer", "pointwise", "statistics"]

FULL = jax.lax.Precision.HIGHEST


@struct.dataclass
class Product:
    """The features `y . w`, not computed yet.

    Attributes:
      y: `[N, H, W, m]`.
      w: `[m, C]`, of y's dtype.
      kernel: whether a GPU computes the tail by `senet_jax.epilogue`, where that fits.
    """

    y: jax.Array
    w: jax.Array
    kernel: bool = struct.field(pytree_node=False, default=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.y.shape[:-1], self.w.shape[-1])

    @property
    def ndim(self) -> int:
        return self.y.ndim

    @property
    def dtype(self) -> jnp.dtype:
        return self.y.dtype

    def array(self) -> jax.Array:
        """The features after all, `[N, H, W, C]`."""
        return pointwise(self.y, self.w)

    def squeeze(self) -> jax.Array:
        """The mean over positions `[N, C]`, float32, from y alone."""
        return jnp.matmul(_means(self.y), wide(self.w), precision=FULL)


def defer(y: jax.Array, w: jax.Array) -> Product:
    """A 1x1 convolution of y, not computed yet."""
    # A GPU would otherwise write y twice, in float32 for its means and then rounded.
    return Product(written_on_gpu(y), w)


def pointwise(y: jax.Array, w: jax.Array) -> jax.Array:
    """1x1 convolution: `[N, H, W, m]`, `[m, C]` -> `[N, H, W, C]`."""
    return jax.lax.platform_dependent(y, w, cpu=_as_matrices, default=_as_convolution)


def exact_pointwise(y: jax.Array, w: jax.Array) -> jax.Array:
    """The same, float32 as the chip adds it up where that is free: no gradient is defined."""
    return jax.lax.platform_dependent(
        y,
        w,
        cpu=partial(_as_matrices, out=accumulator(y)),
        cuda=lambda y, w: wide(_as_convolution(y, w)),  # cuDNN writes what it is given
        default=partial(_as_convolution, out=accumulator(y)),
    )


def statistics(x: Product, about: jax.Array, groups: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What batch norm must know: `x - about`'s mean of each image `[N, C]`, and over each of so
    many equal runs of images its mean and its variance `[groups, C]`, float32.

    `about` `[C]` is a constant for the gradient.
    """
    m = x.w.shape[0]
    w, z = wide(x.w), _means(x.y)
    offsets = jnp.matmul(z, w, precision=FULL) - about[None]
    # Squares about zero lose their digits where means are large. Half precision has none to lose:
    # what it keeps of such values is less than what float32 sums of their exact squares do.
    means = jnp.mean(z.reshape(groups, -1, m), axis=1)  # [groups, m]
    half = x.dtype.itemsize == 2
    centre = jnp.zeros_like(means) if half else jax.lax.stop_gradient(means)
    means -= centre
    spread = gram(x.y, centre) - means[:, :, None] * means[:, None, :]
    variance = jnp.sum(jnp.matmul(spread, w, precision=FULL) * w[None], axis=1)
    first = jnp.mean(offsets.reshape(groups, -1, w.shape[1]), axis=1)
    return offsets, first, jnp.maximum(variance, 0)


@jax.custom_vjp
def gram(y: jax.Array, centre: jax.Array) -> jax.Array:
    """Mean of `(y - centre)(y - centre)'` over positions and each of equal runs of images:
    `[N, H, W, m]`, `[runs, m]` -> `[runs, m, m]`, float32; `centre` is a constant for the gradient.
    """
    return _gram_fwd(y, centre)[0]


def _gram_fwd(y, centre):
    runs = _centred_runs(y, centre)
    sums = _contract(runs, runs, tuple(range(1, runs.ndim - 1)), batch=1)
    return sums / math.prod(runs.shape[1:-1]), (y, centre)


def _gram_bwd(residuals, g):
    y, centre = residuals
    runs = _centred_runs(y, centre)
    weights = ((g + g.mT) / math.prod(runs.shape[1:-1])).astype(runs.dtype)
    if len(runs) == 1:
        dy = exact_pointwise(runs[0], weights[0])
    else:
        dy = jnp.einsum("g...i,gij->g...j", runs, weights)
    return dy.reshape(y.shape).astype(y.dtype), jnp.zeros_like(centre)


gram.defvjp(_gram_fwd, _gram_bwd)


def pulled_back(x: Product, a: jax.Array, g: jax.Array) -> tuple[Product, jax.Array]:
    """The gradients of `sum(g * a * x)` by x and by a `[N or 1, C]`, without x.

    g is `[N, H, W, C]` of x's dtype.
    """
    y, w = x.y, x.w
    if a.shape[0] > 1 and outweighs(x):
        y, w = jax.lax.optimization_barrier((y, w))  # or the forward product would be kept for this
        da = jnp.sum(g * exact_pointwise(y, w), axis=tuple(range(1, y.ndim - 1)))
        scaled = _scaled(g, a)
        dw = _contract(y, scaled, tuple(range(y.ndim - 1)))
        dy = exact_pointwise(scaled, w.T)
    else:
        whole = a.shape[0] == 1  # one map for all images
        sums = _contract(y, g, tuple(range(0 if whole else 1, y.ndim - 1)), batch=1 - whole)
        sums = sums.reshape(-1, *w.shape)  # [N or 1, m, C]
        da, dw = jnp.sum(sums * wide(w)[None], axis=1), jnp.sum(a[:, None] * sums, axis=0)
        dy = _scaled_back(g, a, w)
    return Product(dy.astype(y.dtype), dw.astype(w.dtype), x.kernel), da.astype(a.dtype)


def _scaled_back(g, a, w):
    """`(a g) . w'`."""
    if a.shape[0] == 1:
        return exact_pointwise(g, (wide(w) * a).astype(w.dtype).T)
    return jax.lax.platform_dependent(g, a, w, cuda=_by_image, default=_by_map)


def _by_map(g, a, w):
    return exact_pointwise(_scaled(g, a), w.T)


def _by_image(g, a, w):
    """A GPU would write `a g`; matrices for each image are small."""
    weights = (wide(w)[None] * a[:, None]).astype(w.dtype)
    return jnp.einsum("n...c,nmc->n...m", g, weights, preferred_element_type=accumulator(g))


def pays(x: Product) -> bool:
    """Whether the statistics of a batch cost less than writing x would.

    `E[y y']` costs m multiply-adds for each value of y, beside C of the convolution itself: where C
    is no more than 2m, as in a ResNeXt, compilers count more for it than is saved. `S w` costs as
    many as the features of m positions.
    """
    m, channels = x.w.shape
    return channels >= 4 * m and math.prod(x.y.shape[:-1]) >= 4 * m


def outweighs(x: Product) -> bool:
    """Whether a matrix `[m, C]` for each image is larger than the features."""
    return math.prod(x.y.shape[1:-1]) < 2 * x.w.shape[0]


def far_outweighs(x: Product) -> bool:
    """Whether it is eight times as large: then even what is computed again costs more than x."""
    return 8 * math.prod(x.y.shape[1:-1]) < 2 * x.w.shape[0]


def _contract(p, q, axes, batch=0):
    """Sums of products over some axes, the first `batch` being common: `[..., m, C]`, float32."""
    common = tuple(range(batch))
    return jax.lax.dot_general(
        p,
        q,
        ((axes, axes), (common, common)),
        precision=FULL if p.dtype.itemsize > 2 else None,
        preferred_element_type=accumulator(p),
    )


def _as_matrices(y, w, out=None):
    return jax.lax.dot_general(y, w, (((y.ndim - 1,), (0,)), ((), ())), preferred_element_type=out)


def _as_convolution(y, w, out=None):
    return jax.lax.conv_general_dilated(
        y,
        w[None, None],
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=out,
    )


def _means(y):
    return jnp.mean(wide(y), axis=tuple(range(1, y.ndim - 1)))


def _centred_runs(y, centre):
    runs = y.reshape(centre.shape[0], -1, *y.shape[1:])
    if y.dtype.itemsize == 2:
        return runs
    return runs - centre.reshape(centre.shape[0], *(1,) * (y.ndim - 1), -1)


def _scaled(g, a):
    return (wide(g) * spread(a, g)).astype(g.dtype)


def spread(small: jax.Array, x: jax.Array) -> jax.Array:
    """`[N or 1, C]` -> `[N or 1, 1, ..., 1, C]`, to meet x."""
    return small.reshape(small.shape[:1] + (1,) * (x.ndim - 2) + small.shape[1:])


def written_on_gpu(x: jax.Array) -> jax.Array:
    """x, behind which a GPU's compiler does not look: what reads it, reads memory."""
    return jax.lax.platform_dependent(x, cuda=jax.lax.optimization_barrier, default=lambda x: x)


def wide(x: jax.Array) -> jax.Array:
    """x in the dtype of its sums."""
    return x.astype(accumulator(x))


def accumulator(x: jax.Array) -> jnp.dtype:
    """What sums of x are computed in: float32, or float64 for float64."""
    return jnp.promote_types(x.dtype, jnp.float32)
