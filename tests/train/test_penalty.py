"""Penalties by closed forms, and what they do to a network that trains."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from senet_jax import attention_weights, create_model
from tests.train import small
from train.penalty import (
    Penalty,
    check_penalty,
    gate_penalty,
    make_penalty,
    scale_penalty,
    shrunk_scales,
)
from train.step import model_inputs, train_step

STEPS = 60


def recipe(penalty, **changes):
    """Of one block."""
    model = create_model("seresnet20", stage_sizes=(1,), num_classes=small.CLASSES)
    return small.recipe(model=model, penalty=penalty, **changes)


@pytest.fixture(scope="module")
def sown():
    """Gates of three blocks, one with maps of gates."""
    random = np.random.default_rng(0)
    shapes = {"stage1": (4, 6), "stage2": (4, 10), "stage3": (4, 3, 3, 2)}
    gates = {stage: random.uniform(size=shape) for stage, shape in shapes.items()}
    return {stage: {"block1": {"se": {"gates": (g,)}}} for stage, g in gates.items()}, gates


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", lambda m, blocks: m),
        ("hinge", lambda m, blocks: max(0, m - 0.3)),
        ("target", lambda m, blocks: (m - 0.3) ** 2),
        (
            "relative",
            lambda m, blocks: np.mean(
                [g.sum() / np.linalg.norm(g) / np.sqrt(g.size) for g in blocks]
            ),
        ),
    ],
)
def test_values_are_those_of_numpy(sown, name, expected):
    intermediates, gates = sown
    blocks = [g.reshape(-1, g.shape[-1]).mean(axis=0) for g in gates.values()]
    mean = np.mean([block.mean() for block in blocks])
    value, mean_gate = gate_penalty(Penalty(name, 1.0, rate=0.3), intermediates)
    np.testing.assert_allclose(value, expected(mean, blocks), rtol=1e-5)
    np.testing.assert_allclose(mean_gate, mean, rtol=1e-6)
    polarised, _ = gate_penalty(Penalty(name, 1.0, 0.3, polarisation=0.5), intermediates)
    undecided = np.mean([(g * (1 - g)).mean() for g in gates.values()])
    np.testing.assert_allclose(polarised, value + 0.5 * undecided, rtol=1e-5)


def test_the_relative_penalty_does_not_see_a_factor_of_a_block(sown):
    intermediates, gates = sown
    scaled = {
        stage: {"block1": {"se": {"gates": (g * factor,)}}}
        for (stage, g), factor in zip(gates.items(), (0.1, 3.0, 0.5), strict=True)
    }
    penalty = Penalty("relative", 1.0)
    value, _ = gate_penalty(penalty, intermediates)
    np.testing.assert_allclose(gate_penalty(penalty, scaled)[0], value, rtol=1e-5)


def test_the_relative_penalty_of_shut_gates_is_zero_and_leaves_them():
    def value(x):
        gates = jax.nn.relu(x * jnp.ones((2, 4)))
        return gate_penalty(Penalty("relative", 1.0), {"block1": {"se": {"gates": (gates,)}}})[0]

    assert jax.value_and_grad(value)(-1.0) == (0, 0)


def test_the_weight_grows_linearly_in_the_warm_up():
    penalty = Penalty("l1", 3.0, warmup=4)
    np.testing.assert_allclose(penalty.weight_at(jnp.arange(6)), [0.75, 1.5, 2.25, 3, 3, 3])
    assert Penalty("l1", 3.0).weight_at(jnp.array(0)) == 3


@partial(jax.jit, static_argnums=0)
def step(mine, weight, rate, state, batch):
    """With weight and rate as arguments, so that what differs in them is compiled once."""
    penalty = replace(mine.penalty, weight=weight, rate=rate)
    return train_step(replace(mine, penalty=penalty), state, batch)


@pytest.fixture(scope="module")
def hinged():
    """Without momentum, which goes on after a hinge. At rate 0 a hinge is l1."""
    return recipe(Penalty("hinge", 1.0), optimizer=optax.identity())


def mean_gates_while_training(mine, weight, rate):
    """After each of some steps, and the mean gate of the network at the end."""
    state = small.state_of(mine)
    means = []
    for k in range(STEPS):
        state, metrics = step(mine, weight, rate, state, small.batch(seed=k))
        means.append(float(metrics["mean_gate"]))
    images = model_inputs(small.batch()["image"], mine.mean, mine.std)
    gates = attention_weights(mine.model, state.variables, images)
    return means, float(np.mean([g.mean() for g in gates.values()]))


def test_the_mean_gate_falls_with_the_weight(hinged):
    """l1 pulls on and on; half is where it begins."""
    less, most = (mean_gates_while_training(hinged, weight, 0.0)[1] for weight in (3.0, 30.0))
    assert less < 0.46
    assert most < less - 0.3


def test_a_hinge_ends_its_pull_at_the_rate(hinged):
    """With a weight with which l1 presses the gates much further."""
    means, measured = mean_gates_while_training(hinged, 30.0, 0.35)
    np.testing.assert_allclose(means[0], 0.49, atol=0.01)
    np.testing.assert_allclose(means[-10:], 0.35, atol=0.03)
    np.testing.assert_allclose(measured, means[-1], atol=0.05)  # another batch, running statistics


def test_slimming_adds_its_weight_times_the_sign_of_each_scale_to_the_gradient():
    mine = recipe(Penalty("slimming", 1.0), optimizer=small.keeps_gradients())
    state = small.state_of(mine)
    norm = state.params["stage1"]["block1"]["bn1"]
    norm["scale"] = norm["scale"].at[:3].set(jnp.array([-1, 0, 2]))
    found = [step(mine, weight, 0.0, state, small.batch()) for weight in (0.0, 0.25)]
    plain, slimmed = (
        traverse_util.flatten_dict(after.opt_state, sep="/") for after, _ in found
    )  # gradients
    params = traverse_util.flatten_dict(state.params, sep="/")
    for path in plain:
        added = 0.25 * np.sign(params[path]) if path.endswith("scale") else 0
        np.testing.assert_allclose(slimmed[path] - plain[path], added, atol=2e-6)
    total = sum(np.abs(p).sum() for path, p in params.items() if path.endswith("scale"))
    np.testing.assert_allclose(found[1][1]["penalty"], 0.25 * total, rtol=1e-5)


def test_the_proximal_step_gives_exact_zeros():
    """The step's rate is 0.05: of scales of 1 less than 0.25 is left by a weight of 15."""
    mine = recipe(Penalty("slimming_proximal", 15.0, warmup=2))
    state = small.state_of(mine)
    state, _ = step(mine, 15.0, 0.0, state, small.batch())  # half of the weight
    scale = np.asarray(state.params["stage1"]["block1"]["bn1"]["scale"])
    assert (scale > 0.5).all()
    state, _ = step(mine, 15.0, 0.0, state, small.batch())
    after = np.asarray(state.params["stage1"]["block1"]["bn1"]["scale"])
    assert (after == 0).any() and (after >= 0).all()


def test_soft_thresholding_leaves_what_is_no_batch_norm():
    params = {"bn": {"scale": jnp.array([-0.5, 0.1, 2.0])}, "ln": {"scale": jnp.array([0.1])}}
    batch_stats = {"bn": {"mean": jnp.zeros(3)}}
    after = shrunk_scales(params, batch_stats, jnp.array(0.2))
    np.testing.assert_allclose(after["bn"]["scale"], [-0.3, 0, 1.8], rtol=1e-6)
    assert after["ln"]["scale"] == np.float32(0.1)
    np.testing.assert_allclose(scale_penalty(params, batch_stats), 2.6, rtol=1e-6)


def test_without_a_penalty_nothing_is_asked_of_the_network():
    assert make_penalty(small.config(), 10) is None
    given = make_penalty(
        small.config(**{"penalty.name": "l1", "penalty.weight": 2.0, "penalty.warmup_epochs": 1.5}),
        steps_per_epoch=10,
    )
    assert given == Penalty("l1", 2.0, rate=0.25, warmup=15)


def test_a_network_without_gates_is_refused():
    plain = create_model("seresnet20", stage_sizes=(1,), num_classes=10, attention=None)
    with pytest.raises(ValueError, match="'hinge', which is of gates, and the network has none"):
        check_penalty(Penalty("hinge", 1.0), plain, small.IMAGE_SHAPE)
    check_penalty(Penalty("slimming", 1.0), plain, small.IMAGE_SHAPE)
    check_penalty(Penalty("hinge", 1.0), recipe(None).model, small.IMAGE_SHAPE)
    check_penalty(None, plain, small.IMAGE_SHAPE)
