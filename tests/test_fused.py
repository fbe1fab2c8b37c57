"""The deferred affine map against the same sums written out, its gradients against finite
differences.
"""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from senet_jax import fused
from senet_jax.fused import AffineMap, finish, moments, scale, squeeze

SHAPES = [(3, 4, 5, 2), (3, 1, 1, 2), (1, 4, 5, 2), (2, 6, 3), (2, 2, 3, 2, 2)]
ACTIVATIONS = [None, jax.nn.relu, jax.nn.silu]


def random_map(shape, rows, seed=0, dtype=np.float64):
    r = np.random.default_rng(seed)
    x, a, b = (
        r.normal(size=shape),
        r.normal(size=(rows, shape[-1])),
        r.normal(size=(rows, shape[-1])),
    )
    return AffineMap(*(jnp.asarray(t, dtype) for t in (x, a, b)))


def computed(u):
    """The array that a map stands for, by broadcasting alone."""
    if not isinstance(u, AffineMap):
        return u
    middle = (1,) * (u.x.ndim - 2)
    a, b = (t.reshape(t.shape[0], *middle, -1) for t in (u.a, u.b))
    return u.x * a + b


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_and_their_gradients(shape, x64):
    x = jnp.asarray(np.random.default_rng(0).normal(3, 2, size=shape))
    about = jnp.asarray(np.random.default_rng(1).normal(size=shape[-1]))
    axes = tuple(range(1, x.ndim - 1))
    centred = np.asarray(x) - np.asarray(about)
    first, second = moments(x, about)
    np.testing.assert_allclose(first, centred.mean(axes), rtol=1e-12)
    np.testing.assert_allclose(second, (centred**2).mean(axes), rtol=1e-12)
    check_grads(lambda x: moments(x, about), (x,), order=2, modes=["rev"], rtol=1e-6)
    gradient = jax.grad(lambda about: sum(m.sum() for m in moments(x, about)))(about)
    np.testing.assert_array_equal(gradient, 0)  # a constant


def test_moments_about_the_mean_keep_their_digits():
    x = np.random.default_rng(0).normal(1e4, 1, size=(4, 16, 16, 3)).astype(np.float32)
    exact = x.astype(np.float64)
    first, second = moments(jnp.asarray(x), jnp.full(3, 1e4, jnp.float32))
    variance = second.mean(0) - first.mean(0) ** 2
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=1e-5)
    first, second = moments(jnp.asarray(x), jnp.zeros(3))
    variance = second.mean(0) - first.mean(0) ** 2
    assert np.abs(variance - exact.var((0, 1, 2))).max() > 0.1  # what would happen about zero


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_finish_and_its_gradients(shape, act, x64):
    n = shape[0]
    array = jnp.asarray(np.random.default_rng(3).normal(size=shape))
    shortcuts = [None, array, random_map(shape, 1, seed=1), random_map(shape, n, seed=2)]
    for rows, shortcut in itertools.product({1, n}, shortcuts):
        u = random_map(shape, rows)
        expected = computed(u) + (0 if shortcut is None else computed(shortcut))
        expected = expected if act is None else act(expected)
        np.testing.assert_allclose(finish(u, shortcut, act), expected, rtol=1e-12, atol=1e-12)
        check_grads(
            lambda u, shortcut: finish(u, shortcut, act), (u, shortcut), order=1, modes=["rev"]
        )


def test_gradients_of_gradients_are_right(x64):
    u, shortcut = random_map((2, 3, 2, 2), 2), random_map((2, 3, 2, 2), 1, seed=1)
    f = lambda u, s: finish(u, s, jax.nn.silu)
    check_grads(f, (u, shortcut), order=2, modes=["rev"], rtol=1e-4)


def test_forward_mode_is_refused():
    u = random_map((2, 3, 2, 2), 1, dtype=np.float32)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(finish, (u,), (u,))


def test_arrays_pass_through_the_same_verbs():
    x, shortcut = np.random.default_rng(0).normal(size=(2, 2, 4, 4, 3)).astype(np.float32)
    s = np.random.default_rng(1).random((2, 3)).astype(np.float32)
    np.testing.assert_allclose(squeeze(jnp.asarray(x)), x.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scale(jnp.asarray(x), s), x * s[:, None, None], rtol=1e-6)
    np.testing.assert_array_equal(finish(x, shortcut), np.maximum(x + shortcut, 0))
    np.testing.assert_array_equal(finish(x, act=None), x)
    u = random_map(x.shape, 2, dtype=np.float32)  # an array with a deferred shortcut
    np.testing.assert_allclose(finish(x, u), np.maximum(x + computed(u), 0), rtol=1e-5, atol=1e-6)


def test_a_deferred_map_squeezes_and_scales_like_the_array_it_stands_for(x64):
    u = random_map((3, 4, 5, 2), 1)
    known = AffineMap(u.x, u.a, u.b, computed(u).mean((1, 2)))
    s = jnp.asarray(np.random.default_rng(1).random((3, 2)))
    for m in (u, known):
        np.testing.assert_allclose(squeeze(m), computed(u).mean((1, 2)), rtol=1e-12)
        scaled = scale(m, s)
        assert isinstance(scaled, AffineMap)
        assert scaled.x is m.x  # nothing of the map's size was computed
        np.testing.assert_allclose(computed(scaled), scale(computed(u), s), rtol=1e-12)
        np.testing.assert_allclose(squeeze(scaled), s * squeeze(m), rtol=1e-12)


def test_bfloat16_is_rounded_once():
    u = random_map((4, 8, 8, 16), 4, dtype=np.float32)
    shortcut = random_map((4, 8, 8, 16), 1, seed=1, dtype=np.float32)
    low = [m.replace(x=m.x.astype(jnp.bfloat16)) for m in (u, shortcut)]
    exact = jnp.maximum(sum(computed(m.replace(x=m.x.astype(jnp.float32))) for m in low), 0)
    out = finish(*low)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))
    gradient = jax.grad(lambda u: finish(u, low[1]).astype(jnp.float32).sum())(low[0])
    assert gradient.x.dtype == jnp.bfloat16
    assert gradient.a.dtype == jnp.float32


@pytest.mark.parametrize("with_shortcut", [True, False])
def test_the_gpus_way_gives_the_same_gradients(monkeypatch, with_shortcut):
    u = random_map((2, 3, 3, 2), 2, dtype=np.float32)
    shortcut = jnp.ones_like(u.x) if with_shortcut else None
    loss = lambda u, shortcut: jnp.sum(jnp.sin(finish(u, shortcut)))
    here = jax.grad(loss)(u, shortcut)
    dispatch = lambda *args, default, cuda=None, cpu=None: (cuda or default)(*args)
    monkeypatch.setattr(jax.lax, "platform_dependent", dispatch)
    for a, b in zip(
        jax.tree.leaves(here), jax.tree.leaves(jax.grad(loss)(u, shortcut)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(("platform", "barriers"), [("cpu", 0), ("tpu", 0), ("cuda", 2)])
def test_only_a_gpu_gets_the_barriers(platform, barriers):
    """One before what is read, one behind what is written."""
    u = random_map((2, 3, 3, 2), 2, dtype=np.float32)
    exported = jax.export.export(jax.jit(finish), platforms=[platform])(u, jnp.ones_like(u.x))
    assert exported.mlir_module().count("stablehlo.optimization_barrier") == barriers


def test_a_map_is_read_once_in_the_tail_and_once_in_its_gradient():
    """Operations of the map's size, counted in the lowered program: nothing is computed twice."""
    u = random_map((2, 8, 8, 4), 2, dtype=np.float32)
    text = jax.jit(jax.grad(lambda x: fused.finish(u.replace(x=x)).sum())).lower(u.x).as_text()
    assert (
        text.count("stablehlo.multiply") == 2
    )  # a*x forward, a*g backward; da and db are not asked for


def test_a_cpu_computes_each_tail_of_a_stage_once():
    """Though two read it: the next block's convolution, and its tail."""
    u, v = (random_map((2, 8, 8, 16), 2, seed, np.float32) for seed in (0, 1))

    def two_blocks(u, v, w):
        y = finish(u)
        return finish(v.replace(x=y @ w), y) @ w

    text = jax.jit(two_blocks).lower(u, v, jnp.ones((16, 16))).compile().as_text()
    assert len(re.findall(r" (?:select|maximum)\(", text)) == 2


def test_what_is_not_a_number_stays_so():
    u = random_map((1, 1, 1, 2), 1, dtype=np.float32)
    assert jnp.isnan(finish(u.replace(x=u.x.at[..., 0].set(jnp.nan))))[..., 0]
    assert jnp.isnan(finish(jnp.full((1, 1, 1, 2), jnp.nan))).all()
