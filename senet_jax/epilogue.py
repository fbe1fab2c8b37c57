"""A block's tail as the epilogue of its last product, in one kernel for NVIDIA GPUs.

XLA writes a product and reads it again for what follows, unless that is a bias or a sum. Here

    act(a * (y . w) + b + shortcut)

is one kernel by Pallas (Triton): it reads y, w and the shortcut and writes the result. The shortcut
may be an array, another map, or another product.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from senet_jax.product import Product

ROWS, COLUMNS, DEPTH = 64, 64, 64  # of the blocks that a program computes and multiplies

Maps = tuple[tuple[Any, jax.Array, jax.Array], ...]


def fits(maps: Maps) -> bool:
    """Whether the kernel can compute these: 16 or more channels in, a multiple of 64 out, and
    halves: of float32 it would keep no more digits than TF32 has.
    """
    products = [x for x, _, _ in maps if isinstance(x, Product)]
    return bool(products) and all(
        x.dtype.itemsize == 2 and x.shape[-1] % COLUMNS == 0 and _depth(x.w.shape[0]) >= 16
        for x in products
    )


def tail(
    act: Callable[[jax.Array], jax.Array] | None,
    maps: Maps,
    array: jax.Array | None,
) -> jax.Array:
    """`act` of the sum of the maps `(x, a, b)`, x an array or a `Product`, and of the array, all
    `[N, H, W, C]`, in x's dtype.
    """
    x = maps[0][0]
    n, channels, positions = x.shape[0], x.shape[-1], math.prod(x.shape[1:-1])

    def flat(t):
        return t.reshape(n, positions, t.shape[-1])

    inputs = [
        ((flat(x.y), x.w) if isinstance(x, Product) else (flat(x),), a, b) for x, a, b in maps
    ]
    out = pl.pallas_call(
        partial(_kernel, act, positions),
        grid=(n, pl.cdiv(positions, ROWS), channels // COLUMNS),
        out_shape=jax.ShapeDtypeStruct((n, positions, channels), x.dtype),
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=3),
        name="product_tail",
    )(inputs, None if array is None else flat(array))
    return out.reshape(x.shape)


def _kernel(act, positions, maps, array, out):
    """One block of positions and channels of one image; each argument is whole, in memory."""
    n, row, column = pl.program_id(0), pl.program_id(1) * ROWS, pl.program_id(2) * COLUMNS
    rows, columns = pl.ds(row, ROWS), pl.ds(column, COLUMNS)
    inside = (row + jnp.arange(ROWS) < positions)[:, None]

    def read(ref, *at):
        return triton.load(ref.at[*at], mask=inside, other=0)

    total = jnp.zeros((ROWS, COLUMNS), jnp.float32)
    for parts, a, b in maps:
        if len(parts) == 2:
            x = _multiplied(parts[0], parts[1], read, n, rows, columns)
        else:
            x = read(parts[0], n, rows, columns).astype(jnp.float32)
        a, b = (triton.load(t.at[n * (t.shape[0] > 1), columns]) for t in (a, b))
        total += x * a[None] + b[None]
    if array is not None:
        total += read(array, n, rows, columns).astype(jnp.float32)
    result = (total if act is None else act(total)).astype(out.dtype)
    triton.store(out.at[n, rows, columns], result, mask=inside)


def _multiplied(y, w, read, n, rows, columns):
    depth = min(DEPTH, _depth(y.shape[-1]))

    def add(k, total):
        inner = pl.ds(k * depth, depth)
        y_block, w_block = read(y, n, rows, inner), triton.load(w.at[inner, columns])
        return total + jnp.dot(y_block, w_block, preferred_element_type=jnp.float32)

    start = jnp.zeros((ROWS, COLUMNS), jnp.float32)
    return jax.lax.fori_loop(0, y.shape[-1] // depth, add, start)


def _depth(channels: int) -> int:
    """The largest power of two that divides the channels in."""
    return channels & -channels
