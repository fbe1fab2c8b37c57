"""Batch normalisation that returns an affine map instead of writing its result (see
`senet_jax.fused`).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax import fused, product
from senet_jax.fused import AffineMap, Features
from senet_jax.product import Product


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last: `[N, *spatial, C]` -> `AffineMap`, or an
    array of the same shape.

    Variables are those of `flax.linen.BatchNorm`: `params/{scale, bias}`, `batch_stats/{mean, var}`
    (biased variance), each `[C]`; statistics are float32 whatever the input.

    Attributes:
      use_running_average: normalise by the running statistics (inference) instead of the batch's.
      groups: the batch is cut into so many equal runs of images, each normalised by its own
        statistics ("ghost" batch norm; with one group a device, the per-device statistics of the
        paper, without communication). The running statistics are the mean over the groups'.
      axis_name: under `pmap` or `shard_map`, the mapped axis over which statistics are global; None
        keeps each device's own. Under `jit` the batch is one array, so statistics are global
        without it. (`shard_map` with `check_vma=False`: the gradients of deferred maps are our own
        and do not tell over which axes they vary.)
      folded: there are no statistics: they are in the kernel of the convolution before and in
        `bias`, or in `scale` and `bias`; see `senet_jax.inference`. For inference alone.
      fused: False normalises at once, the usual way, and returns an array. Same variables, same
        values. "pallas" as True, but a GPU computes a product's tail in a kernel of our own (see
        `senet_jax.epilogue`): it moves fewer bytes, and has not been timed on a card yet.
    """

    use_running_average: bool = False
    momentum: float = 0.9  # torch's 0.1; Flax counts the other way round
    epsilon: float = 1e-5
    groups: int = 1
    axis_name: str | None = None
    folded: bool = False
    fused: bool | str = True
    scale_init: Callable = nn.initializers.ones
    bias_init: Callable = nn.initializers.zeros
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array | Product, *, use_running_average: bool | None = None
    ) -> Features:
        """Normalised features; `use_running_average`, if given, stands for the field."""
        average = self.use_running_average if use_running_average is None else use_running_average
        if self.fused not in (True, False, "pallas"):
            raise ValueError(f"fused={self.fused!r}, expected True, False or 'pallas'.")
        if isinstance(x, Product):
            defers = self.fused and (average or product.pays(x))
            x = Product(x.y, x.w, kernel=self.fused == "pallas") if defers else x.array()
        if self.folded:
            return self._folded(x, average)
        channels = x.shape[-1]
        gamma = self.param("scale", self.scale_init, (channels,), self.param_dtype)
        beta = self.param("bias", self.bias_init, (channels,), self.param_dtype)
        stats_dtype = jnp.promote_types(x.dtype, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), stats_dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), stats_dtype)

        if average:
            offsets, about = None, running_mean.value
            mean, var = about[None], running_var.value[None]
        else:
            about = jax.lax.stop_gradient(running_mean.value)
            offsets, mean, var = self._statistics(x, about)
            if not self.is_initializing():
                running_mean.value = self._moved(running_mean.value, mean)
                running_var.value = self._moved(running_var.value, var)

        a = gamma[None].astype(stats_dtype) * jax.lax.rsqrt(var + self.epsilon)  # [groups, C]
        if not self.fused:
            return _normalise(x, mean, a, beta)
        per_group = x.shape[0] // mean.shape[0]
        if mean.shape[0] > 1:
            a, mean = (jnp.repeat(t, per_group, axis=0) for t in (a, mean))  # [N, C]
        beta = beta[None].astype(stats_dtype)
        # offsets + about is the mean of x: about cancels exactly here, where a*mean(x) + b would
        # round at its size
        squeezed = None if offsets is None else a * (offsets - (mean - about[None])) + beta
        return AffineMap(x, a, beta - a * mean, squeezed)

    def _folded(self, x, average):
        if not average:
            raise ValueError(
                "This network's batch norms are folded into its convolutions: it has no statistics"
                " to train with. Train the network that it was made from."
            )
        shape = (x.shape[-1],)
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        b = self.param("bias", self.bias_init, shape, self.param_dtype).astype(dtype)
        a = jnp.ones(shape, dtype)
        if self.has_variable("params", "scale"):
            a = self.get_variable("params", "scale").astype(dtype)
        u = AffineMap(x, a[None], b[None])
        return u if self.fused else fused.finish(u, act=None)

    def _statistics(self, x, about):
        """Per-image means about `about` [N, C], and the groups' mean and variance [groups, C]."""
        n = x.shape[0]
        if n % self.groups:
            raise ValueError(
                f"A batch of {n} images cannot be cut into {self.groups} groups of batch "
                "statistics: choose groups that divide it."
            )
        if self.groups > 1 and self.axis_name is not None:
            raise ValueError(
                "Batch statistics are either per group (groups > 1) or global (axis_name), not "
                "both."
            )
        if isinstance(x, Product):
            offsets, first, var = product.statistics(x, about, self.groups)
        else:
            offsets, squares = (fused.moments if self.fused else fused.spatial_moments)(x, about)
            first, second = (
                jnp.mean(m.reshape(self.groups, -1, m.shape[-1]), axis=1)
                for m in (offsets, squares)
            )
            var = second - jnp.square(first)
        if self.axis_name is not None:
            own, first = first, jax.lax.pmean(first, self.axis_name)
            var = jax.lax.pmean(var + jnp.square(own - first), self.axis_name)
        return offsets, first + about[None], jnp.maximum(var, 0)

    def _moved(self, running, batch):
        return self.momentum * running + (1 - self.momentum) * jnp.mean(batch, axis=0)


def _normalise(x, mean, a, beta):
    """(x - mean) * a + beta, with one row of `mean` and `a` for each run of images."""
    if len(mean) > 1:
        mean, a = (jnp.repeat(t, x.shape[0] // len(mean), axis=0) for t in (mean, a))  # [N, C]
    a, mean, beta = (product.spread(t, x) for t in (a, mean, beta[None].astype(a.dtype)))
    return ((x - mean) * a + beta).astype(x.dtype)
