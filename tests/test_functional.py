"""The functional core against NumPy, and by the properties that the formulas have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import senet_jax
from senet_jax.functional import channel_attention, excite, scale, squeeze


def rng(seed=0):
    return np.random.default_rng(seed)


def make_params(channels=8, hidden=2, bias=True, seed=0):
    r = rng(seed)
    fc1 = {"kernel": r.normal(size=(channels, hidden)).astype(np.float32)}
    fc2 = {"kernel": r.normal(size=(hidden, channels)).astype(np.float32)}
    if bias:
        fc1["bias"] = r.normal(size=hidden).astype(np.float32)
        fc2["bias"] = r.normal(size=channels).astype(np.float32)
    return {"fc1": fc1, "fc2": fc2}


def excite_by_numpy(z, params):
    hidden = np.maximum(z @ params["fc1"]["kernel"] + params["fc1"].get("bias", 0), 0)
    return 1 / (1 + np.exp(-(hidden @ params["fc2"]["kernel"] + params["fc2"].get("bias", 0))))


@pytest.mark.parametrize("spatial_rank", [1, 2, 3])
@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_attention_of_any_rank_equals_numpy(spatial_rank, leading):
    u = rng().normal(size=(*leading, *(5, 4, 3)[:spatial_rank], 8)).astype(np.float32)
    z = u.mean(axis=tuple(range(len(leading), len(leading) + spatial_rank)))
    s = channel_attention(u, make_params(), spatial_rank=spatial_rank)
    np.testing.assert_allclose(s, excite_by_numpy(z, make_params()), rtol=1e-5)
    v = scale(u, s, spatial_rank=spatial_rank)
    broadcast = np.asarray(s).reshape(*leading, *(1,) * spatial_rank, 8)
    np.testing.assert_allclose(v, u * broadcast, rtol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_dense_and_convolution_kernels_give_the_same(bias):
    u, params = rng().normal(size=(2, 5, 4, 8)).astype(np.float32), make_params(bias=bias)
    convolution = {k: {**v, "kernel": v["kernel"][None, None]} for k, v in params.items()}
    dense = channel_attention(u, params)
    np.testing.assert_array_equal(dense, channel_attention(u, convolution))
    np.testing.assert_allclose(dense, excite_by_numpy(u.mean((1, 2)), params), rtol=1e-5)


def test_other_activations_and_gates_are_used():
    z = rng().normal(size=(3, 8)).astype(np.float32)
    s = excite(z, make_params(), act=jnp.tanh, gate=lambda x: x)
    p = make_params()
    hidden = np.tanh(z @ p["fc1"]["kernel"] + p["fc1"]["bias"])
    np.testing.assert_allclose(
        s, hidden @ p["fc2"]["kernel"] + p["fc2"]["bias"], rtol=1e-5, atol=1e-6
    )  # sums of values near one, some of which nearly cancel


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 6))
def test_masked_squeeze_is_the_mean_of_valid_positions(seed, h, w):
    r = rng(seed)
    u, mask = r.normal(size=(2, h, w, 3)).astype(np.float32), r.random((2, h, w)) < 0.5
    expected = [u[n][mask[n]].mean(axis=0) if mask[n].any() else np.zeros(3) for n in range(2)]
    poisoned = np.where(mask[..., None], u, np.nan)
    np.testing.assert_allclose(squeeze(poisoned, mask=jnp.asarray(mask)), expected, atol=1e-6)


def test_gradient_through_a_mask_ignores_what_is_masked():
    u = jnp.full((1, 2, 2, 1), jnp.nan).at[0, 0, 0, 0].set(3.0)
    mask = jnp.zeros((1, 2, 2), bool).at[0, 0, 0].set(True)
    gradient = jax.grad(lambda u: squeeze(u, mask=mask).sum())(u)
    np.testing.assert_array_equal(gradient[0, ..., 0], [[1, 0], [0, 0]])


@given(st.integers(0, 2**31))
def test_permuted_channels_with_permuted_weights_give_permuted_gates(seed):
    r = rng(seed)
    u, params, order = r.normal(size=(2, 3, 3, 8)), make_params(seed=seed), r.permutation(8)
    permuted = {
        "fc1": {**params["fc1"], "kernel": params["fc1"]["kernel"][order]},
        "fc2": {k: v[..., order] for k, v in params["fc2"].items()},
    }
    s = channel_attention(jnp.asarray(u, jnp.float32), params)
    t = channel_attention(jnp.asarray(u[..., order], jnp.float32), permuted)
    np.testing.assert_allclose(s[:, order], t, rtol=1e-5)


@given(st.integers(0, 2**31), st.floats(-4, 4))
def test_squeeze_is_linear(seed, factor):
    u, v = rng(seed).normal(size=(2, 2, 4, 4, 3)).astype(np.float32)
    combined = squeeze(jnp.asarray(u + np.float32(factor) * v))
    np.testing.assert_allclose(combined, squeeze(u) + np.float32(factor) * squeeze(v), atol=1e-5)


def test_bfloat16_is_accumulated_in_float32():
    u = jnp.asarray(rng().uniform(0, 4, size=(2, 56, 56, 8)), jnp.bfloat16)
    z = squeeze(u)
    assert z.dtype == jnp.float32
    np.testing.assert_allclose(z, np.asarray(u, np.float64).mean((1, 2)), rtol=1e-5)
    s = channel_attention(u, make_params())
    assert s.dtype == jnp.float32
    assert scale(u, s).dtype == jnp.bfloat16


def test_vmap_over_images_equals_the_batch():
    u = rng().normal(size=(3, 5, 4, 8)).astype(np.float32)
    one = jax.jit(jax.vmap(lambda u: channel_attention(u, make_params())))
    np.testing.assert_allclose(one(u), channel_attention(u, make_params()), rtol=1e-6)


def test_gradients_reach_features_and_parameters():
    u = rng().normal(size=(2, 5, 4, 8)).astype(np.float32)
    loss = lambda u, p: jnp.sum(jnp.square(scale(u, channel_attention(u, p))))
    for leaf in jax.tree.leaves(jax.grad(loss, argnums=(0, 1))(u, make_params())):
        assert np.isfinite(leaf).all()
        assert np.any(leaf)


def test_params_are_exactly_a_blocks_subtree():
    block = senet_jax.SEBlock(reduction=4)
    u = jnp.asarray(rng().normal(size=(2, 5, 4, 8)), jnp.float32)
    variables = block.init(jax.random.key(0), u)
    gates = channel_attention(u, variables["params"])
    np.testing.assert_allclose(scale(u, gates), block.apply(variables, u), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: squeeze(jnp.ones((4, 8))),
            r"features have shape \(4, 8\), expected .* spatial_ra",
        ),
        (
            lambda: squeeze(jnp.ones((2, 4, 4, 8)), mask=jnp.ones((2, 4))),
            r"mask has shape \(2, 4\)",
        ),
        (lambda: scale(jnp.ones((2, 4, 4, 8)), jnp.ones((2, 4))), r"gates have shape \(2, 4\)"),
        (lambda: excite(jnp.ones((2, 8)), {"se": {}}), r"params has \['se'\], expected 'fc1'"),
        (lambda: excite(jnp.ones((2, 9)), make_params()), "made for 8 channels, but .* has 9"),
        (
            lambda: excite(jnp.ones((2, 8)), {"fc1": {"kernel": np.ones((3, 3, 8, 2))}, "fc2": {}}),
            r"fc1/kernel has shape \(3, 3, 8, 2\)",
        ),
    ],
)
def test_wrong_input_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
