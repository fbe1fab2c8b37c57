"""Learning rates and optimizers against formulas and NumPy."""

import math

import jax
import numpy as np
import pytest

from senet_jax import create_model
from tests.train import small
from train.optimizer import OPTIMIZERS, SCHEDULES, decayed, make_optimizer, make_schedule

STEPS_PER_EPOCH = 10


def rates(count=100, **fields):
    fields = {"schedule.epochs": 10, "schedule.learning_rate": 0.4, "data.batch_size": 128} | fields
    schedule = make_schedule(small.config(**fields), STEPS_PER_EPOCH)
    return np.array([schedule(step) for step in range(count)])


@pytest.mark.parametrize("warmup", [0, 1, 20])
def test_cosine_after_a_linear_warm_up(warmup):
    expected = [
        0.2 * (k + 1) / warmup
        if k < warmup
        else 0.1 * (1 + math.cos(math.pi * (k - warmup) / (100 - warmup)))
        for k in range(100)
    ]
    got = rates(**{"schedule.warmup_epochs": warmup / STEPS_PER_EPOCH})
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-8)


def test_steps_at_the_milestones():
    got = rates(
        **{"schedule.name": "step", "schedule.milestones": (3, 6), "schedule.warmup_epochs": 0.0}
    )
    np.testing.assert_allclose(got, np.repeat([0.2, 0.02, 0.002], [30, 30, 40]), rtol=1e-5)


def test_the_rate_grows_with_the_batch():
    np.testing.assert_allclose(rates(**{"data.batch_size": 512}), 4 * rates(), rtol=1e-6)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_is_a_function_of_a_traced_step(name):
    schedule = make_schedule(small.config(**{"schedule.name": name}), STEPS_PER_EPOCH)
    np.testing.assert_allclose(jax.jit(schedule)(np.int32(123)), schedule(123), rtol=1e-6)


@pytest.mark.parametrize("name", ["seresnet20", "seresnet50"])
def test_weight_decay_spares_biases_and_norms(name):
    """On the real tree: kernels of convolutions, of the classifier and of SE, and nothing else."""
    model = create_model(name)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    mask = jax.tree_util.tree_leaves_with_path(decayed(shapes["params"]))
    names = {True: set(), False: set()}
    for path, is_decayed in mask:
        names[is_decayed].add((path[-2].key.rstrip("0123456789"), path[-1].key))
    assert names[True] == {("conv", "kernel"), ("fc", "kernel")} | (
        {("shortcut_conv", "kernel")} & names[True]
    )
    assert {("bn", "scale"), ("bn", "bias"), ("fc", "bias")} <= names[False]
    assert {leaf for _, leaf in names[False]} == {"scale", "bias"}


def test_attention_can_be_left_out_of_the_decay():
    model = create_model("seresnet20", placement=("standard", "3x3"))
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    masks = (decayed(shapes["params"], attention) for attention in (True, False))
    pairs = zip(*map(jax.tree_util.tree_leaves_with_path, masks), strict=True)
    changed = {path[-3].key for (path, before), (_, after) in pairs if before != after}
    assert changed == {"se_standard", "se_3x3"}


def descend(name, steps=4, **fields):
    """Parameters after some steps down sum(kernel^4 + bias^4) / 4."""
    config = small.config(**{"optimizer.name": name, "optimizer.weight_decay": 0.1} | fields)
    optimizer = make_optimizer(config)
    params = {"kernel": np.array([[1.0, -2.0]], np.float32), "bias": np.array([0.5], np.float32)}
    state = optimizer.init(params)
    for step in range(steps):
        updates, state = optimizer.update(jax.tree.map(lambda p: p**3, params), state, params)
        params = jax.tree.map(lambda p, u, k=step: p - 0.1 / (1 + k) * u, params, updates)
    return params


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_that_of_the_textbook(momentum, nesterov):
    """Decay is added to the gradient of kernels, before the momentum."""
    got = descend("sgd", **{"optimizer.momentum": momentum, "optimizer.nesterov": nesterov})
    for name, p, decay in (
        ("kernel", np.array([[1.0, -2.0]]), 0.1),
        ("bias", np.array([0.5]), 0.0),
    ):
        v = 0
        for k in range(4):
            g = p**3 + decay * p
            v = momentum * v + g
            p = p - 0.1 / (1 + k) * (g + momentum * v if nesterov and momentum else v)
        np.testing.assert_allclose(got[name], p, rtol=1e-5)


def test_adamw_is_that_of_the_paper():
    """arXiv 1711.05101, algorithm 2, with the decay scaled by the learning rate, for kernels."""
    got = descend("adamw")
    for name, p, decay in (
        ("kernel", np.array([[1.0, -2.0]]), 0.1),
        ("bias", np.array([0.5]), 0.0),
    ):
        m = v = 0
        for k in range(4):
            g = p**3
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            step = m / (1 - 0.9 ** (k + 1)) / (np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8)
            p = p - 0.1 / (1 + k) * (step + decay * p)
        np.testing.assert_allclose(got[name], p, rtol=1e-5)


def test_lambs_step_is_as_long_as_its_variable():
    """arXiv 1904.00962: one step from rest, where Adam's is the sign, is p - rate |p| u / |u|."""
    got = descend("lamb", steps=1)
    for name, p, decay in (("kernel", np.array([[1.0, -2.0]]), 0.1), ("bias", np.array([0.5]), 0)):
        u = np.sign(p) + decay * p
        expected = p - 0.1 * np.linalg.norm(p) * u / np.linalg.norm(u)
        np.testing.assert_allclose(got[name], expected, rtol=1e-5)


def test_a_long_gradient_is_shortened_and_a_short_one_is_not():
    free = {"optimizer.momentum": 0.0, "optimizer.weight_decay": 0.0}
    g = {"kernel": np.array([[1.0, -8.0]]), "bias": np.array([0.125])}
    norm = np.sqrt(sum(np.sum(x**2) for x in g.values()))
    clipped = descend("sgd", steps=1, **free, **{"optimizer.clip_norm": 1.0})
    np.testing.assert_allclose(clipped["kernel"], [[1, -2] - 0.1 * g["kernel"][0] / norm], 1e-5)
    whole = descend("sgd", steps=1, **free, **{"optimizer.clip_norm": 100.0})
    np.testing.assert_allclose(whole["kernel"], [[1, -2]] - 0.1 * g["kernel"], 1e-5)


def test_adaptive_clipping_goes_by_the_size_of_each_unit_but_for_the_head():
    config = small.config(
        **{
            "optimizer.clip_adaptive": 0.1,
            "optimizer.momentum": 0.0,
            "optimizer.weight_decay": 0.0,
        }
    )
    kernel = np.array([[3.0, 0.3], [4.0, 0.4]], np.float32)  # units of norm 5 and 0.5
    params = {name: {"fc": {"kernel": kernel}} for name in ("stage1", "head")}
    gradients = jax.tree.map(lambda p: np.full_like(p, 0.2), params)  # of norm 0.28
    optimizer = make_optimizer(config)
    got, _ = optimizer.update(gradients, optimizer.init(params), params)
    expected = np.array([[0.2, 0.05 / np.sqrt(2)]] * 2)
    np.testing.assert_allclose(got["stage1"]["fc"]["kernel"], expected, rtol=1e-5)
    np.testing.assert_array_equal(got["head"]["fc"]["kernel"], gradients["head"]["fc"]["kernel"])


def test_the_tables_hold_what_is_promised():
    assert {"sgd", "adamw", "lamb"} <= OPTIMIZERS.keys()
    assert {"cosine", "step"} <= SCHEDULES.keys()
