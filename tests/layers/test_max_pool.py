"""The pool by the place of its maximum against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax.layers.max_pool import _by_place, _reduced, max_pool


@pytest.mark.parametrize(
    ("shape", "size", "strides", "pads"),
    [
        ((2, 8, 7, 3), 3, 2, ((1, 1), (1, 1))),
        ((2, 8, 7, 3), 3, 2, ((0, 1), (0, 1))),
        ((2, 8, 7, 3), 2, 2, ((0, 0), (0, 0))),
        ((2, 8, 7, 3), 3, 1, "SAME"),
        ((1, 3, 3, 2), 3, 2, ((1, 1), (1, 1))),
        ((1, 3, 3, 2), 3, 2, "SAME"),
    ],
)
def test_values_and_gradients_are_xlas_own_with_ties(shape, size, strides, pads):
    values = np.random.default_rng(0).integers(0, 4, shape)  # few values: many are equal
    x = jnp.asarray(values, jnp.float32)
    weights = lambda y: jnp.arange(1, y.size + 1, dtype=jnp.float32).reshape(y.shape)

    def run(pool):
        f = lambda x: pool(x, size=size, strides=strides, pads=pads)
        slope = jax.grad(lambda x: jnp.sum(f(x) * weights(f(x))))(x)
        return f(x), slope

    for ours, theirs in zip(run(_by_place), run(_reduced), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_no_number_stays_none():
    x = jnp.ones((1, 4, 4, 1)).at[0, 1, 1, 0].set(jnp.nan)
    pool = lambda f: f(x, size=2, strides=2, pads=((0, 0), (0, 0)))
    np.testing.assert_array_equal(pool(_by_place), pool(_reduced))
    assert jnp.isnan(pool(_by_place)[0, 0, 0, 0])


def test_a_gpu_gets_no_scatter():
    slope = jax.jit(jax.grad(lambda x: max_pool(x, 3, 2).sum()))
    x = jnp.ones((1, 8, 8, 2))
    text = {p: jax.export.export(slope, platforms=[p])(x).mlir_module() for p in ("cuda", "cpu")}
    assert "select_and_scatter" in text["cpu"]
    assert "select_and_scatter" not in text["cuda"]
