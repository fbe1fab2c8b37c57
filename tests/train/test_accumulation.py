"""A batch in parts is the whole batch with ghost statistics."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from tests.train import small
from train.augment import AugmentOptions
from train.penalty import Penalty
from train.step import accumulated_gradients, train_step

PARTS = 4


def dealt(n, parts):
    """The places of a batch in the order of its parts: pairs are dealt like cards."""
    return np.arange(n).reshape(-1, parts, 2).swapaxes(0, 1).reshape(-1)


@pytest.fixture(scope="module")
def whole():
    """In one go, with as many groups of statistics; no image is changed at random."""
    recipe = small.recipe(augment=AugmentOptions(), penalty=Penalty("l1", 0.5))
    model = recipe.model
    return replace(recipe, model=model.clone(norm=model.norm.clone(groups=PARTS)))


def test_gradients_statistics_and_sums_are_those_of_the_whole(whole):
    state = jax.jit(partial(small.state_of, whole))()
    batch = small.batch(32)
    one = whole.model.clone(norm=whole.model.norm.clone(groups=1))
    in_parts = replace(whole, model=one, accumulate=PARTS)
    order = dealt(32, PARTS)
    expected = jax.jit(partial(accumulated_gradients, whole))(
        state, {name: x[order] for name, x in batch.items()}
    )
    got = jax.jit(partial(accumulated_gradients, in_parts))(state, batch)
    names = ("gradients", "statistics", "sums", "told")
    for name, a, b in zip(names, got, expected, strict=True):
        a, b = small.leaves(a), small.leaves(b)
        assert a.keys() == b.keys(), name
        floor = 1e-2 * max(np.abs(x).max() for x in b.values())
        for path in b:
            error = np.abs(a[path] - b[path]).max()
            assert error <= 1e-5 * max(np.abs(b[path]).max(), floor), (name, path)


def test_parts_train_and_see_every_image_changed_as_the_whole_does():
    """The augmentation of an image follows from its place in the batch, not from its part."""
    recipe = small.recipe(accumulate=2)
    state = jax.jit(partial(small.state_of, recipe))()
    step = jax.jit(partial(train_step, recipe))
    losses = []
    for k in range(8):
        state, metrics = step(state, small.batch(seed=k % 2))
        assert metrics["count"] == 32
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    assert int(state.step) == 8


def test_ghost_statistics_are_the_same_on_all_devices_and_as_on_one():
    """Two devices by vmap, which knows the same collectives; each sees half of the batch."""
    recipe = small.recipe(augment=AugmentOptions())
    ghost = lambda groups: recipe.model.clone(norm=recipe.model.norm.clone(groups=groups))
    one = replace(recipe, model=ghost(4))
    two = replace(recipe, model=ghost(2), axis_name="devices")
    state, batch = jax.jit(partial(small.state_of, recipe))(), small.batch(32)
    halves = {name: x.reshape(2, 16, *x.shape[1:]) for name, x in batch.items()}
    expected = jax.jit(partial(accumulated_gradients, one))(state, batch)[1]
    over = jax.vmap(partial(accumulated_gradients, two), (None, 0), axis_name="devices")
    got = small.leaves(jax.jit(over)(state, halves)[1])
    for path, leaf in small.leaves(expected).items():
        np.testing.assert_allclose(got[path][0], leaf, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(got[path][0], got[path][1])
