"""Coordinate, strip and triplet attention against NumPy, counts, starts, options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet_jax.layers.directional import CoordinateAttention, StripAttention, TripletAttention
from tests.layers.promises import (
    apply,
    check,
    check_gradients,
    count,
    features,
    variables_for,
)
from tests.layers.promises import gates as gates_of
from tests.models.by_hand import convolve, normalise, relu

TIMM = CoordinateAttention(reduction=24, divisor=8, use_bias=False)


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def dense(x, params):
    return x @ np.asarray(params["kernel"], np.float64) + np.asarray(params.get("bias", 0.0))


def turned(u):
    """Rows as columns."""
    return u.swapaxes(1, 2)


@pytest.mark.parametrize(
    "module", [CoordinateAttention(), StripAttention(), TripletAttention()], ids=["ca", "sp", "ta"]
)
def test_promises(module):
    check(module)


def test_gradients_reach_every_parameter():
    check_gradients(CoordinateAttention())


def test_counts_are_the_published_ones():
    assert count(CoordinateAttention(), 256) == 6680
    assert [count(TIMM, c) for c in (64, 256, 512, 2048)] == [1552, 6160, 36912, 540848]
    assert count(StripAttention(), 256) == 460032
    assert [count(TripletAttention(), c) for c in (8, 256)] == [300, 300]
    assert count(TripletAttention(no_spatial=True), 256) == 200


def test_widths():
    hidden = lambda module, c: module._hidden(c)
    assert [hidden(CoordinateAttention(), c) for c in (32, 256, 512, 2048)] == [8, 8, 16, 64]
    assert hidden(CoordinateAttention(hidden=5), 256) == 5
    for c in range(8, 4096, 8):  # timm multiplies by its two ratios one after the other
        value = c * (1 / 16) * (2 / 3)
        assert hidden(TIMM, c) == max(8, int(value + 4) // 8 * 8), c


@pytest.mark.parametrize("module", [CoordinateAttention(), TIMM], ids=["authors", "timm"])
def test_coordinate_attention(module):
    u = features()
    variables = variables_for(module, u)
    params, x = variables["params"], np.asarray(u, np.float64)
    normed = lambda y: normalise(y, params["bn"], variables["batch_stats"]["bn"])
    hard_swish = lambda y: y * np.clip(y + 3, 0, 6) / 6
    hidden = lambda strip: hard_swish(normed(dense(strip, params["fc1"])))
    rows = sigmoid(dense(hidden(x.mean(axis=2)), params["height_fc"]))
    columns = sigmoid(dense(hidden(x.mean(axis=1)), params["width_fc"]))
    expected = np.einsum("nhwc,nhc,nwc->nhwc", x, rows, columns)
    np.testing.assert_allclose(apply(module, variables, u), expected, rtol=1e-4, atol=1e-5)
    s = gates_of(module, variables, u)
    assert {path: gate.shape[1:3] for path, gate in s.items()} == {
        "height_gates": (6, 1),
        "width_gates": (1, 5),
    }
    np.testing.assert_allclose(u * s["height_gates"] * s["width_gates"], expected, 1e-4, 1e-5)


def test_strip_attention():
    module, u = StripAttention(), features()
    variables = variables_for(module, u)
    params, statistics = variables["params"], variables["batch_stats"]
    x = np.asarray(u, np.float64)

    def strip(axis, name):
        """As a 3x3 convolution: the kernel lies in the middle, along the other axis."""
        kernel = np.zeros((3, 3, *params[f"{name}_conv"]["kernel"].shape[2:]))
        kernel[(slice(None), 1) if name == "height" else (1, slice(None))] = np.squeeze(
            params[f"{name}_conv"]["kernel"]
        )
        y = convolve(x.mean(axis=axis, keepdims=True), dict(kernel=kernel))
        return normalise(y, params[f"{name}_bn"], statistics[f"{name}_bn"])

    s = sigmoid(dense(relu(strip(2, "height") + strip(1, "width")), params["fc"]))
    np.testing.assert_allclose(apply(module, variables, u), x * s, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gates_of(module, variables, u)["gates"], s, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("no_spatial", [False, True])
def test_triplet_attention(no_spatial):
    module, u = TripletAttention(no_spatial=no_spatial), features()
    variables = variables_for(module, u)
    params, statistics, x = variables["params"], variables["batch_stats"], np.asarray(u, np.float64)

    def gate(name, order):
        """The axis to pool is brought to the end, the authors' rows and columns before it."""
        turned = x.transpose(order)
        y = convolve(
            np.stack([turned.max(axis=-1), turned.mean(axis=-1)], axis=-1), params[name[0]]
        )
        y = sigmoid(normalise(y, params[name[1]], statistics[name[1]]))
        return np.broadcast_to(y, turned.shape).transpose(np.argsort(order))

    names = lambda axes: (f"{axes}_conv", f"{axes}_bn")
    s = [gate(names("cw"), (0, 3, 2, 1)), gate(names("hc"), (0, 1, 3, 2))]
    s += [] if no_spatial else [gate(names("hw"), (0, 1, 2, 3))]
    expected = x * sum(s) / len(s)
    np.testing.assert_allclose(apply(module, variables, u), expected, rtol=1e-4, atol=1e-5)
    sown = gates_of(module, variables, u)
    assert set(sown) == {"cw_gates", "hc_gates"} | (set() if no_spatial else {"hw_gates"})
    np.testing.assert_allclose(u * sum(sown.values()) / len(s), expected, rtol=1e-4, atol=1e-5)


@given(seed=st.integers(0, 100))
def test_rows_and_columns_change_places_with_their_layers(seed):
    """A turned map and turned parameters give the turned result."""
    u = features((2, 4, 4, 8), seed)
    module = TripletAttention(kernel_size=3)
    variables = variables_for(module, u)
    swap = dict(cw="hc", hc="cw", hw="hw")
    renamed = lambda tree: {f"{swap[k[:2]]}{k[2:]}": v for k, v in tree.items()}
    other = {
        "params": {
            k: {"kernel": turned(v["kernel"][None])[0]} if "conv" in k else v
            for k, v in renamed(variables["params"]).items()
        },
        "batch_stats": renamed(variables["batch_stats"]),
    }
    y = apply(module, variables, u)
    np.testing.assert_allclose(turned(apply(module, other, turned(u))), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "silent", "factor"),
    [
        (CoordinateAttention(), ["height_fc", "width_fc"], 0.25),
        (StripAttention(), ["fc"], 0.5),
        (TripletAttention(), ["cw_bn", "hc_bn", "hw_bn"], 0.5),
        (TripletAttention(no_spatial=True), ["cw_bn", "hc_bn"], 0.5),
    ],
)
def test_silent_layers_leave_a_constant_factor(module, silent, factor):
    u = features()
    variables = variables_for(module, u)
    for name in silent:
        variables["params"][name] = jax.tree.map(jnp.zeros_like, variables["params"][name])
    np.testing.assert_allclose(apply(module, variables, u), factor * u, rtol=1e-6)


def test_triplets_norms_move_slowly():
    assert TripletAttention().norm.momentum == 0.99  # 0.01 in torch
    assert CoordinateAttention().norm.momentum == 0.9


@pytest.mark.parametrize(
    ("module", "shape", "sentence"),
    [
        (CoordinateAttention(reduction=0), (1, 4, 4, 8), "reduction=0, expected a ratio of 1"),
        (CoordinateAttention(), (1, 16, 8), r"\(1, 16, 8\), expected \[N, H, W, C\]: Coordinate"),
        (StripAttention(kernel_size=2), (1, 4, 4, 8), "kernel_size=2: expected an odd number"),
        (StripAttention(), (1, 2, 4, 4, 8), r"expected \[N, H, W, C\]: StripAttention"),
        (TripletAttention(kernel_size=6), (1, 4, 4, 8), "kernel_size=6: expected an odd number"),
        (TripletAttention(), (1, 4, 8), r"expected \[N, H, W, C\]: TripletAttention"),
    ],
)
def test_wrong_options_get_a_sentence(module, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(module.init, jax.random.key(0), jnp.ones(shape))
