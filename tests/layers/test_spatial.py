"""Spatial attention, CBAM, BAM and scSE against NumPy, counts, starts, options."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet_jax.layers import BatchNorm, SEBlock
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.excitations import Bottleneck
from senet_jax.layers.maximum import largest
from senet_jax.layers.spatial import BAM, CBAM, SCSE, SpatialAttention
from senet_jax.layers.squeezes import Pool
from tests.layers.promises import (
    SHAPE,
    apply,
    check,
    check_gradients,
    check_training,
    count,
    features,
    gates,
    variables_for,
)
from tests.models.by_hand import convolve, normalise, relu

SSE = SpatialAttention(kinds=(), kernel_size=1, use_bias=True, norm=None)
MEAN_AND_MAX = Pool(("mean", "max"))
TIMM = CBAM(
    ChannelAttention(MEAN_AND_MAX, Bottleneck(divisor=1, use_bias=False)),
    SpatialAttention(("mean", "max"), norm=BatchNorm()),
)
LIGHT = CBAM(
    ChannelAttention(Pool(("mean", "max"), average=True), Bottleneck(divisor=1, use_bias=False)),
    SpatialAttention(("mean", "max"), average=True, norm=BatchNorm()),
)
CBAMS = {"authors": CBAM(), "timm": TIMM, "light": LIGHT}


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def dense(x, params):
    return x @ np.asarray(params["kernel"], np.float64) + np.asarray(params.get("bias", 0.0))


def spatially(x, variables, kinds=("max", "mean"), average=False):
    """x times its gates by position."""
    stacked = np.stack([getattr(x, kind)(axis=-1) for kind in kinds], axis=-1)
    if average:
        stacked = stacked.mean(axis=-1, keepdims=True)
    y = convolve(stacked, variables["params"]["conv"])
    y = normalise(y, variables["params"]["bn"], variables["batch_stats"]["bn"])
    return x * sigmoid(y)


def within(variables, name):
    return {kind: tree[name] for kind, tree in variables.items() if name in tree}


def zeros(variables, *names):
    """Variables with these submodules' parameters at zero, wherever they are."""
    return jax.tree_util.tree_map_with_path(
        lambda path, p: p * 0 if {key.key for key in path} & set(names) else p, variables
    )


@pytest.mark.parametrize(
    "module",
    [SpatialAttention(), CBAM(), BAM(), SCSE()],
    ids=["spatial", "cbam", "bam", "scse"],
)
def test_promises(module):
    check(module)


@pytest.mark.parametrize("module", [CBAM(), BAM()], ids=["cbam", "bam"])
def test_gradients_reach_every_parameter(module):
    check_gradients(module)


def test_slopes_of_maxima_survive_rounding():
    """jnp.max has none where the compiler computes its input twice, as it does here."""
    check_training(CBAM())


def test_the_largest_of_equals_is_the_first():
    x = jnp.asarray([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [-1.0, jnp.nan, -3.0]])
    y, slope = jax.vjp(partial(largest, axis=-1), x)
    np.testing.assert_array_equal(y, [3, 2, np.nan])
    np.testing.assert_array_equal(slope(jnp.ones(3))[0], [[0, 1, 0], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(largest(features(), 1), np.max(features(), 1))


def test_counts_are_the_published_ones():
    assert count(SpatialAttention(), 256) == 100
    assert count(SSE, 256) == 257
    assert count(CBAM(), 256) == 8564
    assert [count(TIMM, c) for c in (64, 256, 512, 2048)] == [612, 8292, 32868, 524388]
    assert count(LIGHT, 256) == 8243
    assert count(BAM(), 256) == 17361
    assert count(BAM(last_norms=True), 256) == 17361 + 2 * 256 + 2
    assert count(SCSE(), 256) == 66177


@pytest.mark.parametrize(
    "options", [{}, dict(kinds=("mean", "max")), dict(kinds=("mean",)), dict(average=True)]
)
def test_spatial_attention(options):
    module, u = SpatialAttention(**options), features()
    variables = variables_for(module, u)
    expected = spatially(np.asarray(u, np.float64), variables, **options)
    np.testing.assert_allclose(apply(module, variables, u), expected, rtol=1e-4, atol=1e-5)
    s = gates(module, variables, u)["gates"]
    assert s.shape == (*SHAPE[:3], 1)
    np.testing.assert_allclose(u * s, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CBAMS)
def test_cbam(name):
    module, u = CBAMS[name], features()
    variables = variables_for(module, u)
    mlp = variables["params"]["channel"]["excite"]
    layers = lambda z: dense(relu(dense(z, mlp["fc1"])), mlp["fc2"])
    x = np.asarray(u, np.float64)
    mean, most = x.mean(axis=(1, 2)), x.max(axis=(1, 2))
    if name == "light":
        logits = layers((mean + most) / 2)
    else:
        logits = layers(mean) + layers(most)
    x = x * sigmoid(logits)[:, None, None]
    spatial = within(variables, "spatial")
    expected = spatially(x, spatial, module.spatial.kinds, module.spatial.average)
    np.testing.assert_allclose(apply(module, variables, u), expected, rtol=1e-4, atol=1e-5)
    shapes = {path: s.shape for path, s in gates(module, variables, u).items()}
    assert shapes == {"channel/gates": (3, SHAPE[-1]), "spatial/gates": (*SHAPE[:3], 1)}


def test_mean_and_maximum_of_a_constant_map_ask_twice_for_the_same():
    u = jnp.broadcast_to(features((2, 1, 1, 32)), (2, 3, 5, 32))
    variables = variables_for(CBAM(), u)
    mlp = variables["params"]["channel"]["excite"]
    once = dense(relu(dense(np.asarray(u[:, 0, 0]), mlp["fc1"])), mlp["fc2"])
    s = gates(CBAM(), variables, u)["channel/gates"]
    np.testing.assert_allclose(s, sigmoid(2 * once), rtol=1e-5)


@pytest.mark.parametrize(("combine", "last_norms"), [("product", False), ("sum", True)])
def test_bam(combine, last_norms):
    module, u = BAM(combine=combine, last_norms=last_norms), features()
    variables = variables_for(module, u)
    params, statistics = variables["params"], variables["batch_stats"]

    def normed(y, name):
        return normalise(y, params[name], statistics[name])

    def dilated(params):
        kernel = np.zeros((9, 9, 2, 2))
        kernel[::4, ::4] = params["kernel"]
        return dict(params, kernel=kernel)

    x = np.asarray(u, np.float64)
    c = relu(normed(dense(x.mean(axis=(1, 2)), params["channel_fc1"]), "channel_bn"))
    c = dense(c, params["channel_fc2"])
    p = relu(normed(convolve(x, params["spatial_conv1"]), "spatial_bn1"))
    for i in (2, 3):
        p = convolve(p, dilated(params[f"spatial_conv{i}"]))
        p = relu(normed(p, f"spatial_bn{i}"))
    p = convolve(p, params["spatial_conv4"])
    if last_norms:
        c, p = normed(c, "channel_last_bn"), normed(p, "spatial_last_bn")
    c = c[:, None, None]
    expected = x * (1 + sigmoid(c * p if combine == "product" else c + p))
    np.testing.assert_allclose(apply(module, variables, u), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("combine", ["max", "sum"])
def test_scse(combine):
    module, u = SCSE(combine=combine), features()
    variables = variables_for(module, u)
    mlp, conv = variables["params"]["channel"]["excite"], variables["params"]["spatial"]["conv"]
    x = np.asarray(u, np.float64)
    c = sigmoid(dense(relu(dense(x.mean(axis=(1, 2)), mlp["fc1"])), mlp["fc2"]))[:, None, None]
    p = sigmoid(convolve(x, conv))
    expected = np.maximum(x * c, x * p) if combine == "max" else x * c + x * p
    np.testing.assert_allclose(apply(module, variables, u), expected, rtol=1e-4, atol=1e-5)
    if combine == "max":  # of the maps, not of the gates
        assert np.abs(expected - x * np.maximum(c, p)).max() > 0.01


@pytest.mark.parametrize(
    ("module", "silent", "factor"),
    [
        (SSE, ["conv"], 0.5),
        (CBAM(), ["fc2", "bn"], 0.25),
        (TIMM, ["fc2", "bn"], 0.25),
        (BAM(), ["channel_fc2"], 1.5),
        (SCSE(), ["fc2", "conv"], 0.5),
        (SCSE(combine="sum"), ["fc2", "conv"], 1),
    ],
)
def test_silent_layers_leave_a_constant_factor(module, silent, factor):
    u = features()
    variables = zeros(variables_for(module, u), *silent)
    np.testing.assert_allclose(apply(module, variables, u), factor * u, rtol=1e-6)


def test_gates_by_position_start_at_one_half_and_their_norm_moves_by_a_hundredth():
    u, module = features(), SpatialAttention()

    @jax.jit
    def start(key):
        variables = module.init(key, u)
        return variables, module.apply(variables, u, mutable=["batch_stats", "intermediates"])[1]

    variables, updates = start(jax.random.key(0))
    np.testing.assert_array_equal(updates["intermediates"]["gates"][-1], 0.5)
    kernel = variables["params"]["conv"]["kernel"]
    assert np.abs(kernel).min() > 0  # the norm's scale alone is zero
    stacked = np.stack([np.max(u, axis=-1), np.mean(u, axis=-1)], axis=-1)
    mean = convolve(stacked, dict(kernel=kernel)).mean()
    np.testing.assert_allclose(updates["batch_stats"]["bn"]["mean"], 0.01 * mean, rtol=1e-4)


@given(seed=st.integers(0, 100))
def test_gates_follow_a_flip_if_the_kernel_is_symmetric(seed):
    module, u = SpatialAttention(kernel_size=3), features(seed=seed)
    variables = variables_for(module, u)
    kernel = variables["params"]["conv"]["kernel"]
    variables["params"]["conv"]["kernel"] = kernel + kernel[:, ::-1]
    s = gates(module, variables, u)["gates"]
    flipped = gates(module, variables, u[:, :, ::-1])["gates"]
    np.testing.assert_allclose(flipped[:, :, ::-1], s, rtol=1e-4, atol=1e-6)


def test_blocks_of_a_network_have_halves_of_their_own():
    class Two(nn.Module):
        attention: nn.Module

        @nn.compact
        def __call__(self, u):
            for name in ("first", "second"):
                u = self.attention.clone(name=name, parent=self)(u)
            return u

    for attention in (CBAM(), SCSE(), CBAM(SEBlock(reduction=4), SSE)):
        params = jax.eval_shape(Two(attention).init, jax.random.key(0), features())["params"]
        assert set(params) == {"first", "second"}
        assert set(params["first"]) == set(params["second"]) == {"channel", "spatial"}


@pytest.mark.parametrize(
    ("module", "shape", "sentence"),
    [
        (SpatialAttention(kernel_size=4), (1, 4, 4, 8), "kernel_size=4: expected an odd number"),
        (SpatialAttention(("min",)), (1, 4, 4, 8), r"Unknown statistic \['min'\].*'max', 'mean'"),
        (SpatialAttention(gate="softmax"), (1, 4, 4, 8), "gate='softmax' is 1 at every position"),
        (SpatialAttention(), (1, 4, 8), r"\(1, 4, 8\), expected \[N, H, W, C\]: SpatialAttention"),
        (BAM(combine="max"), (1, 4, 4, 16), "Unknown combine 'max': expected 'product' or 'sum'"),
        (BAM(), (1, 4, 16), r"expected \[N, H, W, C\]: BAM tells height from width"),
        (SCSE(combine="add"), (1, 4, 4, 8), "Unknown combine 'add': expected 'max' or 'sum'"),
    ],
)
def test_wrong_options_get_a_sentence(module, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(module.init, jax.random.key(0), jnp.ones(shape))
