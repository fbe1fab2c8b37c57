"""BatchNorm against flax.linen.BatchNorm, deferred and at once, by every kind of statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet_jax.fused import AffineMap, finish, squeeze
from senet_jax.layers import BatchNorm
from senet_jax.product import Product


def random_input(shape=(6, 5, 4, 3), mean=1.0, std=2.0, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(mean, std, size=shape), dtype)


def random_variables(channels=3, seed=1):
    r = np.random.default_rng(seed)
    vector = lambda low, high: jnp.asarray(r.uniform(low, high, channels), jnp.float32)
    return {
        "params": {"scale": vector(0.5, 2), "bias": vector(-1, 1)},
        "batch_stats": {"mean": vector(-1, 1), "var": vector(0.5, 2)},
    }


def apply(norm, variables, x):
    """(array, new batch_stats)."""
    u, updates = norm.apply(variables, x, mutable=["batch_stats"])
    return finish(u, act=None), updates["batch_stats"]


def flax_norm(**options):
    return nn.BatchNorm(use_running_average=False, momentum=0.9, use_fast_variance=False, **options)


def assert_trees_close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=rtol, atol=atol), a, b)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (6, 7, 3), (2, 3, 2, 2, 3), (1, 4, 4, 3)])
def test_training_equals_flax(fused, shape):
    x, variables = random_input(shape), random_variables()

    def loss(norm):
        weights = jnp.cos(jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape)

        def f(params, x):
            y, stats = apply(norm, {**variables, "params": params}, x)
            return jnp.sum(weights * jnp.square(y)), (y, stats)

        return jax.value_and_grad(f, argnums=(0, 1), has_aux=True)

    ours = loss(BatchNorm(fused=fused))(variables["params"], x)
    assert_trees_close(ours, loss(flax_norm())(variables["params"], x), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_inference_equals_flax_and_leaves_the_statistics(fused):
    x, variables = random_input(), random_variables()
    ours = BatchNorm(use_running_average=True, fused=fused).apply(variables, x)
    theirs = nn.BatchNorm(use_running_average=True).apply(variables, x)
    np.testing.assert_allclose(finish(ours, act=None), theirs, rtol=1e-5, atol=1e-6)


def test_variables_are_those_of_flax():
    x = random_input()
    ours = BatchNorm().init(jax.random.key(0), x)
    assert_trees_close(ours, flax_norm().init(jax.random.key(0), x), rtol=0, atol=0)


def test_deferred_norm_writes_nothing_and_knows_its_mean():
    x = random_input()
    u, _ = BatchNorm().apply(random_variables(), x, mutable=["batch_stats"])
    assert isinstance(u, AffineMap)
    assert u.x is x
    np.testing.assert_allclose(squeeze(u), finish(u, act=None).mean((1, 2)), rtol=1e-5, atol=1e-6)


@given(
    st.integers(0, 2**31),
    st.sampled_from([(1, 4), (1, 6), (2, 6), (3, 6), (4, 4)]),
    st.sampled_from([(1, 1), (3, 2)]),
    st.floats(-100, 100),
)
def test_deferred_and_at_once_agree(seed, groups_and_images, size, mean):
    groups, n = groups_and_images
    if n == groups and size == (1, 1):
        return  # one value per statistic: its variance is exactly zero, nothing to compare
    x = random_input((n, *size, 3), mean, seed=seed)
    results = [
        apply(BatchNorm(groups=groups, fused=fused), random_variables(seed=seed), x)
        for fused in (True, False)
    ]
    # a*x + b rounds at the size of x / std, (x - mean) * a does not; two values may lie close
    std = np.asarray(x).reshape(groups, -1, 3).std(axis=1).min()
    rounding = np.finfo(np.float32).eps * 2 * np.abs(x).max() / np.sqrt(std**2 + 1e-5)
    assert_trees_close(*results, rtol=1e-4, atol=1e-4 + 4 * rounding)


@pytest.mark.parametrize("fused", [True, False])
def test_groups_are_batches_of_their_own(fused):
    x, variables = random_input(), random_variables()
    y, stats = apply(BatchNorm(groups=3, fused=fused), variables, x)
    parts = [apply(flax_norm(), variables, part) for part in jnp.split(x, 3)]
    np.testing.assert_allclose(y, jnp.concatenate([p[0] for p in parts]), rtol=1e-5, atol=1e-5)
    mean = jax.tree.map(lambda *s: sum(s) / 3, *[p[1] for p in parts])
    assert_trees_close(stats, mean)


@pytest.mark.parametrize("fused", [True, False])
def test_axis_name_makes_statistics_global(fused):
    x, variables = random_input(), random_variables()
    shards = x.reshape(3, 2, *x.shape[1:])
    on_each = lambda norm: jax.vmap(lambda x: apply(norm, variables, x), axis_name="data")(shards)
    y, stats = on_each(BatchNorm(axis_name="data", fused=fused))
    whole, whole_stats = apply(flax_norm(), variables, x)
    np.testing.assert_allclose(y.reshape(x.shape), whole, rtol=1e-5, atol=1e-5)
    assert_trees_close(jax.tree.map(lambda s: s[0], stats), whole_stats)
    own, _ = on_each(BatchNorm(fused=fused))
    grouped, _ = apply(BatchNorm(groups=3, fused=fused), variables, x)
    np.testing.assert_allclose(own.reshape(x.shape), grouped, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("as_product", [True, False])
def test_large_means_keep_their_digits_over_devices(as_product):
    """Near the running mean, as after some steps; a product's anywhere."""
    y, w = random_input((6, 5, 4, 3), 1e3, 1), random_input((3, 12), 0, 1, seed=2)
    x = Product(y, w) if as_product else y
    variables = BatchNorm().init(jax.random.key(0), x)
    if not as_product:
        variables["batch_stats"]["mean"] = jnp.full(3, 1e3)
    whole, _ = apply(BatchNorm(), variables, x)
    shards = y.reshape(3, 2, *y.shape[1:])
    run = lambda y: apply(
        BatchNorm(axis_name="data"), variables, Product(y, w) if as_product else y
    )[0]
    on_each = jax.vmap(run, axis_name="data")(shards)
    np.testing.assert_allclose(on_each.reshape(whole.shape), whole, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("fused", [True, False])
def test_large_means_and_constant_channels_keep_finite_right_gradients(fused, x64):
    noise = np.random.default_rng(0).normal(size=(4, 3, 3, 3))
    x = jnp.asarray(noise * [1, 1, 0] + [1e4, 0, 7])  # the last channel is constant
    variables = random_variables()

    def f(params, x):
        y, _ = apply(BatchNorm(fused=fused), {**variables, "params": params}, x)
        return jnp.sum(jnp.sin(y))

    def f_by_hand(params, x):
        y = (x - x.mean((0, 1, 2), keepdims=True)) / jnp.sqrt(
            x.var((0, 1, 2), keepdims=True) + 1e-5
        )
        scale, bias = (params[name][None, None, None] for name in ("scale", "bias"))
        return jnp.sum(jnp.sin(y * scale + bias))

    ours, theirs = (jax.grad(g, argnums=(0, 1))(variables["params"], x) for g in (f, f_by_hand))
    assert_trees_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_statistics_of_bfloat16_are_float32():
    x = random_input((4, 32, 32, 3), dtype=jnp.bfloat16)
    y, stats = apply(BatchNorm(), random_variables(), x)
    assert y.dtype == jnp.bfloat16
    assert stats["mean"].dtype == jnp.float32
    exact = np.asarray(x, np.float64).var((0, 1, 2))
    expected = 0.9 * random_variables()["batch_stats"]["var"] + 0.1 * exact
    np.testing.assert_allclose(stats["var"], expected, rtol=1e-5)


def test_wrong_groups_get_a_sentence():
    x, variables = random_input(), random_variables()
    with pytest.raises(ValueError, match="6 images cannot be cut into 4 groups"):
        apply(BatchNorm(groups=4), variables, x)
    with pytest.raises(ValueError, match="not both"):
        apply(BatchNorm(groups=2, axis_name="data"), variables, x)
