"""A 1x1 convolution that is never written against the same one written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from senet_jax.fused import AffineMap, finish, squeeze
from senet_jax.layers import BatchNorm, Conv
from senet_jax.product import Product, outweighs, statistics

# [N, H, W, m], C: matrices for each image are small, large, and so large that finish computes x
REGIMES = {"small": ((2, 4, 4, 3), 8), "large": ((3, 2, 2, 4), 9), "computed": ((2, 1, 1, 8), 16)}
regimes = pytest.mark.parametrize("regime", REGIMES)


def random_product(shape, channels, seed=0, dtype=np.float64, mean=0.3):
    r = np.random.default_rng(seed)
    y, w = r.normal(mean, 1, size=shape), r.normal(size=(shape[-1], channels))
    return Product(jnp.asarray(y, dtype), jnp.asarray(w, dtype))


def random_map(x, rows, seed=0):
    a, b = np.random.default_rng(seed).normal(size=(2, rows, x.shape[-1]))
    return AffineMap(x, jnp.asarray(a), jnp.asarray(b))


def written(u):
    """The same map with its convolution computed."""
    return u.replace(x=jnp.einsum("nhwm,mc->nhwc", u.x.y, u.x.w)) if is_product(u) else u


def is_product(u):
    return isinstance(u, AffineMap) and isinstance(u.x, Product)


def assert_trees_close(a, b, **tolerance):
    jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, **tolerance), a, b)


def gradients(f, *args):
    """Of a loss whose slope differs everywhere, by y, w and all else."""
    loss = lambda *args: jnp.sum(jnp.sin(f(*args)))
    return jax.jit(jax.grad(loss, argnums=tuple(range(len(args)))))(*args)


def test_the_regimes_are_three():
    products = {name: random_product(*s, dtype=np.float32) for name, s in REGIMES.items()}
    assert [outweighs(x) for x in products.values()] == [False, True, True]


@regimes
@pytest.mark.parametrize("act", [None, jax.nn.relu, jax.nn.silu])
@pytest.mark.parametrize("shortcut", [None, "array", "map", "product"])
@pytest.mark.parametrize("per_image", [False, True])
def test_finish_and_its_gradients_are_those_of_the_written_map(
    regime, act, shortcut, per_image, x64
):
    x = random_product(*REGIMES[regime])
    u = random_map(x, len(x.y) if per_image else 1)
    other = random_product(*REGIMES[regime], seed=1)
    terms = {
        None: (u,),
        "array": (u, other.array()),
        "map": (u, random_map(other.array(), 1, seed=2)),
        "product": (u, random_map(other, 1, seed=2)),
    }[shortcut]
    f = lambda *terms: finish(*terms, act=act)
    g = lambda *terms: f(*map(written, terms))
    np.testing.assert_allclose(f(*terms), g(*terms), rtol=1e-12, atol=1e-12)
    assert_trees_close(gradients(f, *terms), gradients(g, *terms), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@regimes
def test_gradients_of_gradients_are_right(regime, x64):
    u = random_map(random_product(*REGIMES[regime]), REGIMES[regime][0][0])
    shortcut = jnp.ones(u.x.shape)
    f = lambda u, shortcut: finish(u, shortcut, jax.nn.silu)
    check_grads(f, (u, shortcut), order=2, modes=["rev"], rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 3])
def test_statistics_and_their_gradients(groups, x64):
    x = random_product((6, 3, 2, 4), 10)
    about = jnp.arange(10.0)

    def by_hand(x):
        wide = jnp.einsum("nhwm,mc->nhwc", x.y, x.w)
        runs = wide.reshape(groups, -1, 10)
        return wide.mean((1, 2)) - about[None], runs.mean(1) - about[None], runs.var(1)

    ours = lambda x: statistics(x, about, groups)
    assert_trees_close(ours(x), by_hand(x), rtol=1e-12, atol=1e-12)
    stacked = lambda f: lambda x: jnp.concatenate([s.ravel() for s in f(x)])
    assert_trees_close(
        gradients(stacked(ours), x), gradients(stacked(by_hand), x), rtol=1e-10, atol=1e-12
    )
    check_grads(lambda x: ours(x)[2], (x,), order=2, modes=["rev"], rtol=1e-5)
    slope = jax.grad(lambda about: sum(s.sum() for s in statistics(x, about, groups)[2:]))(about)
    np.testing.assert_array_equal(slope, 0)


def test_large_means_keep_their_digits():
    x = random_product((4, 16, 16, 8), 32, dtype=np.float32, mean=1e4)
    exact = np.einsum("nhwm,mc->nhwc", np.float64(x.y), np.float64(x.w))
    offsets, first, variance = statistics(x, jnp.zeros(32), 1)
    np.testing.assert_allclose(variance[0], exact.var((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(offsets, exact.mean((1, 2)), rtol=1e-5, atol=0.05)
    np.testing.assert_allclose(first[0], exact.mean((0, 1, 2)), rtol=1e-5, atol=0.05)


def test_half_precision_keeps_the_digits_it_has():
    x = random_product((8, 16, 16, 32), 64, dtype=jnp.bfloat16, mean=2)
    exact = np.einsum("nhwm,mc->nhwc", np.float64(x.y), np.float64(x.w))
    offsets, _, variance = statistics(x, jnp.zeros(64), 1)
    assert variance.dtype == offsets.dtype == jnp.float32
    np.testing.assert_allclose(variance[0], exact.var((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(offsets, exact.mean((1, 2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
def test_dead_inputs_and_constant_channels_have_finite_right_gradients(dtype, x64):
    x = random_product((4, 3, 3, 4), 8, dtype=dtype)
    y = x.y.at[..., 0].set(0).at[..., 1].set(7)  # one input is dead and one is constant
    w = x.w.at[:, 0].set(0).at[2:, 1].set(0)  # so the first two channels are constant
    variables = BatchNorm().init(jax.random.key(0), x.array())

    def loss(x, fused):
        u, updates = BatchNorm(fused=fused).apply(variables, x, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(finish(u, act=None).astype(jnp.float32))), updates

    ours, theirs = (jax.grad(loss, has_aux=True)(Product(y, w), f) for f in (True, False))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(ours))
    if dtype == np.float64:  # a constant's rounding error comes out 300 fold: 1 / sqrt(1e-5)
        assert_trees_close(ours, theirs, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours[1]["batch_stats"]["var"][:2], 0.9, rtol=1e-6)


def jaxpr_equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from jaxpr_equations(inner)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_statistics_are_computed_in_full_precision(dtype):
    """Whatever the default precision is: on a TPU it is bfloat16, on a GPU TF32."""
    x = random_product((4, 3, 3, 4), 8, dtype=dtype)
    loss = lambda x: sum(jnp.sum(s) for s in statistics(x, jnp.zeros(8), 1))
    with jax.default_matmul_precision("bfloat16"):
        traced = jax.make_jaxpr(loss)(x)
    products = [e for e in jaxpr_equations(traced.jaxpr) if e.primitive.name == "dot_general"]
    assert len(products) == 3  # of means, of y and y, of the covariance
    for equation in products:
        if all(v.aval.dtype == jnp.bfloat16 for v in equation.invars):  # exact products
            assert equation.params["preferred_element_type"] == jnp.float32
        else:
            assert set(equation.params["precision"]) == {jax.lax.Precision.HIGHEST}


def test_nothing_of_the_maps_size_is_computed_for_statistics_and_gates():
    x = random_product((4, 8, 8, 4), 16, dtype=np.float32)
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), x.array())
    run = lambda x: squeeze(norm.apply(variables, x, mutable=["batch_stats"])[0])
    traced = jax.make_jaxpr(run)(x)
    sizes = {v.aval.size for e in jaxpr_equations(traced.jaxpr) for v in e.outvars}
    assert max(sizes) == x.y.size < np.prod(x.shape)


@pytest.mark.parametrize(("images", "deferred"), [(1, False), (2, True)])
def test_a_small_batch_is_written(images, deferred):
    """16 positions an image, 8 channels in: below 32 the statistics would cost too much."""
    x = random_product((images, 4, 4, 8), 32, dtype=np.float32)
    variables = BatchNorm().init(jax.random.key(0), x)
    u, _ = BatchNorm().apply(variables, x, mutable=["batch_stats"])
    assert isinstance(u.x, Product) == deferred
    u = BatchNorm(use_running_average=True).apply(variables, x)
    assert isinstance(u.x, Product)  # no statistics are computed


def test_statistics_are_not_taken_from_what_is_half_as_large():
    x = random_product((4, 4, 4, 8), 16, dtype=np.float32)
    variables = BatchNorm().init(jax.random.key(0), x)
    u, _ = BatchNorm().apply(variables, x, mutable=["batch_stats"])
    assert isinstance(u.x, jax.Array)
    u = BatchNorm(use_running_average=True).apply(variables, x)
    assert isinstance(u.x, Product)


@pytest.mark.parametrize("train", [True, False])
def test_the_norm_of_a_product_is_that_of_its_array(train):
    x = random_product((6, 4, 3, 4), 16, dtype=np.float32)
    r = np.random.default_rng(1)
    vector = lambda: jnp.asarray(r.uniform(0.5, 2, 16), jnp.float32)
    variables = {
        "params": {"scale": vector(), "bias": vector()},
        "batch_stats": {"mean": vector(), "var": vector()},
    }

    def run(x, **options):
        norm = BatchNorm(use_running_average=not train, **options)
        u, updates = norm.apply(variables, x, mutable=["batch_stats"])
        return finish(u, act=None), squeeze(u), updates

    for options in (dict(groups=1), dict(groups=3)):
        expected = run(x.array(), fused=False, **options)
        for given in (run(x, **options), run(x, fused=False, **options)):
            assert_trees_close(given, expected, rtol=2e-5, atol=2e-5)
    shards = jax.tree.map(lambda y: y.reshape(3, 2, *y.shape[1:]), x.y)
    on_each = jax.vmap(lambda y: run(Product(y, x.w), axis_name="d"), axis_name="d")(shards)
    whole = run(x.array(), fused=False)
    np.testing.assert_allclose(on_each[0].reshape(x.shape), whole[0], rtol=2e-5, atol=2e-5)


def test_the_gpus_way_gives_the_same_gradients(monkeypatch, x64):
    u = random_map(random_product(*REGIMES["small"]), 2)
    expected = gradients(finish, u)
    dispatch = lambda *args, cuda=None, default, **_: (cuda or default)(*args)
    monkeypatch.setattr(jax.lax, "platform_dependent", dispatch)
    assert_trees_close(gradients(finish, u), expected, rtol=1e-10, atol=1e-10)


def test_a_convolution_is_deferred_where_it_widens():
    def given(inputs, features, **options):
        conv = Conv(features, **dict(kernel_size=1, deferred=True) | options)
        return conv.init_with_output(jax.random.key(0), jnp.ones((2, 5, 5, inputs)))[0]

    assert isinstance(given(4, 8), Product)
    assert given(4, 8).shape == (2, 5, 5, 8)
    for options in (
        dict(deferred=False),
        dict(kernel_size=3),
        dict(strides=2),
        dict(groups=2),
        dict(use_bias=True),
    ):
        assert isinstance(given(4, 8, **options), jax.Array)
    assert isinstance(given(4, 7), jax.Array)
