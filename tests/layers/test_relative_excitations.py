"""Excitations that measure a channel against all others, and channels in another order."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet_jax.layers.excitations import (
    AcrossChannels,
    AcrossChannelsMLP,
    AcrossChannelsSizes,
    Bottleneck,
    Full,
    PerChannel,
)
from senet_jax.layers.relative_excitations import GatedNorm, SelfAttention, Standardise
from tests.layers.arrays import (
    as64,
    assert_close,
    at_inference,
    at_start,
    features,
    params_of,
    softmax,
)
from tests.layers.promises import variables_for

ONE, TWO = (3, 1, 8), (3, 2, 8)  # [N, S, C]
named = partial(pytest.mark.parametrize, "module", ids=lambda module: type(module).__name__)


@pytest.mark.parametrize(("order", "epsilon"), [(2, 1e-5), (1, 1e-5), (2, 0.5), (1, 0.5)])
def test_gated_norm(order, epsilon):
    z = features(ONE)
    module = GatedNorm(order, epsilon)
    p = params_of(module, z)
    e = p["alpha"] * as64(z)[:, 0]
    if order == 2:
        size = np.sqrt(np.square(e).mean(axis=1, keepdims=True) + epsilon)
    else:
        size = np.abs(e).mean(axis=1, keepdims=True) + epsilon
    assert_close(at_inference(module, z), p["gamma"] * e / size + p["beta"])
    assert (at_start(module, z) == 0).all()  # so that 1 + tanh is exactly 1


def test_gated_norm_sends_alpha_no_gradient_until_gamma_moves():
    z = features(ONE)
    params = {"alpha": jnp.ones(8), "gamma": jnp.zeros(8), "beta": jnp.zeros(8)}
    loss = lambda params: GatedNorm().apply({"params": params}, z)[0, 0]
    slope = jax.jit(jax.grad(loss))
    first, later = slope(params), slope(params | {"gamma": jnp.ones(8)})
    assert (first["alpha"] == 0).all() and first["gamma"][0] != 0
    assert (later["alpha"] != 0).all()


def test_standardise_and_the_common_ports_other_formula():
    z = features(ONE)
    x = as64(z)[:, 0]
    y = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    assert_close(at_inference(Standardise(), z), y / 2)
    assert_close(
        at_inference(Standardise(3.0, learn_width=True), z, params={"width": jnp.float32(4)}), y / 4
    )
    port = at_inference(Standardise(width_multiplies=True), z)
    assert_close(np.exp(-np.square(port) / 2), np.exp(-np.square(y) / 2 * 2))
    assert_close(at_start(Standardise(3.0, learn_width=True), z), y / 3)
    assert (at_inference(Standardise(), jnp.ones(ONE)) == 0).all()


def test_self_attention_among_channels():
    z = features(TWO)
    module = SelfAttention(features=3)
    p = params_of(module, z)
    t = as64(z).swapaxes(1, 2)
    query, key = t @ p["query"] + p["query_bias"], t @ p["key"]
    weights = softmax(query @ key.swapaxes(1, 2) / math.sqrt(3))
    expected = t.mean(axis=2) + (weights @ (t @ p["value"] + p["value_bias"]))[..., 0]
    assert_close(at_inference(module, z), expected)


def test_self_attention_starts_as_the_mean_statistic():
    z = features(TWO)
    np.testing.assert_allclose(at_start(SelfAttention(), z), z.mean(axis=1), rtol=1e-6)


def permuted(params, order):
    """Weights for channels in another order: along every axis of length 8, of 8 channels."""

    def move(p):
        for axis, length in enumerate(p.shape):
            if length == 8:
                p = np.take(np.asarray(p), order, axis)
        return p

    return jax.tree.map(move, params)


@named([Bottleneck(2), Full(), PerChannel(), GatedNorm(), Standardise(), SelfAttention(features=3)])
@given(st.permutations(range(8)))
def test_channels_in_another_order(module, order):
    z = features(ONE if isinstance(module, GatedNorm | Standardise) else TWO)
    order = np.array(order)
    variables = variables_for(module, z)
    moved = at_inference(module, z[..., order], permuted(variables, order))
    assert_close(moved, at_inference(module, z, variables)[..., order])


@named([AcrossChannels(), AcrossChannelsMLP(), AcrossChannelsSizes((3, 5))])
def test_neighbours_depend_on_the_order(module):
    z = features(ONE)
    order = np.roll(np.arange(8), 3)[::-1]
    assert (
        np.abs(at_inference(module, z[..., order]) - at_inference(module, z)[..., order]).max()
        > 0.1
    )
