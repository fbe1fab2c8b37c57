"""Sums and counts: no batch, device or process weighs more than its examples."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.metrics import merge, summarise


def sums_of(losses, correct):
    return {"loss": sum(losses), "correct": sum(correct), "count": len(losses)}


@given(
    examples=st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
def test_any_cut_into_batches_gives_the_means_over_all_examples(examples, cuts):
    losses, correct = np.array(examples).T
    edges = sorted({0, len(examples), *(cut for cut in cuts if cut < len(examples))})
    batches = [slice(a, b) for a, b in itertools.pairwise(edges)]
    scores = summarise(merge(*(sums_of(losses[b], correct[b]) for b in batches)))
    assert scores == pytest.approx({"loss": losses.mean(), "accuracy": correct.mean()})


def test_sums_on_the_device_stay_there_until_they_are_summarised():
    one = {"loss": jnp.float32(1.5), "correct": jnp.float32(1), "count": jnp.float32(2)}
    merged = merge(one, one)
    assert all(isinstance(value, type(one["loss"])) for value in merged.values())
    assert summarise(merged) == {"loss": 0.75, "accuracy": 0.5}


def test_numbers_that_are_no_sums_stay_as_they_are():
    metrics = {"loss": 8.0, "correct": 3, "count": 4, "learning_rate": 0.1, "gradient_norm": 2.0}
    assert summarise(metrics) == {
        "loss": 2.0,
        "accuracy": 0.75,
        "learning_rate": 0.1,
        "gradient_norm": 2.0,
    }


def test_a_mean_over_nothing_is_refused():
    with pytest.raises(ValueError, match="no examples"):
        summarise({"loss": 0.0, "correct": 0.0, "count": 0.0})
    with pytest.raises(ValueError, match="no sums to merge"):
        merge()
