"""What fine-tuning leaves as it is, and how fast the rest learns."""

from functools import partial

import jax
import numpy as np
import pytest

from senet_jax import create_model
from tests.train import small
from train.errors import WrongInput
from train.freezing import check_frozen, is_frozen, rates
from train.penalty import Penalty
from train.step import train_step

FROZEN = ("stem", "stage1/block1")


def test_names_are_of_whole_parts():
    assert is_frozen(("stage1", "block1", "conv1", "kernel"), FROZEN)
    assert is_frozen(("stem", "bn1"), FROZEN)
    assert not is_frozen(("stage1", "block10", "conv1"), FROZEN)
    assert not is_frozen(("stage1",), FROZEN)
    assert not is_frozen(("stem2", "conv1"), FROZEN)


@pytest.fixture(scope="module")
def trained():
    """States before and after three steps with weight decay and momentum."""
    model = create_model("seresnet20", stage_sizes=(2, 1), num_classes=small.CLASSES)
    factors = partial(rates, frozen=FROZEN, layer_decay=0.5, head_rate=3.0)
    recipe = small.recipe(model=model, frozen=FROZEN, rates=factors)
    before = jax.jit(partial(small.state_of, recipe))()
    step = jax.jit(partial(train_step, recipe))
    after = before
    for k in range(3):
        after, metrics = step(after, small.batch(seed=k))
    return before, after, metrics


@pytest.mark.parametrize("collection", ["params", "batch_stats"])
def test_frozen_parts_keep_every_bit_and_the_others_move(trained, collection):
    before, after = (small.leaves(state.variables[collection]) for state in trained[:2])
    for path in before:
        still = before[path].tobytes() == after[path].tobytes()
        frozen = path.startswith(("['stem']", "['stage1']['block1']"))
        assert still == frozen, path


def test_averages_and_gradients_leave_them_out(trained):
    _, after, metrics = trained
    frozen = after.ema["params"]["stem"]
    small.assert_same_bits(frozen, after.params["stem"])
    assert np.isfinite(metrics["gradient_norm"])


def test_frozen_norms_use_their_running_statistics():
    """So that a network whose every norm is frozen computes in training what it does after."""
    model = create_model("seresnet20", stage_sizes=(1, 1), num_classes=small.CLASSES)
    plain = small.recipe(model=model, ema_decay=0.0, augment=type(small.recipe().augment)())
    state = jax.jit(partial(small.state_of, plain))()
    batch = small.batch()
    frozen = small.recipe(
        model=model,
        ema_decay=0.0,
        augment=plain.augment,
        frozen=("stem", "stage1", "stage2"),
        label_smoothing=0.0,
    )
    _, metrics = jax.jit(partial(train_step, frozen))(state, batch)
    images = (batch["image"] / np.float32(255) - 0.3) / 0.4
    logits = model.apply(state.variables, images.astype(np.float32), train=False)
    log_p = jax.nn.log_softmax(logits)[np.arange(32), batch["label"]]
    np.testing.assert_allclose(metrics["loss"], -log_p.sum(), rtol=1e-5)


def test_rates_fall_from_the_head_to_the_stem():
    model = create_model("seresnet20", stage_sizes=(2, 1))
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    found = rates(shapes["params"], frozen=("stage1/block2",), layer_decay=0.5, head_rate=3.0)
    assert set(jax.tree.leaves(found["stem"])) == {0.125}
    assert set(jax.tree.leaves(found["head"])) == {3.0}
    assert set(jax.tree.leaves(found["stage2"]["block1"])) == {1.0}
    assert set(jax.tree.leaves(found["stage1"]["block2"])) == {0.0}  # frozen, would be 0.5
    assert set(jax.tree.leaves(found["stage1"]["block1"])) == {0.25}


def test_ten_blocks_are_in_the_order_of_their_numbers():
    params = {f"block{i}": {"kernel": 0} for i in range(1, 12)}
    found = rates({"stage1": params, "head": {}, "stem": {"k": 0}}, (), 0.5, 1.0)["stage1"]
    assert [found[f"block{i}"]["kernel"] for i in range(11, 0, -1)] == [0.5**i for i in range(11)]


def test_parts_that_are_not_there_are_told():
    params = {"stem": {"kernel": 0}, "head": {"kernel": 0}}
    with pytest.raises(WrongInput, match=r"frozen has 'stage9'.*expected names like head, stem"):
        check_frozen(("stem", "stage9"), params)
    with pytest.raises(WrongInput, match="leaves nothing to train"):
        check_frozen(("stem", "head"), params)
    check_frozen(("stem",), params)


@pytest.mark.parametrize("name", ["slimming", "slimming_proximal"])
def test_no_penalty_moves_what_is_frozen(name):
    recipe = small.recipe(frozen=("stem",), penalty=Penalty(name, 1.0))
    state = jax.jit(partial(small.state_of, recipe))()
    after, _ = jax.jit(partial(train_step, recipe))(state, small.batch())
    small.assert_same_bits(after.params["stem"], state.params["stem"])
    moved = after.params["stage1"]["block1"]["bn1"]["scale"]
    assert np.abs(moved - state.params["stage1"]["block1"]["bn1"]["scale"]).min() > 0
