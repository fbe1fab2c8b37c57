"""Steps that are not finite: skipped, counted, and in the end explained."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import create_model
from tests.train import small
from train.augment import AugmentOptions
from train.divergence import Watch, account, culprit
from train.errors import Diverged
from train.step import train_step


@pytest.fixture(scope="module")
def recipe():
    model = create_model("seresnet20", stage_sizes=(1,), num_classes=small.CLASSES)
    return small.recipe(model=model, augment=AugmentOptions())


@pytest.fixture(scope="module")
def state(recipe):
    return jax.jit(partial(small.state_of, recipe))()


def poisoned(state, *path):
    """With one parameter that is nan."""
    params = jax.tree.map(lambda x: x, state.params)
    group = params
    for name in path[:-1]:
        group = group[name]
    group[path[-1]] = group[path[-1]].at[..., 0].set(jnp.nan)
    return state.replace(params=params)


def test_a_step_that_is_not_finite_changes_the_count_of_steps_alone(recipe, state):
    step = jax.jit(partial(train_step, recipe))
    broken = poisoned(state, "head", "fc", "bias")
    after, metrics = step(broken, small.batch())
    assert metrics["skipped"] == 1
    small.assert_same_bits(after.replace(step=state.step), broken)
    assert int(after.step) == 1
    after, metrics = step(state, small.batch())
    assert metrics["skipped"] == 0
    moved = small.leaves(after.params)["['head']['fc']['bias']"]
    assert np.abs(moved).max() > 0


def test_so_many_in_a_row_are_too_many():
    watch = Watch(limit=3)
    seen = [{"step": k, "skipped": float(s)} for k, s in enumerate((1, 1, 0, 1, 1), start=1)]
    watch.see(seen[:4])
    watch.see(seen[4:])
    with pytest.raises(Diverged) as end:
        watch.see([{"step": 6, "skipped": 1.0}, {"step": 7, "skipped": 1.0}])
    assert (end.value.first, end.value.last) == (4, 7)


def test_what_was_over_when_it_was_seen_is_over():
    watch = Watch(limit=3)
    watch.see([{"step": k, "skipped": float(k < 5)} for k in range(1, 7)])


def test_one_can_be_too_many():
    with pytest.raises(Diverged):
        Watch(limit=1).see([{"step": 1, "skipped": 1.0}])


def test_variables_that_are_not_finite_are_the_culprit(recipe, state):
    broken = poisoned(state, "stage1", "block1", "conv1", "kernel")
    told = culprit(recipe, broken, small.batch())
    assert told == "the variables themselves: params/stage1/block1/conv1/kernel"


def test_the_first_module_to_overflow_is_the_culprit(recipe, state):
    params = jax.tree.map(lambda x: x, state.params)
    params["stage1"]["block1"]["bn2"]["scale"] += 3e38  # finite, but not times what it scales
    told = culprit(recipe, state.replace(params=params), small.batch())
    assert told == "the output of stage1/block1/bn2"


def test_a_loss_of_finite_logits_can_be_it(recipe, state):
    broken = replace(recipe, loss=lambda logits, targets: jnp.log(0 * logits[:, 0]))
    assert culprit(broken, state, small.batch()) == "the loss, of finite logits"


def test_where_all_is_well_it_says_so(recipe, state):
    assert culprit(recipe, state, small.batch()).startswith("nothing, when this step was done")


def test_the_account_is_given_of_networks_that_compute_blocks_again(recipe, state):
    again = replace(recipe, model=recipe.model.clone(remat=True))
    end = Diverged(3, 12)
    broken = poisoned(state, "head", "fc", "bias").replace(step=jnp.int32(12))
    told = account(end, again, broken, small.batch())
    assert "in steps 3 to 12" in told and "params/head/fc/bias" in told
