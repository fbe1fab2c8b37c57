"""Split attention: the formula in loops over groups and splits, counts, pools."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax.layers import BatchNorm
from senet_jax.layers.split_attention import SplitAttention
from tests.models.by_hand import convolve, normalise, relu
from tests.models.twins import random_variables

NORM = BatchNorm(use_running_average=True)


def some_features(shape=(3, 9, 7, 12), dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def run(module, variables, x):
    """The output and the gates, compiled as one program, which is faster than one by one."""
    y, sown = jax.jit(partial(module.apply, mutable=["intermediates"]))(variables, x)
    return y, sown["intermediates"]["gates"][0]


def by_hand(variables, x, radix, cardinality):
    """In NumPy and float64, group by group: the output and the gates `[N, R, C]`."""
    params, statistics = variables["params"], variables["batch_stats"]
    y = convolve(x, params["conv1"], groups=radix * cardinality)
    y = relu(normalise(y, params["bn1"], statistics["bn1"]))
    n, channels = y.shape[0], y.shape[-1] // radix
    splits = [y[..., r * channels : (r + 1) * channels] for r in range(radix)]
    z = sum(splits).mean(axis=(1, 2))

    def grouped(z, layer):
        kernel, bias = (np.asarray(layer[name], np.float64) for name in ("kernel", "bias"))
        inputs, outputs = z.shape[1] // cardinality, bias.size // cardinality
        parts = [
            z[:, g * inputs : (g + 1) * inputs] @ kernel[0, 0, :, g * outputs : (g + 1) * outputs]
            for g in range(cardinality)
        ]
        return np.concatenate(parts, axis=1) + bias

    hidden = relu(normalise(grouped(z, params["fc1"]), params["bn"], statistics["bn"]))
    logits = grouped(hidden, params["fc2"])
    gates, inner = np.zeros((n, radix, channels)), channels // cardinality
    for g in range(cardinality):
        of_group = logits[:, g * radix * inner : (g + 1) * radix * inner]
        for c in range(inner):
            s = of_group[:, c::inner]  # one logit for each split
            share = 1 / (1 + np.exp(-s)) if radix == 1 else np.exp(s) / np.exp(s).sum(1)[:, None]
            gates[:, :, g * inner + c] = share
    y = sum(gates[:, r, None, None] * split for r, split in enumerate(splits))
    return y, gates


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 2), (2, 2), (3, 1)])
def test_it_computes_the_papers_formula(radix, cardinality):
    x = some_features()
    module = SplitAttention(radix=radix, groups=cardinality, least=10, norm=NORM)
    variables = random_variables(module, x)
    y, found = run(module, variables, x)
    expected, gates = by_hand(variables, np.asarray(x, np.float64), radix, cardinality)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found, gates, rtol=1e-4, atol=1e-6)


def pooled(x):
    """3x3 averages by 2, zeros of the border counted."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return windows[:, ::2, ::2].mean(axis=(-2, -1))


def test_a_stride_is_the_convolutions_or_a_pools():
    x = some_features((2, 9, 6, 12))
    module = SplitAttention(least=8, norm=NORM)
    variables, wide = random_variables(module, x), np.asarray(x, np.float64)
    strided, before, after = (
        run(module.clone(strides=2, pool=pool), variables, x)[0]
        for pool in (None, "before", "after")
    )
    assert strided.shape == (2, 5, 3, 12)
    expected = by_hand(variables, pooled(wide), 2, 1)[0]
    np.testing.assert_allclose(before, expected, rtol=1e-4, atol=1e-5)
    expected = pooled(by_hand(variables, wide, 2, 1)[0])
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)
    assert strided.shape == before.shape == after.shape
    same, _ = run(module.clone(pool="after"), variables, x)  # nothing to pool without a stride
    np.testing.assert_array_equal(same, run(module, variables, x)[0])


# a = 128: C a + a, its norm 2 a, a 2 C + 2 C
def test_it_has_the_published_parameters():
    x = jax.ShapeDtypeStruct((2, 4, 4, 256), np.float32)
    params = jax.eval_shape(SplitAttention().init, jax.random.key(0), x)["params"]
    count = lambda *names: sum(p.size for name in names for p in jax.tree.leaves(params[name]))
    assert count("fc1", "fc2") == 98_944
    assert count("fc1", "bn", "fc2") == 99_200
    assert params["conv1"]["kernel"].shape == (3, 3, 128, 512)
    rounded = SplitAttention(radix=1, divisor=8, features=64)
    x = jax.ShapeDtypeStruct((2, 4, 4, 150), np.float32)
    params = jax.eval_shape(rounded.init, jax.random.key(0), x)["params"]
    assert params["bn"]["scale"].shape == (40,)  # 37.5, to a multiple of 8


@pytest.mark.parametrize(("radix", "share"), [(1, 1 / 2), (3, 1 / 3)])
def test_logits_of_zero_give_the_mean_of_the_splits_and_half_of_one(radix, share):
    x, module = some_features(), SplitAttention(radix=radix, least=8, norm=NORM)
    variables = random_variables(module, x)
    variables["params"]["fc2"] = jax.tree.map(jnp.zeros_like, variables["params"]["fc2"])
    y, found = run(module, variables, x)
    np.testing.assert_allclose(found, share, rtol=1e-6)
    expected = by_hand(variables, np.asarray(x, np.float64), radix, 1)[0]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns_and_every_statistic_moves():
    x, module = some_features((4, 5, 4, 12)), SplitAttention(groups=2, least=8)
    variables = random_variables(module, x)

    @jax.jit
    def gradients(params):
        def loss(params):
            y, updates = module.apply({**variables, "params": params}, x, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y)), updates

        return jax.grad(loss, has_aux=True)(params)

    found, updates = gradients(variables["params"])
    assert all(np.isfinite(g).all() and np.any(g) for g in jax.tree.leaves(found))
    different = lambda a, b: bool(np.any(a != b))
    moved = jax.tree.map(different, updates["batch_stats"], variables["batch_stats"])
    assert moved == {name: dict(mean=True, var=True) for name in ("bn", "bn1")}


def test_gates_are_float32_for_bfloat16_features():
    x, module = some_features(dtype=jnp.bfloat16), SplitAttention(least=8, norm=NORM)
    variables = random_variables(module, some_features())
    low = module.clone(conv=partial(module.conv, dtype=jnp.bfloat16))
    y, found = run(low, variables, x)
    assert y.dtype == jnp.bfloat16
    assert found.dtype == jnp.float32
    expected, _ = by_hand(variables, np.asarray(x, np.float64), 2, 1)
    assert np.max(np.abs(np.asarray(y, np.float64) - expected)) < 0.02 * np.max(expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(pool="max"), "Unknown pool 'max': expected None, 'before', 'after'"),
        (dict(groups=5), "10 groups do not divide both 12"),
    ],
)
def test_wrong_options_get_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        SplitAttention(**options).init(jax.random.key(0), some_features())
