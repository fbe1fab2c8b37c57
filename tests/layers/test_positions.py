"""SGE, SimAM, DANet's channel attention and SE without a squeeze against NumPy, starts, options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet_jax.layers import SEBlock
from senet_jax.layers.positions import SGE, DANetChannelAttention, NoSqueeze, SimAM
from tests.layers.promises import apply, check, check_gradients, count, features, variables_for
from tests.layers.promises import gates as gates_of
from tests.models.by_hand import relu

MODULES = [SGE(groups=8), SimAM(), DANetChannelAttention(), NoSqueeze()]


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def dense(x, params):
    return x @ np.asarray(params["kernel"], np.float64) + np.asarray(params.get("bias", 0.0))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
def test_promises(module):
    check(module)


def test_gradients_reach_every_parameter():
    check_gradients(SGE(groups=8))
    check_gradients(NoSqueeze())


def test_counts_are_the_published_ones():
    assert count(SGE(), 256) == 128
    assert count(SimAM(), 256) == 0
    assert count(DANetChannelAttention(), 256) == 1
    assert count(NoSqueeze(), 256) == 8464
    assert count(NoSqueeze(use_bias=False), 256) == 8192


@pytest.mark.parametrize("shape", [(3, 6, 5, 32), (3, 7, 32)])
def test_sge(shape):
    module, u = SGE(groups=8), features(shape)
    variables = variables_for(module, u)
    scale, bias = (np.asarray(variables["params"][name]) for name in ("scale", "bias"))
    expected = np.array(u, np.float64)
    for n in range(shape[0]):
        for group in range(8):
            part = expected[n, ..., 4 * group : 4 * group + 4]  # a view
            a = part @ part.reshape(-1, 4).mean(axis=0)
            a = (a - a.mean()) / (a.std(ddof=1) + 1e-5)
            part *= sigmoid(scale[group] * a + bias[group])[..., None]
    np.testing.assert_allclose(apply(module, variables, u), expected, rtol=1e-4, atol=1e-5)
    s = gates_of(module, variables, u)["gates"]
    assert s.shape == (*shape[:-1], 8)
    np.testing.assert_allclose(u * np.repeat(s, 4, axis=-1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("regularisation", [1e-4, 0.1])
def test_simam(regularisation):
    module, u = SimAM(regularisation), features()
    x = np.asarray(u, np.float64)
    d = (x - x.mean(axis=(1, 2), keepdims=True)) ** 2
    v = x.var(axis=(1, 2), ddof=1, keepdims=True)
    s = sigmoid(d / (4 * (v + regularisation)) + 0.5)
    np.testing.assert_allclose(apply(module, {}, u), x * s, rtol=1e-5)
    np.testing.assert_allclose(gates_of(module, {}, u)["gates"], s, rtol=1e-5)
    assert s.min() > 0.62


def test_danet():
    module, u = DANetChannelAttention(), features((3, 2, 3, 8))
    variables = variables_for(module, u)
    x = np.asarray(u, np.float64).reshape(3, 6, 8)
    energy = np.einsum("npi,npj->nij", x, x)
    weights = np.exp(energy.min(axis=-1, keepdims=True) - energy)  # a channel unlike counts most
    weights /= weights.sum(axis=-1, keepdims=True)
    expected = x + np.asarray(variables["params"]["gamma"]) * np.einsum("nij,npj->npi", weights, x)
    y = apply(module, variables, u).reshape(3, 6, 8)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert not gates_of(module, variables, u)


def test_no_squeeze():
    module, u = NoSqueeze(), features()
    variables = variables_for(module, u)
    params, x = variables["params"], np.asarray(u, np.float64)
    s = sigmoid(dense(relu(dense(x, params["fc1"])), params["fc2"]))
    np.testing.assert_allclose(apply(module, variables, u), x * s, rtol=1e-5)
    np.testing.assert_allclose(gates_of(module, variables, u)["gates"], s, rtol=1e-5)


def test_without_a_squeeze_a_constant_map_is_gated_as_by_se():
    u = jnp.broadcast_to(features((2, 1, 1, 32)), (2, 3, 5, 32))
    variables = variables_for(SEBlock(), u)
    np.testing.assert_allclose(
        apply(NoSqueeze(), variables, u), apply(SEBlock(), variables, u), rtol=1e-5
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_starts(dtype):
    u = features((2, 3, 5, 64)).astype(dtype)
    start = lambda module: jax.jit(module.init_with_output)(jax.random.key(0), u)[0]
    np.testing.assert_array_equal(start(DANetChannelAttention()), u)
    expected = np.asarray(u, np.float32) * sigmoid(1)
    tolerance = 1e-6 if dtype == jnp.float32 else 2**-8
    np.testing.assert_allclose(np.asarray(start(SGE()), np.float32), expected, tolerance)


@pytest.mark.parametrize("module", [SGE(groups=8), SimAM()], ids=["sge", "simam"])
@pytest.mark.parametrize("shape", [(2, 3, 2, 16), (2, 1, 1, 16)])
def test_constant_maps_and_single_positions_have_a_gate_and_a_slope(module, shape):
    @jax.jit
    def y_and_slope(u):
        variables = module.init(jax.random.key(0), u)
        y, back = jax.vjp(lambda u: module.apply(variables, u), u)
        return y, back(jnp.ones(shape))[0]

    constant = sigmoid(1) if isinstance(module, SGE) else sigmoid(0.5)
    for value in (0.0, 2.0):
        y, slope = y_and_slope(jnp.full(shape, value))
        np.testing.assert_allclose(y, np.full(shape, constant * value), rtol=1e-6)
        assert np.isfinite(slope).all()


@given(seed=st.integers(0, 100), by=st.integers(1, 5))
def test_the_order_of_positions_means_nothing(seed, by):
    u = np.asarray(features(seed=seed))
    for module in MODULES:
        variables = variables_for(module, u)
        rolled = apply(module, variables, np.roll(u, (by, by), (1, 2)))
        y = np.roll(apply(module, variables, u), (by, by), (1, 2))
        np.testing.assert_allclose(rolled, y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("module", "shape", "sentence"),
    [
        (SGE(), (1, 4, 4, 96), "groups=64 do not divide 96 channels"),
        (SGE(groups=0), (1, 4, 4, 96), "groups=0 do not divide 96 channels"),
        (SimAM(0.0), (1, 4, 4, 8), "regularisation=0.0: expected a positive number"),
        (NoSqueeze(), (1, 4, 4, 8), "reduction=16 leaves no unit of 8 channels"),
        (SimAM(), (4, 8), r"\(4, 8\), expected \[N, \*spatial, C\]"),
    ],
)
def test_wrong_options_get_a_sentence(module, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(module.init, jax.random.key(0), jnp.ones(shape))
