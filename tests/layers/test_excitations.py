"""Excitations that take each channel or its neighbours against NumPy; starts, counts, refusals."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax.layers.excitations import (
    AcrossChannels,
    AcrossChannelsMLP,
    AcrossChannelsSizes,
    Bottleneck,
    Full,
    Identity,
    LocalAndGlobal,
    PerChannel,
    adaptive_kernel_size,
)
from senet_jax.layers.relative_excitations import GatedNorm, SelfAttention, Standardise
from tests.layers.arrays import as64, assert_close, at_inference, at_start, features, params_of
from tests.layers.promises import frozen, variables_for
from tests.models.by_hand import normalise, relu

ONE, TWO = (3, 1, 8), (3, 2, 8)  # [N, S, C]
OF_ONE = (
    AcrossChannels(),
    AcrossChannelsMLP(),
    AcrossChannelsSizes((3, 5)),
    GatedNorm(),
    Identity(),
    LocalAndGlobal(everywhere=Bottleneck(2)),
    Standardise(),
)
named = partial(pytest.mark.parametrize, "module", ids=lambda module: type(module).__name__)


def dense(x, params):
    return x @ params["kernel"] + params.get("bias", 0)


def correlate(z, kernel, mode="constant"):
    """`[N, C]` with a kernel `[k]`, channel by channel."""
    sides = (len(kernel) // 2, len(kernel) // 2)
    padded = np.pad(z, ((0, 0), sides), mode=mode)
    return np.stack([padded[:, c : c + len(kernel)] @ kernel for c in range(z.shape[1])], axis=1)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("layer_norm", [True, False])
def test_bottleneck_sends_each_statistic_through_the_same_layers(use_bias, layer_norm):
    z = features(TWO)
    module = Bottleneck(2, act="silu", use_bias=use_bias, layer_norm=layer_norm, epsilon=1e-2)
    p = params_of(module, z)
    y = dense(as64(z), p["fc1"])
    if layer_norm:
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-2)
        y = y * p["ln"]["scale"] + p["ln"]["bias"]
    expected = dense(y / (1 + np.exp(-y)), p["fc2"]).sum(axis=1)
    assert_close(at_inference(module, z), expected)
    assert ("bias" in p["fc1"]) == ("bias" in p["fc2"]) == use_bias


def test_full_is_one_layer():
    z = features(TWO)
    expected = dense(as64(z), params_of(Full(), z)["fc"]).sum(axis=1)
    assert_close(at_inference(Full(), z), expected)


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("circular", [True, False])
def test_across_channels_sees_neighbours(size, circular):
    z = features(ONE)
    module = AcrossChannels(size, circular)
    kernel = params_of(module, z)["kernel"]
    assert kernel.shape == (size, 1)
    expected = correlate(as64(z)[:, 0], kernel[:, 0], "wrap" if circular else "constant")
    assert_close(at_inference(module, z), expected)


def test_a_unit_impulse_is_the_identity():
    z = features(ONE)
    impulse = {"kernel": jnp.array([[0.0], [0], [1], [0], [0]])}
    assert (at_inference(AcrossChannels(5), z, params=impulse) == at_inference(Identity(), z)).all()
    assert (at_inference(Identity(), z) == z[:, 0]).all()


def test_on_equal_statistics_only_a_ring_has_no_ends():
    z = jnp.ones(ONE)
    kernel = {"kernel": jnp.array([[0.5], [1], [0.25]])}
    ring = at_inference(AcrossChannels(3, circular=True), z, params=kernel)
    assert (ring == ring[0, 0]).all()
    line = at_inference(AcrossChannels(3), z, params=kernel)
    assert (line[:, 1:-1] == ring[0, 0]).all()
    assert (line[:, 0] == 1.25).all() and (line[:, -1] == 1.5).all()


# section 1 of the reference; at powers of two the rule is between two sizes
@pytest.mark.parametrize(
    ("size", "channels"),
    [(3, (1, 8, 16, 64, 96)), (5, (128, 256, 512, 1024, 1536)), (7, (2048, 4096))],
)
def test_kernel_sizes_by_the_rule(size, channels):
    assert {adaptive_kernel_size(c) for c in channels} == {size}


def test_several_kernel_sizes_are_added_and_fold_into_the_largest():
    z = features(ONE)
    module = AcrossChannelsSizes((3, 1, 5))
    p = params_of(module, z)
    folded = sum(
        np.pad(p[f"conv{size}"]["kernel"][:, 0], (5 - size) // 2) for size in module.kernel_sizes
    )
    assert_close(at_inference(module, z), correlate(as64(z)[:, 0], folded))


def test_the_mlp_across_channels():
    z = features(ONE)
    module = AcrossChannelsMLP(reduction=2, divisor=1, kernel_size=3)
    p = params_of(module, z)
    assert p["conv1"]["kernel"].shape == (1, 1, 4)
    hidden = relu(as64(z)[:, 0, :, None] * p["conv1"]["kernel"][0, 0] + p["conv1"]["bias"])
    expected = sum(correlate(hidden[..., i], p["conv2"]["kernel"][:, i, 0]) for i in range(4))
    assert_close(at_inference(module, z), expected + p["conv2"]["bias"])


def test_per_channel_weighs_statistics_and_normalises_over_the_batch():
    z = features(TWO)
    v = variables_for(PerChannel(), z)
    p = params_of(PerChannel(), z)
    y = (as64(z) * p["kernel"]).sum(axis=1)
    assert_close(at_inference(PerChannel(), z), normalise(y, p["bn"], v["batch_stats"]["bn"]))
    trained, updates = jax.jit(partial(PerChannel().apply, mutable=["batch_stats"]))(v, z)
    expected = normalise(y, p["bn"], {"mean": y.mean(0), "var": y.var(0)})
    assert_close(trained, expected)
    moved = 0.9 * as64(v["batch_stats"]["bn"]["var"]) + 0.1 * y.var(0)  # biased, unlike torch's
    assert_close(updates["batch_stats"]["bn"]["var"], moved)


def test_per_channel_starts_at_zero_with_a_finite_gradient_in_training():
    z = features(TWO)
    variables = jax.tree.map(jnp.zeros_like, variables_for(PerChannel(), z))
    variables["params"]["bn"]["scale"] = jnp.ones(8)

    def loss(params):
        y, _ = PerChannel().apply({**variables, "params": params}, z, mutable=["batch_stats"])
        return jnp.sum(jnp.cos(jnp.arange(24.0)).reshape(3, 8) * y), y

    slope, y = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert (y == 0).all() and (at_start(PerChannel(), z) == 0).all()
    assert (
        np.isfinite(slope["kernel"]).all() and np.abs(slope["kernel"]).max() > 10
    )  # 1 / sqrt(eps)


def test_local_and_global_are_added():
    z = features(ONE)
    module = LocalAndGlobal(Full(), Bottleneck(4))
    p = params_of(module, z)
    expected = at_inference(Full(), z, params=p["local"]) + at_inference(
        Bottleneck(4), z, params=p["global"]
    )
    assert_close(at_inference(module, z), expected)


def test_the_last_layer_can_start_at_zero():
    assert (at_start(Bottleneck(2, zero_init_last=True), features(TWO)) == 0).all()
    assert (at_start(Bottleneck(2), features(TWO)) != 0).any()


def counted(module, channels, statistics=1):
    z = jax.ShapeDtypeStruct((2, statistics, channels), jnp.float32)
    tree = jax.eval_shape(module.init, jax.random.key(0), z)
    return sum(p.size for p in jax.tree.leaves(tree.get("params", {})))


# by hand; those that are published have theirs in test_named.py
@pytest.mark.parametrize(
    ("module", "statistics", "expected"),
    [
        (Bottleneck(divisor=8), 2, (1096, 8464, 33312, 526464)),
        (Standardise(learn_width=True), 1, (1, 1, 1, 1)),
        (SelfAttention(), 1, (26, 26, 26, 26)),
        (SelfAttention(), 2, (43, 43, 43, 43)),
        (LocalAndGlobal(), 1, (583, 8469, 33317, 526471)),
        # h = C / 8: 2h of the first convolution, kh + 1 of the second
        (AcrossChannelsMLP(), 1, (16 + 25, 64 + 161, 128 + 321, 512 + 1793)),
        (AcrossChannelsSizes(), 1, (15, 15, 15, 15)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_counts(module, statistics, expected):
    assert tuple(counted(module, c, statistics) for c in (64, 256, 512, 2048)) == expected


@named(OF_ONE)
def test_what_takes_one_statistic_refuses_several(module):
    with pytest.raises(ValueError, match="takes one statistic per channel and the squeeze gives 2"):
        jax.eval_shape(module.init, jax.random.key(0), features(TWO))


@named([PerChannel(), SelfAttention()])
def test_weights_of_statistics_refuse_another_number(module):
    variables = variables_for(module, features(TWO))
    sentence = r"has shape \(2, 8\) and these features need \(3, 8\).*choose Bottleneck\(\)"
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(frozen(module).apply, variables, features((3, 3, 8)))


def test_rows_and_columns_may_have_another_number_for_shared_layers():
    for module in (Bottleneck(2), Full()):
        variables = variables_for(module, features(TWO))
        rows = features((3, 5, 8))
        assert jax.eval_shape(module.apply, variables, rows).shape == (3, 8)


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (AcrossChannels(4), "kernel_size=4 over 8 channels: expected an odd number"),
        (AcrossChannels(0), "kernel_size=0"),
        (AcrossChannels(17), "kernel_size=17 over 8 channels.*at most twice"),
        (AcrossChannelsMLP(kernel_size=2), "kernel_size=2"),
        (AcrossChannelsSizes((3, 3)), r"kernel_sizes=\(3, 3\), expected one or more, each once"),
        (AcrossChannelsSizes(()), "expected one or more"),
        (Bottleneck(16), "reduction=16 leaves no unit of 8 channels"),
        (Bottleneck(2, act="sin"), "Unknown activation 'sin'"),
        (GatedNorm(order=3), "order=3, expected 2, or 1"),
        (Standardise(width=0), "width=0, expected a number above 0"),
        (Standardise(learn_width=True, width_multiplies=True), "leave learn_width=False"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wrong_options_get_a_sentence(module, sentence):
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(module.init, jax.random.key(0), features(ONE))


class Twice(nn.Module):
    excite: nn.Module

    @nn.compact
    def __call__(self, z):
        first = self.excite.clone(name="first", parent=self)(z)
        return self.excite.clone(name="second", parent=self)(first[:, None])


def test_parts_of_a_template_are_not_shared():
    params = jax.eval_shape(Twice(LocalAndGlobal()).init, jax.random.key(0), jnp.ones((1, 1, 64)))
    both = params["params"]
    assert both["first"].keys() == both["second"].keys() == {"local", "global"}
