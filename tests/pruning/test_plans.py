"""Plans: shares, floors and budgets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet_jax import pruning
from senet_jax.pruning.description import narrowed
from senet_jax.summary import count_parameters, multiply_adds
from tests.pruning.small import resnet

BLOCKS = {"stage1/block1": 16, "stage1/block2": 16, "stage2/block1": 32, "stage10/block1": 64}


def some_scores(blocks=BLOCKS, seed=0):
    rng = np.random.default_rng(seed)
    return {block: rng.uniform(size=channels) for block, channels in blocks.items()}


def test_shares_by_stage_keep_the_highest_as_numpy_sorts():
    scores = some_scores()
    plan = pruning.keep_share(scores, {"stage1": 0.5, "stage10": 0.25})
    for block, count in {"stage1/block1": 8, "stage1/block2": 8, "stage10/block1": 16}.items():
        assert plan[block] == tuple(np.sort(np.argsort(scores[block])[-count:]))
    assert plan["stage2/block1"] == tuple(range(32))


@given(keep=st.floats(0.15, 1.0), seed=st.integers(0, 100))
def test_one_share_is_met_over_all_channels_and_spares_low_stages(keep, seed):
    scores = some_scores(seed=seed)
    plan = pruning.keep_share(scores, keep, floor=0)
    kept = sum(len(channels) for channels in plan.values())
    assert abs(kept - keep * sum(BLOCKS.values())) <= len(BLOCKS)  # one's rounding each
    shares = [len(plan[block]) / channels for block, channels in BLOCKS.items()]
    rounding = [0.5 / channels for channels in BLOCKS.values()]
    for i in range(len(shares) - 1):
        assert shares[i] >= shares[i + 1] - rounding[i] - rounding[i + 1]


@given(keep=st.floats(0.001, 1.0), floor=st.floats(0.0, 1.0))
def test_the_floor_holds(keep, floor):
    for block, kept in pruning.keep_share(some_scores(), keep, floor=floor).items():
        assert max(1, floor * BLOCKS[block]) <= len(kept) <= BLOCKS[block]
        assert list(kept) == sorted(set(kept))


def test_equal_scores_go_by_number():
    plan = pruning.keep_share({"stage1/block1": np.ones(4)}, 0.5)
    assert plan == {"stage1/block1": (0, 1)}


COUNTS = {
    "parameters": count_parameters,
    "multiply_adds": lambda model: multiply_adds(model, 8),
}


@pytest.fixture(scope="module")
def network():
    return resnet(placement="3x3"), some_scores({"stage1/block1": 8, "stage2/block1": 16})


@pytest.mark.parametrize("what", COUNTS)
def test_a_budget_is_met_within_one_channel(network, what):
    model, scores = network
    count = COUNTS[what]
    budget = int(0.7 * count(model))
    size = dict(image_size=8) if what == "multiply_adds" else {}
    plan = pruning.keep_budget(scores, model, **{what: budget}, **size, floor=0.25)
    channels = {block: len(values) for block, values in scores.items()}
    assert count(narrowed(model, plan, channels)) <= budget
    assert all(len(plan[block]) >= 0.25 * channels[block] for block in plan)

    # the channel that went last has the highest score of all that went, and is one too many
    gone = {block: np.setdiff1d(np.arange(channels[block]), kept) for block, kept in plan.items()}
    last = max(gone, key=lambda block: scores[block][gone[block]].max(initial=0))
    one_more = plan | {last: (*plan[last], channels[last])}
    assert count(narrowed(model, one_more, channels)) > budget


def test_a_budget_takes_the_lowest_scores_of_all_blocks(network):
    model, scores = network
    plan = pruning.keep_budget(scores, model, parameters=int(0.7 * count_parameters(model)))
    stay = np.concatenate([scores[block][list(kept)] for block, kept in plan.items()])
    go = np.concatenate([np.delete(scores[block], kept) for block, kept in plan.items()])
    assert go.size and go.max() < stay.min()  # no floor is reached here


def test_a_budget_above_the_whole_network_cuts_nothing(network):
    model, scores = network
    plan = pruning.keep_budget(scores, model, parameters=10**9)
    assert plan == {"stage1/block1": tuple(range(8)), "stage2/block1": tuple(range(16))}


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
@pytest.mark.parametrize("form", [float, lambda share: {"stage2": share}])
def test_shares_outside_are_refused(share, form):
    with pytest.raises(ValueError, match=r"expected shares .* above 0 and up to 1"):
        pruning.keep_share(some_scores(), form(share))


def test_other_wrong_inputs_get_a_sentence(network):
    model, scores = network
    with pytest.raises(ValueError, match=r"keep names stage3, expected .* stage1, stage2, stage10"):
        pruning.keep_share(some_scores(), {"stage3": 0.5})
    with pytest.raises(ValueError, match=r"floor=1.5, expected a share"):
        pruning.keep_share(some_scores(), 0.5, floor=1.5)
    with pytest.raises(ValueError, match="expected just one of the two budgets"):
        pruning.keep_budget(scores, model)
    with pytest.raises(ValueError, match="expected just one of the two budgets"):
        pruning.keep_budget(scores, model, parameters=1, multiply_adds=1)
    with pytest.raises(ValueError, match="say image_size=224"):
        pruning.keep_budget(scores, model, multiply_adds=1)
    with pytest.raises(ValueError, match=r"100 parameters cannot be met: .* at least \d,\d+ are"):
        pruning.keep_budget(scores, model, parameters=100)


@pytest.mark.parametrize("keep", ["half", None, float("nan")])
def test_what_is_no_share_is_refused(keep):
    with pytest.raises(ValueError, match=rf"keep={keep!r}: expected shares of the channels"):
        pruning.keep_share(some_scores(), keep)


def test_scores_that_rank_nothing_are_refused(network):
    model, scores = network
    broken = scores | {"stage1/block1": np.full(8, np.nan)}
    for plan in (
        lambda: pruning.keep_share(broken, 0.5),
        lambda: pruning.keep_budget(broken, model, parameters=1000),
    ):
        with pytest.raises(ValueError, match=r"Scores of stage1/block1 are not finite"):
            plan()


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"stage2/block1": 9}, "of 9 channels in stage2/block1, where this one has 16 to cut"),
        ({"stage7/block1": 8}, "of 8 channels in stage7/block1, where this one has none to cut"),
    ],
)
def test_a_budget_by_the_scores_of_another_network_is_refused(network, other, sentence):
    with pytest.raises(ValueError, match=f"scores are of another network: {sentence}"):
        pruning.keep_budget(some_scores(other), network[0], parameters=1000)
