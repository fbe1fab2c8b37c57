"""The GPU's kernel, interpreted on the CPU, against the tail as XLA composes it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import create_model, epilogue
from senet_jax.fused import AffineMap, finish
from senet_jax.product import Product

N, SIZE, CHANNELS = 2, (3, 27), 128  # 81 positions: the second block of 64 is not full


@pytest.fixture
def on_gpu(monkeypatch):
    """What a GPU would run, interpreted."""
    monkeypatch.setattr(
        epilogue.pl, "pallas_call", partial(epilogue.pl.pallas_call, interpret=True)
    )
    dispatch = lambda *args, cuda=None, default, **_: (cuda or default)(*args)
    monkeypatch.setattr(jax.lax, "platform_dependent", dispatch)


def random_product(m, seed, kernel=True):
    r = np.random.default_rng(seed)
    y, w = r.normal(size=(N, *SIZE, m)), r.normal(size=(m, CHANNELS)) / np.sqrt(m)
    return Product(jnp.asarray(y, jnp.bfloat16), jnp.asarray(w, jnp.bfloat16), kernel=kernel)


def random_map(x, rows, seed):
    a, b = np.random.default_rng(seed).normal(size=(2, rows, CHANNELS)).astype(np.float32)
    return AffineMap(x, jnp.asarray(a), jnp.asarray(b))


def terms(shortcut, kernel):
    """A map that differs by image, and a shortcut."""
    u = random_map(random_product(32, 0, kernel), N, 1)
    other = random_product(48, 2, kernel)
    array = jnp.asarray(np.random.default_rng(5).normal(size=u.x.shape), jnp.bfloat16)
    return {
        None: (u,),
        "array": (u, array),
        "map": (u, random_map(array, 1, 3)),
        "product": (u, random_map(other, 1, 4)),
    }[shortcut]


def exact(terms, act):
    """In float64, by NumPy."""
    total = 0
    for t in terms:
        if isinstance(t, AffineMap):
            x = t.x if not isinstance(t.x, Product) else np.float64(t.x.y) @ np.float64(t.x.w)
            t = np.float64(x) * t.a[:, None, None] + t.b[:, None, None]
        total = total + np.float64(t)
    return act(total)


@pytest.mark.parametrize("shortcut", [None, "array", "map", "product"])
def test_the_kernel_computes_the_tail(on_gpu, shortcut):
    given = terms(shortcut, kernel=True)
    out = finish(*given)
    assert out.dtype == jnp.bfloat16
    expected = exact(given, lambda x: np.maximum(x, 0))
    np.testing.assert_allclose(np.float64(out), expected, rtol=2**-8, atol=1e-4)  # rounded once


def test_its_gradients_are_those_without_it(on_gpu):
    slope = jax.grad(lambda terms: jnp.sum(jnp.sin(finish(*terms).astype(jnp.float32))))
    with_kernel, without = (slope(terms("array", kernel)) for kernel in (True, False))
    for ours, theirs in zip(jax.tree.leaves(with_kernel), jax.tree.leaves(without), strict=True):
        # one rounding less before the ReLU, so that a few values near zero fall on its other side
        difference = np.float32(ours) - np.float32(theirs)
        assert np.linalg.norm(difference) < 0.05 * np.linalg.norm(np.float32(theirs))


def test_other_activations(on_gpu):
    given = terms("array", kernel=True)
    silu = lambda x: x / (1 + np.exp(-x))
    out = np.float64(finish(*given, act=jax.nn.silu))
    np.testing.assert_allclose(out, exact(given, silu), rtol=2**-7, atol=1e-2)
    out = np.float64(finish(*given, act=None))
    np.testing.assert_allclose(out, exact(given, lambda x: x), rtol=2**-7, atol=1e-3)


def test_it_is_taken_where_it_fits():
    full = jnp.float32
    x = random_product(32, 0)
    fits = lambda *products: epilogue.fits(tuple((p, None, None) for p in products))
    assert fits(x)
    assert fits(x, x.array())
    assert not fits(x.array())
    assert not fits(Product(x.y.astype(full), x.w.astype(full)))
    assert not fits(Product(x.y, x.w[:, :96]))  # not a multiple of 64
    assert not fits(Product(x.y[..., :24], x.w[:24]))  # eight is the largest power of two


def test_a_model_takes_it_by_one_option_and_a_cpu_ignores_it():
    options = dict(stage_sizes=(1,), width=16, num_classes=3, dtype="bfloat16")
    images = jnp.ones((2, 16, 16, 3))
    model = create_model("resnet50", fused="pallas", **options)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    run = lambda model: jax.jit(model.apply)(variables, images)
    np.testing.assert_array_equal(run(model), run(create_model("resnet50", **options)))
    with pytest.raises(ValueError, match="fused='palas', expected True, False or 'pallas'"):
        run(create_model("resnet50", fused="palas", **options))
