"""Attention over several inputs: its formula, what it has in common with SE and with a softmax."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax.fused import AffineMap, finish
from senet_jax.layers import BatchNorm, SEBlock
from senet_jax.layers.multi_input import MultiDense, MultiInputSE, MultiKernelConv
from tests.models.by_hand import convolve, normalise, relu
from tests.models.twins import random_variables

SHAPE = (3, 5, 4, 8)  # no axis as long as another


def some_inputs(count, shape=SHAPE, dtype=jnp.float32):
    r = np.random.default_rng(count)
    return tuple(jnp.asarray(r.normal(0.3, 1, shape), dtype) for _ in range(count))


def run(module, variables, inputs):
    """The output and the gates, compiled as one program, which is faster than one by one."""
    y, sown = jax.jit(partial(module.apply, mutable=["intermediates"]))(variables, inputs)
    return y, sown["intermediates"].get("gates", (None,))[0]


def by_hand(params, inputs, gate="sigmoid"):
    """In NumPy and float64, from the description: summed, squeezed, excited, split, weighed,
    summed.
    """
    xs = [np.asarray(x, np.float64) for x in inputs]
    (w1, b1), (w2, b2) = (
        (np.asarray(params[fc]["kernel"], np.float64), np.asarray(params[fc]["bias"], np.float64))
        for fc in ("fc1", "fc2")
    )
    n, channels = xs[0].shape[0], xs[0].shape[-1]
    total = np.zeros_like(xs[0])
    for x in xs:
        total += x
    z = total.reshape(n, -1, channels).mean(axis=1)
    logits = np.maximum(z @ w1 + b1, 0) @ w2 + b2
    logits = np.stack(np.split(logits, len(xs), axis=1))
    if gate == "softmax":
        gates = np.exp(logits) / np.exp(logits).sum(axis=0)
    else:
        gates = 1 / (1 + np.exp(-logits))
    y = np.zeros_like(xs[0])
    for g, x in zip(gates, xs, strict=True):
        y += x * g.reshape(n, *(1,) * (x.ndim - 2), channels)
    return y, gates.swapaxes(0, 1)


@pytest.mark.parametrize(
    ("gate", "count"),
    [*(("sigmoid", count) for count in (1, 2, 3, 4)), ("softmax", 2), ("softmax", 3)],
)
def test_it_computes_its_description(gate, count):
    inputs, module = some_inputs(count), MultiInputSE(gate=gate)
    variables = random_variables(module, inputs)
    expected, gates = by_hand(variables["params"], inputs, gate)
    assert variables["params"]["fc2"]["kernel"].shape == (4, count * 8)
    y, found = run(module, variables, inputs)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert found.shape == (3, count, 8)
    np.testing.assert_allclose(found, gates, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 8), (3, 2, 5, 4, 8)])
def test_any_number_of_positions_axes(shape):
    inputs, module = some_inputs(2, shape), MultiInputSE()
    variables = random_variables(module, inputs)
    expected, _ = by_hand(variables["params"], inputs)
    np.testing.assert_allclose(run(module, variables, inputs)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("use_bias", [True, False])
def test_of_one_input_it_is_the_se_block(use_bias):
    (x,) = some_inputs(1)
    module, se = MultiInputSE(use_bias=use_bias), SEBlock(reduction=2, use_bias=use_bias)
    variables = se.init(jax.random.key(0), x)
    same = module.init(jax.random.key(0), (x,))
    jax.tree.map(np.testing.assert_array_equal, same, variables)
    np.testing.assert_array_equal(module.apply(variables, (x,)), se.apply(variables, x))


@pytest.mark.parametrize(("count", "parameters"), [(2, 98_944), (3, 131_968)])
def test_it_has_the_parameters_of_its_formula(count, parameters):
    inputs = [jax.ShapeDtypeStruct((1, 2, 2, 256), np.float32)] * count
    shapes = jax.eval_shape(MultiInputSE().init, jax.random.key(0), inputs)
    assert sum(p.size for p in jax.tree.leaves(shapes)) == parameters


@pytest.mark.parametrize("count", [2, 4])
def test_logits_of_zero_give_half_of_the_sum_or_the_mean(count):
    inputs = some_inputs(count)
    variables = random_variables(MultiInputSE(), inputs)
    variables["params"]["fc2"] = jax.tree.map(jnp.zeros_like, variables["params"]["fc2"])
    half, mean = (run(MultiInputSE(gate=g), variables, inputs)[0] for g in ("sigmoid", "softmax"))
    np.testing.assert_allclose(half, sum(inputs) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean, sum(inputs) / count, rtol=1e-5, atol=1e-6)


def test_sigmoids_may_take_all_or_nothing_and_a_softmax_takes_one():
    inputs = some_inputs(3)
    variables = random_variables(MultiInputSE(), inputs)
    bias = variables["params"]["fc2"]["bias"]
    for step, share in ((1e4, 3), (-1e4, 0)):
        variables["params"]["fc2"]["bias"] = bias + step
        weighed = run(MultiInputSE(), variables, inputs)[1]
        np.testing.assert_allclose(weighed.sum(axis=1), share, atol=1e-6)
        selected = run(MultiInputSE(gate="softmax"), variables, inputs)[1]
        np.testing.assert_allclose(selected.sum(axis=1), 1, atol=1e-6)


def test_one_vector_added_to_all_logits_changes_sigmoids_alone():
    inputs, shift = some_inputs(3), jnp.linspace(0.5, 2, 8)
    variables = random_variables(MultiInputSE(), inputs)
    before = [run(MultiInputSE(gate=g), variables, inputs)[1] for g in ("softmax", "sigmoid")]
    variables["params"]["fc2"]["bias"] += jnp.tile(shift, 3)
    after = [run(MultiInputSE(gate=g), variables, inputs)[1] for g in ("softmax", "sigmoid")]
    np.testing.assert_allclose(after[0], before[0], rtol=1e-4, atol=1e-7)
    assert np.max(np.abs(after[1] - before[1])) > 0.05


def test_a_softmax_over_two_is_a_sigmoid_of_their_difference():
    inputs = some_inputs(2)
    variables = random_variables(MultiInputSE(), inputs)
    s = run(MultiInputSE(gate="identity"), variables, inputs)[1]
    g = run(MultiInputSE(gate="softmax"), variables, inputs)[1]
    np.testing.assert_allclose(g[:, 0], jax.nn.sigmoid(s[:, 0] - s[:, 1]), rtol=1e-5)
    np.testing.assert_allclose(g.sum(axis=1), 1, rtol=1e-6)


def test_equal_logits_weigh_the_sum():
    inputs, variables = some_inputs(3), random_variables(MultiInputSE(), some_inputs(1))
    one = variables["params"]["fc2"]
    tied = {"kernel": jnp.tile(one["kernel"], (1, 3)), "bias": jnp.tile(one["bias"], 3)}
    all_tied = {"params": variables["params"] | {"fc2": tied}}
    expected = SEBlock(reduction=2).apply(variables, sum(inputs))
    found = run(MultiInputSE(), all_tied, inputs)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_permuted_inputs_permute_the_second_layer_alone():
    inputs, order = some_inputs(3), (2, 0, 1)
    variables = random_variables(MultiInputSE(), inputs)

    def permute(values):
        parts = jnp.split(values, 3, axis=-1)
        return jnp.concatenate([parts[i] for i in order], axis=-1)

    fc2 = jax.tree.map(permute, variables["params"]["fc2"])
    permuted = {"params": variables["params"] | {"fc2": fc2}}
    found = run(MultiInputSE(), permuted, [inputs[i] for i in order])[0]
    np.testing.assert_allclose(
        found, run(MultiInputSE(), variables, inputs)[0], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_deferred_inputs_mean_the_same(count):
    r = np.random.default_rng(0)
    maps = [
        AffineMap(x, *(jnp.asarray(r.normal(size=s), jnp.float32) for s in ((1, 8), (3, 8))))
        for x in some_inputs(count)
    ]
    arrays = [finish(u, act=None) for u in maps]
    variables = random_variables(MultiInputSE(), arrays)
    found = run(MultiInputSE(), variables, maps)[0]
    assert isinstance(found, AffineMap) == (count == 1)
    expected = run(MultiInputSE(), variables, arrays)[0]
    np.testing.assert_allclose(finish(found, act=None), expected, rtol=1e-5, atol=1e-5)


def test_a_deferred_and_a_computed_input_go_together():
    x, y = some_inputs(2)
    variables = random_variables(MultiInputSE(), (x, y))
    deferred = AffineMap(x, jnp.ones((1, 8)), jnp.zeros((1, 8)))
    found = run(MultiInputSE(), variables, (deferred, y))[0]
    np.testing.assert_allclose(
        found, run(MultiInputSE(), variables, (x, y))[0], rtol=1e-5, atol=1e-6
    )


def test_gates_are_float32_for_bfloat16_features():
    inputs = some_inputs(2, dtype=jnp.bfloat16)
    variables = random_variables(MultiInputSE(), inputs)
    y, gates = run(MultiInputSE(), variables, inputs)
    assert y.dtype == jnp.bfloat16
    assert gates.dtype == jnp.float32
    expected, _ = by_hand(variables["params"], inputs)
    assert np.max(np.abs(np.asarray(y, np.float64) - expected)) < 0.05  # 8 bits of values up to 4


@pytest.mark.parametrize(
    ("module", "inputs", "sentence"),
    [
        (MultiInputSE(), jnp.ones((2, 3, 4, 4, 8)), r"one array, expected a sequence.*tuple\(x\)"),
        (MultiInputSE(), (), r"shapes \(none\), expected one or more"),
        (
            MultiInputSE(),
            (jnp.ones((1, 4, 4, 8)), jnp.ones((1, 2, 2, 8))),
            r"shapes \(1, 4, 4, 8\), \(1, 2, 2, 8\), expected .* equal",
        ),
        (MultiInputSE(gate="softmax"), (jnp.ones((1, 4, 4, 8)),), "softmax' of a single input"),
        (MultiInputSE(gate="step"), (jnp.ones((1, 4, 4, 8)),), "Unknown gate 'step'"),
        (
            MultiKernelConv(kernel_sizes=(3, 4)),
            jnp.ones((1, 4, 4, 8)),
            r"\(3, 4\), expected .* odd",
        ),
        (MultiKernelConv(arrangement="tree"), jnp.ones((1, 4, 4, 8)), "arrangement 'tree': exp"),
        (MultiDense(), jnp.ones((1, 4, 4, 8)), r"\(1, 4, 4, 8\), expected vectors"),
    ],
)
def test_wrong_inputs_get_a_sentence(module, inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        module.init(jax.random.key(0), inputs)


# ---- layers that make the inputs ----


def attended(params, inputs, name):
    return by_hand(params[name], inputs)[0]


def arranged(variables, arrangement, layer, x, count):
    """The three arrangements from their description."""
    params = variables["params"]
    if arrangement == "weighted":
        return attended(params, [layer(i, x) for i in range(1, count + 1)], "se")
    if arrangement == "parallel":
        return sum(attended(params, [layer(i, x)], f"se{i}") for i in range(1, count + 1))
    for i in range(1, count + 1):
        x = attended(params, [layer(i, x)], f"se{i}")
    return x


ARRANGEMENTS = ("weighted", "parallel", "serial")


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_convolutions_of_several_sizes_compute_their_arrangement(arrangement):
    (x,) = some_inputs(1, (2, 9, 7, 8))
    module = MultiKernelConv(
        features=12,
        strides=2,
        groups=4,
        kernel_sizes=(3, 1, 5),
        arrangement=arrangement,
        norm=BatchNorm(use_running_average=True),
    )
    variables = random_variables(module, x)

    def layer(i, x):
        params, statistics = variables["params"], variables["batch_stats"][f"bn{i}"]
        strides = 1 if arrangement == "serial" and i > 1 else 2
        y = convolve(x, params[f"conv{i}"], strides, groups=4)
        return relu(normalise(y, params[f"bn{i}"], statistics))

    expected = arranged(variables, arrangement, layer, x, 3)
    assert expected.shape == (2, 5, 4, 12)
    names = {"se"} if arrangement == "weighted" else {"se1", "se2", "se3"}
    layers = {f"{name}{i}" for name in ("conv", "bn") for i in (1, 2, 3)}
    assert set(variables["params"]) == layers | names
    np.testing.assert_allclose(run(module, variables, x)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_dense_layers_compute_their_arrangement(arrangement):
    (x,) = some_inputs(1, (5, 8))
    norm = BatchNorm(use_running_average=True)
    module = MultiDense(features=6, branches=2, arrangement=arrangement, norm=norm)
    variables = random_variables(module, x)

    def layer(i, x):
        params = variables["params"]
        y = x @ np.asarray(params[f"fc{i}"]["kernel"], np.float64)
        return relu(normalise(y, params[f"bn{i}"], variables["batch_stats"][f"bn{i}"]))

    expected = arranged(variables, arrangement, layer, np.asarray(x, np.float64), 2)
    np.testing.assert_allclose(run(module, variables, x)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arrangement", ["weighted", "serial"])
def test_every_parameter_learns(arrangement):
    (x,) = some_inputs(1, (4, 5, 4, 8))
    module = MultiKernelConv(arrangement=arrangement)
    variables = random_variables(module, x)

    @jax.jit
    def gradients(params):
        def loss(params):
            y, updates = module.apply({**variables, "params": params}, x, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y)), updates

        return jax.grad(loss, has_aux=True)(params)

    found, updates = gradients(variables["params"])
    assert all(np.isfinite(g).all() and np.any(g) for g in jax.tree.leaves(found))
    moved = jax.tree.map(
        lambda a, b: np.any(a != b), updates["batch_stats"], variables["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


def test_templates_compare_equal_and_can_be_told_apart():
    assert hash(MultiKernelConv()) == hash(MultiKernelConv())
    assert MultiKernelConv() == MultiKernelConv()
    assert MultiKernelConv() != MultiKernelConv(attention=MultiInputSE(gate="softmax"))
