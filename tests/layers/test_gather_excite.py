"""Gather-excite against NumPy, with SE and pooling as its corners; counts, sizes, options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax.fused import AffineMap
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.excitations import Identity
from senet_jax.layers.gather_excite import GatherExcite
from tests.layers.promises import (
    SHAPE,
    apply,
    check,
    check_gradients,
    count,
    features,
    frozen,
    gates,
    variables_for,
)
from tests.models.by_hand import convolve, normalise, relu


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def dense(x, params):
    return x @ np.asarray(params["kernel"], np.float64) + np.asarray(params["bias"])


def repeated(y, height, width):
    """torch's "nearest": the position times the ratio of the sizes, rounded down."""
    rows = [int(i * y.shape[1] / height) for i in range(height)]
    columns = [int(i * y.shape[2] / width) for i in range(width)]
    return y[:, rows][:, :, columns]


def windows(x, extent):
    """Means of what lies inside windows of 2 * extent - 1 around every extent-th position."""
    rows, columns = (range(0, size, extent) for size in x.shape[1:3])
    reach = lambda i: slice(max(i - extent + 1, 0), i + extent)
    means = [[x[:, reach(i), reach(j)].mean(axis=(1, 2)) for j in columns] for i in rows]
    return np.moveaxis(np.array(means), 2, 0)


def gathered(x, module, variables):
    params, statistics = variables["params"], variables["batch_stats"]
    normed = lambda y, i: normalise(y, params[f"bn{i}"], statistics[f"bn{i}"])
    if module.extent == 0:
        kernel = np.asarray(params["kernel"], np.float64)[:, :, 0]
        return normed(np.einsum("nhwc,hwc->nc", x, kernel), "")[:, None, None]
    last = {2: 1, 4: 2, 8: 3}[module.extent]
    for i in range(1, last + 1):
        x = normed(convolve(x, params[f"conv{i}"], 2, x.shape[-1]), i)
        x = relu(x) if i < last else x
    return x


@pytest.mark.parametrize("extent", [0, 4])
@pytest.mark.parametrize("parameters", ["none", "both"])
def test_promises(extent, parameters):
    check(GatherExcite(extent, parameters))


@pytest.mark.parametrize("extent", [0, 4])
def test_gradients_reach_every_parameter(extent):
    check_gradients(GatherExcite(extent, "both"))


def test_counts_are_the_published_ones():
    assert count(GatherExcite(), 256) == 0
    assert count(GatherExcite(8), 256) == 0
    assert count(GatherExcite(0, "gather"), 256, size=56) == 803328
    assert count(GatherExcite(0, "gather"), 2048, size=7) == 104448
    assert count(GatherExcite(0, "both"), 256, size=56) == 803328 + 8464
    assert [count(GatherExcite(e, "gather"), 256) for e in (2, 4, 8)] == [2816, 5632, 8448]


@pytest.mark.parametrize("extent", [2, 4, 8])
@pytest.mark.parametrize("size", [(6, 5), (9, 7), (8, 16)])
def test_without_parameters_gates_are_those_of_windows(extent, size):
    u = features((2, *size, 4))
    x = np.asarray(u, np.float64)
    s = repeated(sigmoid(windows(x, extent)), *size)
    module = GatherExcite(extent)
    np.testing.assert_allclose(apply(module, {}, u), x * s, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gates(module, {}, u)["gates"], s, rtol=1e-5)


@pytest.mark.parametrize("extent", [0, 2, 8])
@pytest.mark.parametrize("parameters", ["gather", "both"])
def test_with_parameters(extent, parameters):
    module, u = GatherExcite(extent, parameters), features()
    variables = variables_for(module, u)
    x, params = np.asarray(u, np.float64), variables["params"]
    y = gathered(x, module, variables)
    if parameters == "both":
        y = dense(relu(dense(relu(y), params["fc1"])), params["fc2"])
    expected = x * repeated(sigmoid(y), *SHAPE[1:3])
    np.testing.assert_allclose(apply(module, variables, u), expected, rtol=1e-4, atol=1e-5)


def test_global_and_without_parameters_it_is_a_gated_mean():
    for shape in (SHAPE, (2, 7, 8), (2, 3, 4, 5, 8)):
        u = features(shape)
        theirs = ChannelAttention(excite=Identity())
        np.testing.assert_array_equal(apply(GatherExcite(), {}, u), apply(theirs, {}, u))


@pytest.mark.parametrize("parameters", ["none", "gather", "both"])
def test_global_ones_leave_a_deferred_map_deferred(parameters):
    module, u = GatherExcite(parameters=parameters), features()
    variables = variables_for(module, u)
    u = AffineMap(u, jnp.ones((1, SHAPE[-1])), jnp.zeros((1, SHAPE[-1])))
    v = jax.eval_shape(frozen(module).apply, variables, u)
    assert isinstance(v, AffineMap)


def test_the_two_layers_start_small():
    u = features((1, 2, 2, 32))
    params = jax.jit(GatherExcite(2, "both").init)(jax.random.key(0), u)["params"]
    assert 0.007 < np.std(params["fc2"]["kernel"]) < 0.013
    np.testing.assert_array_equal(params["fc2"]["bias"], 0)


def test_a_kernel_as_large_as_the_map_refuses_another_map():
    module = GatherExcite(parameters="gather")
    variables = variables_for(module, features())
    with pytest.raises(ValueError, match=r"shape \(6, 5, .* need \(3, 5, .* or choose extent=2"):
        frozen(module).apply(variables, features((2, 3, 5, 32)))
    small = GatherExcite(2, "gather")
    variables = variables_for(small, features())
    other = features((2, 3, 7, 32))
    assert jax.eval_shape(frozen(small).apply, variables, other).shape == other.shape


@pytest.mark.parametrize(
    ("module", "shape", "sentence"),
    [
        (GatherExcite(3), (1, 4, 4, 16), "extent=3: expected 0, which is global, or 2, 4 or 8"),
        (GatherExcite(parameters="theta"), (1, 4, 4, 16), "Unknown parameters 'theta'.*'both'"),
        (GatherExcite(2), (1, 4, 16), r"expected \[N, H, W, C\]: GatherExcite"),
        (GatherExcite(2, "both"), (1, 4, 4, 8), "reduction=16 leaves no unit of 8 channels"),
    ],
)
def test_wrong_options_get_a_sentence(module, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(module.init, jax.random.key(0), jnp.ones(shape))
