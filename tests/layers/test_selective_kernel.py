"""Selective kernels: the formula, widths, counts, what a softmax over two promises."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax.layers import BatchNorm
from senet_jax.layers.selective_kernel import SelectiveKernel, hidden_width
from tests.models.by_hand import convolve, normalise, relu
from tests.models.twins import random_variables

NORM = BatchNorm(use_running_average=True)
# timm's SelectiveKernel(C): another width, one group, each convolution with half of the input
TIMM = dict(groups=1, split_input=True, divisor=8, least=0)


def some_features(shape=(3, 9, 7, 8), dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def run(module, variables, x):
    """The output and the gates, compiled as one program, which is faster than one by one."""
    y, sown = jax.jit(partial(module.apply, mutable=["intermediates"]))(variables, x)
    return y, sown["intermediates"]["gates"][0]


def with_holes(kernel, dilation):
    """The larger kernel that a dilated one is."""
    size = dilation * (kernel.shape[0] - 1) + 1
    larger = np.zeros((size, size, *kernel.shape[2:]))
    larger[::dilation, ::dilation] = kernel
    return larger


def by_hand(variables, x, kernel_sizes=(3, 5), strides=1, groups=1, keep_3x3=True, split=False):
    """In NumPy and float64: the output and the gates `[N, K, C]`."""
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    params, statistics = wide["params"], wide["batch_stats"]
    parts = np.split(x, len(kernel_sizes), axis=-1) if split else [x] * len(kernel_sizes)
    branches = []
    for i, (size, part) in enumerate(zip(kernel_sizes, parts, strict=True), 1):
        kernel = params[f"conv{i}"]["kernel"]
        if keep_3x3:
            assert kernel.shape[:2] == (3, 3)
            kernel = with_holes(kernel, (size - 1) // 2)
        y = convolve(part, {"kernel": kernel}, strides, groups)
        branches.append(relu(normalise(y, params[f"bn{i}"], statistics[f"bn{i}"])))
    z = sum(branches).mean(axis=(1, 2))
    hidden = relu(normalise(z @ params["fc1"]["kernel"], params["bn"], statistics["bn"]))
    logits = np.stack(np.split(hidden @ params["fc2"]["kernel"], len(kernel_sizes), axis=1))
    gates = np.exp(logits) / np.exp(logits).sum(axis=0)
    y = sum(g[:, None, None] * u for g, u in zip(gates, branches, strict=True))
    return y, gates.swapaxes(0, 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (dict(groups=2, strides=2), dict(groups=2, strides=2)),
        (dict(groups=1, split_input=True), dict(split=True)),
        (dict(groups=4, keep_3x3=False), dict(groups=4, keep_3x3=False)),
        (dict(groups=1, kernel_sizes=(3, 3, 7)), dict(kernel_sizes=(3, 3, 7))),
        (dict(groups=1, kernel_sizes=(5,), features=6), dict(kernel_sizes=(5,))),
    ],
)
def test_it_computes_the_papers_formula(options, told):
    x, module = some_features(), SelectiveKernel(norm=NORM, **options)
    variables = random_variables(module, x)
    y, found = run(module, variables, x)
    expected, gates = by_hand(variables, np.asarray(x, np.float64), **told)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found, gates, rtol=1e-4, atol=1e-6)


# max(C / 16, 32) of the paper; timm's: its modules', skresnet18's, and skresnext50's, which is the
# paper's as well
@pytest.mark.parametrize(
    ("channels", "paper", "module", "narrow"),
    [(64, 32, 8, 16), (128, 32, 8, 16), (256, 32, 16, 32), (512, 32, 32, 64), (1024, 64, 64, 128)],
)
def test_widths_are_the_published_ones(channels, paper, module, narrow):
    assert hidden_width(channels, 16) == paper
    assert hidden_width(channels, 16, divisor=32, least=0) == paper
    assert hidden_width(channels, 16, divisor=8, least=0) == module
    assert hidden_width(channels, 8, divisor=16, least=0) == narrow


# the attention's, 24,640 and 12,320, in C d + 2 d + K d C; timm's totals counted with timm 1.0.31
@pytest.mark.parametrize(
    ("options", "attention", "total"),
    [
        (dict(), 24_640, 24_640 + 2 * (9 * 256 * 8 + 2 * 256)),
        (TIMM, 12_320, 603_168),
        (TIMM | dict(split_input=False), 12_320, 1_192_992),
    ],
)
def test_it_has_its_published_parameters(options, attention, total):
    x = jax.ShapeDtypeStruct((2, 4, 4, 256), np.float32)
    params = jax.eval_shape(SelectiveKernel(**options).init, jax.random.key(0), x)["params"]
    count = lambda tree: sum(p.size for p in jax.tree.leaves(tree))
    assert count([params[name] for name in ("fc1", "bn", "fc2")]) == attention
    assert count(params) == total


def test_logits_of_zero_give_the_mean_of_the_branches():
    x, module = some_features(), SelectiveKernel(groups=1, norm=NORM)
    variables = random_variables(module, x)
    variables["params"]["fc2"]["kernel"] *= 0
    first, second = (
        run(module.clone(kernel_sizes=(size,)), alone_of(variables, i), x)[0]
        for i, size in ((1, 3), (2, 5))
    )
    expected = (first + second) / 2
    np.testing.assert_allclose(run(module, variables, x)[0], expected, rtol=1e-5, atol=1e-6)


def alone_of(variables, number):
    """Variables of one branch as those of a module with this branch alone, whose gates are 1."""
    params, statistics = variables["params"], variables["batch_stats"]
    half = {"kernel": params["fc2"]["kernel"][:, :8]}
    own = {"conv1": params[f"conv{number}"], "bn1": params[f"bn{number}"], "fc2": half}
    return {
        "params": {name: params[name] for name in ("fc1", "bn")} | own,
        "batch_stats": {"bn": statistics["bn"], "bn1": statistics[f"bn{number}"]},
    }


def test_one_vector_added_to_all_logits_changes_nothing():
    x, module = some_features(), SelectiveKernel(groups=1, norm=NORM)
    variables = random_variables(module, x)
    before = run(module, variables, x)[0]
    shift = jnp.asarray(np.random.default_rng(1).normal(size=(32, 8)), jnp.float32)
    variables["params"]["fc2"]["kernel"] += jnp.tile(shift, (1, 2))
    np.testing.assert_allclose(run(module, variables, x)[0], before, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns_and_every_statistic_moves():
    x, module = some_features((4, 5, 4, 8)), SelectiveKernel(groups=2)
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
    assert moved == {name: dict(mean=True, var=True) for name in ("bn", "bn1", "bn2")}


def test_gates_are_float32_for_bfloat16_features():
    x, module = some_features(dtype=jnp.bfloat16), SelectiveKernel(groups=1, norm=NORM)
    variables = random_variables(module, some_features())
    low = module.clone(conv=partial(module.conv, dtype=jnp.bfloat16))
    y, found = run(low, variables, x)
    assert y.dtype == jnp.bfloat16
    assert found.dtype == jnp.float32
    expected, _ = by_hand(variables, np.asarray(x, np.float64))
    assert np.max(np.abs(np.asarray(y, np.float64) - expected)) < 0.02 * np.max(expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(kernel_sizes=()), r"kernel_sizes=\(\).*expected one or more"),
        (dict(kernel_sizes=(3, 4)), r"\(3, 4\) with keep_3x3=True, expected .* odd"),
        (dict(kernel_sizes=(1, 3)), r"\(1, 3\) with keep_3x3=True, expected .* from 3 on"),
        (dict(kernel_sizes=(3, 5, 7), split_input=True), "cannot share 8 channels among 3"),
        (dict(), "32 groups do not divide both 8"),
    ],
)
def test_wrong_options_get_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        SelectiveKernel(**options).init(jax.random.key(0), some_features())
