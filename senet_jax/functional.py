"""Squeeze-and-excitation as pure functions of arrays, in the paper's symbols (arXiv 1709.01507,
section 3).

`u` are features, `z` their squeeze, `s` the gates. Everything works under `jit`, `vmap` and `grad`,
and axes are counted from the right, so any leading axes are allowed:

    z = squeeze(u)                   # [..., H, W, C] -> [..., C]     eq. 2
    s = excite(z, params)            # [..., C] -> [..., C]           eq. 3
    v = scale(u, s)                  # [..., H, W, C]                 eq. 4

Sequences `[..., T, C]` and volumes `[..., D, H, W, C]` say so with `spatial_rank=1` and
`spatial_rank=3`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["channel_attention", "excite", "scale", "squeeze"]


def squeeze(u: jax.Array, *, spatial_rank: int = 2, mask: jax.Array | None = None) -> jax.Array:
    """Mean over the spatial axes (eq. 2), accumulated in float32 or wider.

    Args:
      u: features `[..., *spatial, C]` with `spatial_rank` spatial axes, any dtype.
      spatial_rank: number of spatial axes before the last one: 1, 2, 3, ...
      mask: `[..., *spatial]`, true at valid positions, for padded images or sequences; what lies
        elsewhere is not read, not even a NaN. An example without a valid position has the squeeze
        0.

    Returns:
      z `[..., C]`, float32 (float64 for float64 features).

    Raises:
      ValueError: `u` has too few axes, or the shape of `mask` is not that of `u` without its
        channels.
    """
    _check_rank(u, spatial_rank)
    axes = tuple(range(-1 - spatial_rank, -1))
    dtype = jnp.promote_types(u.dtype, jnp.float32)
    if mask is None:
        return jnp.mean(u, axis=axes, dtype=dtype)
    if mask.shape != u.shape[:-1]:
        raise ValueError(
            f"mask has shape {mask.shape}, expected {u.shape[:-1]}: one value for every position "
            f"of the features {u.shape}."
        )
    valid = mask.astype(bool)[..., None]
    count = jnp.sum(valid, axis=axes, dtype=dtype)
    return jnp.sum(jnp.where(valid, u, 0), axis=axes, dtype=dtype) / jnp.maximum(count, 1)


def excite(
    z: jax.Array,
    params: Mapping[str, Any],
    *,
    act: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    gate: Callable[[jax.Array], jax.Array] = jax.nn.sigmoid,
) -> jax.Array:
    """The gates `gate(act(z @ W1 + b1) @ W2 + b2)` (eq. 3).

    Args:
      z: squeezed features `[..., C]`.
      params: `{"fc1": {"kernel", "bias"}, "fc2": {"kernel", "bias"}}`, exactly a block's own
        subtree (`variables["params"]["stage1"]["block1"]["se"]`). Kernels are dense, `[C, h]` and
        `[h, C]`, or those of 1x1 convolutions, `[1, 1, C, h]`; biases `[h]` and `[C]` may be
        missing.
      act: the bottleneck's activation.
      gate: the last activation.

    Returns:
      s `[..., C]`, float32 (float64 for float64 inputs).

    Raises:
      ValueError: `params` is no such subtree, or was made for another number of channels.
    """
    if not isinstance(params, Mapping) or not {"fc1", "fc2"} <= params.keys():
        found = sorted(params) if isinstance(params, Mapping) else type(params).__name__
        raise ValueError(
            f"params has {found}, expected 'fc1' and 'fc2': give the block's own subtree, "
            "for example variables['params']['stage1']['block1']['se']."
        )
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    return gate(_dense(act(_dense(z, params["fc1"], "fc1")), params["fc2"], "fc2"))


def scale(u: jax.Array, s: jax.Array, *, spatial_rank: int = 2) -> jax.Array:
    """Features times gates (eq. 4): `[..., *spatial, C]` and `[..., C]` (or `[..., 1]`) -> the
    features' shape and dtype.

    Raises:
      ValueError: `u` has too few axes, or `s` does not fit its leading axes and channels.
    """
    _check_rank(u, spatial_rank)
    expected = u.shape[: -1 - spatial_rank] + u.shape[-1:]
    if s.shape[:-1] != expected[:-1] or s.shape[-1] not in (1, expected[-1]):
        raise ValueError(
            f"gates have shape {s.shape}, expected {expected} for features of shape {u.shape} "
            f"with {spatial_rank} "
            "spatial axes (spatial_rank)."
        )
    return (u * jnp.expand_dims(s, tuple(range(-1 - spatial_rank, -1)))).astype(u.dtype)


def channel_attention(
    u: jax.Array,
    params: Mapping[str, Any],
    *,
    spatial_rank: int = 2,
    mask: jax.Array | None = None,
    act: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    gate: Callable[[jax.Array], jax.Array] = jax.nn.sigmoid,
) -> jax.Array:
    """Per-channel attention weights of features: `excite(squeeze(u))`, `[..., *spatial, C]` ->
    `[..., C]` float32.

    Arguments and errors are those of `squeeze` and `excite`.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"fc1": {"kernel": jnp.zeros((64, 4))}, "fc2": {"kernel": jnp.zeros((4, 64))}}
      >>> channel_attention(jnp.ones((8, 7, 7, 64)), params).shape
      (8, 64)
    """
    return excite(squeeze(u, spatial_rank=spatial_rank, mask=mask), params, act=act, gate=gate)


def _check_rank(u: jax.Array, spatial_rank: int) -> None:
    if u.ndim < spatial_rank + 1:
        raise ValueError(
            f"features have shape {u.shape}, expected [..., *spatial, C] with {spatial_rank} "
            "spatial axes: say spatial_rank=1 for sequences [..., T, C], spatial_rank=3 for "
            "volumes [..., D, H, W, C]."
        )


def _dense(z: jax.Array, layer: Mapping[str, Any], name: str) -> jax.Array:
    """z @ kernel + bias; a 1x1 convolution's kernel is a dense one after axes of length 1."""
    kernel = jnp.asarray(layer["kernel"])
    if kernel.ndim < 2 or any(n != 1 for n in kernel.shape[:-2]):
        raise ValueError(
            f"{name}/kernel has shape {kernel.shape}, expected [in, out] or a 1x1 convolution's "
            "[1, 1, in, out]."
        )
    if kernel.shape[-2] != z.shape[-1]:
        raise ValueError(
            f"{name}/kernel was made for {kernel.shape[-2]} channels, but its input has "
            f"{z.shape[-1]}."
        )
    y = z @ kernel.reshape(kernel.shape[-2:]).astype(z.dtype)
    if "bias" in layer:
        y = y + jnp.asarray(layer["bias"], y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
    return y
