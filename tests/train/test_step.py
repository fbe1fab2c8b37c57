"""A step against NumPy, and what it may depend on."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from tests.train import small
from train.losses import binary_cross_entropy, cross_entropy, targets_of
from train.step import eval_step, moved_average, train_step


@pytest.fixture(scope="module")
def recipe():
    return small.recipe()


@pytest.fixture(scope="module")
def step(recipe):
    return jax.jit(partial(train_step, recipe))


@pytest.fixture(scope="module")
def state(recipe):
    return jax.jit(partial(small.state_of, recipe))()


@pytest.fixture(scope="module")
def scores(recipe):
    return jax.jit(partial(eval_step, recipe))


def test_training_lowers_the_loss_and_compiles_once(step, state, scores):
    losses = []
    for k in range(30):
        state, metrics = step(state, small.batch(seed=k % 2))
        losses.append(metrics["loss"] / metrics["count"])
    assert state.step == 30
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    assert step._cache_size() == 1


def test_seeds_share_one_compilation(step, state):
    """So that a sweep over seeds compiles once."""
    other = state.replace(seed=state.seed + 7)
    batch = small.batch()
    assert step.lower(state, batch).as_text() == step.lower(other, batch).as_text()
    assert state.seed.dtype == np.uint32


def test_metrics_are_sums_over_the_batch_by_numpy(recipe, step, state):
    plain = replace(recipe, augment=type(recipe.augment)())
    batch = small.batch()
    _, metrics = jax.jit(partial(train_step, plain))(state, batch)
    images = (batch["image"] / np.float32(255) - 0.3) / 0.4
    logits, _ = plain.model.apply(
        state.variables, images.astype(np.float32), train=True, mutable=["batch_stats"]
    )
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    target = 0.9 * np.eye(small.CLASSES)[batch["label"]] + 0.1 / small.CLASSES
    np.testing.assert_allclose(metrics["loss"], -(target * log_p).sum(), rtol=1e-5)
    assert metrics["correct"] == (logits.argmax(axis=-1) == batch["label"]).sum()
    assert metrics["count"] == 32
    assert metrics["learning_rate"] == np.float32(0.05)


def test_training_and_evaluation_have_the_same_loss(recipe, state, scores):
    """By NumPy, on what the model says of a batch."""
    batch = small.batch()
    sums = scores(state.variables, batch | {"mask": np.ones(32, np.float32)})
    images = (batch["image"] / np.float32(255) - 0.3) / 0.4
    logits = recipe.model.apply(state.variables, images.astype(np.float32), train=False)
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    target = 0.9 * np.eye(small.CLASSES)[batch["label"]] + 0.1 / small.CLASSES
    np.testing.assert_allclose(sums["loss"], -(target * log_p).sum(), rtol=1e-5)
    assert sums["correct"] == (logits.argmax(axis=-1) == batch["label"]).sum()


def test_smoothed_targets_sum_to_one():
    """For equal logits the loss is log(classes) whatever the smoothing."""
    targets = targets_of(np.array([3, 7]), 10, smoothing=0.3)
    np.testing.assert_allclose(cross_entropy(np.zeros((2, 10)), targets), np.log(10), rtol=1e-6)


def test_binary_cross_entropy_is_that_of_numpy():
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    targets = np.asarray(targets_of(np.array([0, 1, 2, 1, 0]), 3, smoothing=0.3))
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(axis=1)
    np.testing.assert_allclose(binary_cross_entropy(logits, targets), expected, rtol=1e-5)


def test_evaluation_leaves_padding_out(state, scores):
    batch = small.batch(16)
    images, labels = batch["image"], batch["label"]
    whole = scores(
        state.variables, {"image": images, "label": labels, "mask": np.ones(16, np.float32)}
    )
    padded = {
        "image": np.concatenate([images[:11], np.full_like(images[:5], 255)]),
        "label": np.concatenate([labels[:11], np.zeros(5, np.int32)]),
        "mask": np.repeat(np.float32([1, 0]), [11, 5]),
    }
    rest = {
        "image": np.concatenate([images[11:], images[:11]]),
        "label": np.concatenate([labels[11:], labels[:11]]),
        "mask": np.repeat(np.float32([1, 0]), [5, 11]),
    }
    parts = [scores(state.variables, part) for part in (padded, rest)]
    assert [float(part["count"]) for part in parts] == [11, 5]
    jax.tree.map(
        lambda one, other, all: np.testing.assert_allclose(one + other, all, rtol=1e-5),
        *parts,
        whole,
    )
    assert whole["gates"].keys() == {"stage1/block1/se", "stage2/block1/se"}


def test_averages_follow_numpy_from_the_first_step_on(step, state):
    """Parameters and running statistics, with the decay's warm-up: (1 + k) / (10 + k) up to 0.9."""
    mine = small.leaves(state.variables)
    for k in range(4):
        state, _ = step(state, small.batch(seed=k))
        decay = min(0.9, (1 + k) / (10 + k))
        now = small.leaves(state.variables)
        mine = {path: decay * mine[path] + (1 - decay) * now[path] for path in mine}
        theirs = small.leaves(state.ema)
        for path in mine:
            np.testing.assert_allclose(theirs[path], mine[path], rtol=2e-5, atol=1e-7)
    assert not np.allclose(
        theirs["['params']['head']['fc']['kernel']"], now["['params']['head']['fc']['kernel']"]
    )


def test_the_decay_of_the_averages_reaches_its_value():
    average = moved_average({"w": np.float32(1)}, {"w": np.float32(0)}, np.int32(10_000), 0.99)
    np.testing.assert_allclose(average["w"], 0.99, rtol=1e-6)


def test_no_averages_are_kept_unless_asked_for(recipe):
    state = jax.eval_shape(partial(small.state_of, replace(recipe, ema_decay=0.0)))
    assert state.ema == {}


def test_random_changes_follow_from_seed_step_and_position(recipe, step, state):
    """The same images at other places, or at another step, are changed in another way."""
    batch = small.batch()
    _, first = step(state, batch)
    _, again = step(state, batch)
    _, moved = step(state, batch | {"position": batch["position"] + 1})
    _, later = step(state.replace(step=state.step + 1), batch)
    _, other = step(state.replace(seed=state.seed + 1), batch)
    assert first["loss"] == again["loss"]
    assert first["loss"] != moved["loss"]
    assert first["loss"] != later["loss"]
    assert first["loss"] != other["loss"]
    reordered = {name: values[::-1] for name, values in batch.items()}
    _, same = step(state, reordered)
    np.testing.assert_allclose(same["loss"], first["loss"], rtol=1e-5)
