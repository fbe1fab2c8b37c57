"""What is cut away and what is masked is the same: against networks in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, create_model, pruning
from senet_jax.summary import multiply_adds
from tests.models.twins import random_images, random_variables
from tests.pruning.by_hand import Mask, Network
from tests.pruning.small import NETWORKS, logits, mobile, resnet


@pytest.fixture(scope="module")
def images():
    return random_images(4, size=8)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, images):
    """A network, its variables and its statistics."""
    model = NETWORKS[request.param]()
    variables = random_variables(model, images)
    return model, variables, pruning.measure(model, variables, [images[:2], images[2:]])


def plan_for(model, variables, seed=1):
    return pruning.keep_share(pruning.scores("random", model, variables, seed=seed), 0.6)


def masks_for(model, plan, seen, fold):
    masks = {}
    for block, kept in plan.items():
        of_block = seen[block]
        channels = len((of_block["u"] if "u" in of_block else of_block["y"])[0, 0, 0])
        removed = np.setdiff1d(np.arange(channels), kept)
        means = of_block["y"].mean((0, 1, 2)) if fold else np.zeros(10_000)
        constants = means[removed] if getattr(model, "placement", "") != "standard" else 0
        if model.attention is None:
            constants = means[removed]
        squeezes = of_block["z"].mean(0)[removed] if "z" in of_block else np.zeros(len(removed))
        masks[block] = Mask(removed, constants, squeezes)
    return masks


def test_statistics_are_those_of_the_data(network, images):
    model, variables, statistics = network
    by_hand = Network(model, variables)
    by_hand.logits(images)
    for block, found in statistics.items():
        seen = by_hand.seen[block]
        close = lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
        if model.attention is not None:
            close(found.gate, seen["s"].mean(0))
            close(found.spread, seen["s"].std(0))
            close(found.squeeze, seen["z"].mean(0))
            close(found.size, np.sqrt(np.square(seen["u"]).mean((0, 1, 2))))
        if found.output is not None:
            close(found.output, seen["y"].mean((0, 1, 2)))
            assert found.map_size == seen["y"].shape[1:3]
    if model.attention is None:
        assert all(found.gate is None for found in statistics.values())


@pytest.mark.parametrize("fold", [True, False])
def test_cut_and_masked_agree(network, images, fold):
    model, variables, statistics = network
    by_hand = Network(model, variables)
    whole = by_hand.logits(images)
    plan = plan_for(model, variables)
    masked = by_hand.logits(images, masks_for(model, plan, by_hand.seen, fold))
    small, smaller = pruning.cut(model, variables, plan, statistics, fold_constants=fold)
    scale = np.abs(masked).max()
    np.testing.assert_allclose(logits(small, smaller, images) / scale, masked / scale, atol=1e-5)
    assert np.abs(masked - whole).max() > 0.01 * scale  # the mask was not without effect


def test_what_is_cut_is_smaller(network, images):
    model, variables, statistics = network
    plan = plan_for(model, variables)
    small, smaller = pruning.cut(model, variables, plan, statistics)
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(small.init, jax.random.key(0), images))
    assert jax.tree.map(jnp.shape, smaller) == shapes
    assert multiply_adds(small, 8) < multiply_adds(model, 8)
    channels = {b: len(s) for b, s in pruning.scores("random", model, variables).items()}
    kept = {block: (len(stay), channels[block]) for block, stay in plan.items()}
    assert pruning.kept_channels(small) == kept


def test_the_compiled_network_computes_less(images):
    model = resnet(placement="3x3", bottleneck=True)
    variables = random_variables(model, images)
    plan = pruning.keep_share(pruning.scores("random", model, variables), 0.2)
    statistics = made_up(model, variables)
    small, smaller = pruning.cut(model, variables, plan, statistics)
    flops = []
    for m, v in ((model, variables), (small, smaller)):
        analysis = jax.jit(m.apply).lower(v, images).compile().cost_analysis()
        flops.append((analysis[0] if isinstance(analysis, list) else analysis)["flops"])
    assert flops[1] < 0.8 * flops[0]


def test_channels_without_a_scale_leave_nothing_behind(images):
    """Their outputs are constants, which the 1x1 convolution's norm takes over."""
    model = resnet(attention=None, bottleneck=True)
    variables = random_variables(model, images)
    params = variables["params"]["stage2"]["block1"]
    params["bn2"]["scale"] = params["bn2"]["scale"].at[jnp.asarray([1, 4, 5])].set(0)
    params["bn2"]["bias"] = jnp.abs(params["bn2"]["bias"])  # constants, and no zeros
    statistics = pruning.measure(model, variables, [images])
    scores = pruning.scores("slimming", model, variables)
    plan = {"stage2/block1": tuple(np.flatnonzero(scores["stage2/block1"]))}
    assert len(plan["stage2/block1"]) == 13
    small, smaller = pruning.cut(model, variables, plan, statistics)
    whole = logits(model, variables, images)
    np.testing.assert_allclose(logits(small, smaller, images), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [NETWORKS["two convolutions, standard"], mobile])
def test_cutting_twice_is_cutting_once(make, images):
    model = make()
    variables = random_variables(model, images)
    statistics = made_up(model, variables)
    first = plan_for(model, variables)
    half, halves = pruning.cut(model, variables, first, statistics)
    second = plan_for(half, halves, seed=2)
    left = {
        block: found._replace(
            squeeze=found.squeeze[list(first[block])], output=found.output[list(first[block])]
        )
        for block, found in statistics.items()
        if block in first
    }
    small, smaller = pruning.cut(half, halves, second, left)
    both = {block: tuple(first[block][c] for c in kept) for block, kept in second.items()}
    once, at_once = pruning.cut(model, variables, both, statistics)
    assert small == once
    assert jax.tree.structure(smaller) == jax.tree.structure(at_once)
    for a, b in zip(jax.tree.leaves(smaller), jax.tree.leaves(at_once), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def made_up(model, variables):
    """Statistics without a data set."""
    rng = np.random.default_rng(3)
    channels = {b: len(s) for b, s in pruning.scores("random", model, variables).items()}
    return {
        block: pruning.BlockStatistics(
            squeeze=rng.normal(size=c), output=rng.normal(size=c), map_size=(4, 4)
        )
        for block, c in channels.items()
    }


def test_blocks_without_biases_get_them(images):
    model = resnet(attention=SEBlock(reduction=2, use_bias=False))
    variables = random_variables(model, images)
    biased = resnet()
    zeros = jax.tree.map(
        lambda s: jnp.zeros(s.shape), jax.eval_shape(biased.init, jax.random.key(0), images)
    )
    filled = traverse_util.unflatten_dict(
        traverse_util.flatten_dict(zeros) | traverse_util.flatten_dict(variables)
    )
    plan, statistics = plan_for(model, variables), made_up(model, variables)
    small, smaller = pruning.cut(model, variables, plan, statistics)
    expected, values = pruning.cut(biased, filled, plan, statistics)
    assert small == expected
    jax.tree.map(np.testing.assert_array_equal, smaller, values)
    assert "bias" not in variables["params"]["stage1"]["block1"]["se"]["fc1"]  # left as it was


def test_nothing_cut_changes_nothing(images):
    model = resnet()
    variables = random_variables(model, images)
    plan = pruning.keep_share(pruning.scores("random", model, variables), 1.0)
    same, values = pruning.cut(model, variables, plan, {})
    assert same == model and not pruning.cut_options(same)
    jax.tree.map(np.testing.assert_array_equal, values, variables)


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (
            {"stage3/block1": (0,)},
            "plan names stage3/block1, where no channel can be cut: .*stage1",
        ),
        ({"stage1/block1": ()}, r"keeps \[\] of stage1/block1, expected one or more .* 0 to 7"),
        ({"stage1/block1": (3, 1)}, r"keeps \[3, 1\] .* ascending"),
        ({"stage1/block1": (0, 8)}, r"keeps \[0, 8\]"),
        ({"stage1/block1": (0, 1)}, "not measured.*measure"),
    ],
)
def test_wrong_plans_are_refused(plan, sentence, images):
    model = resnet(placement="3x3")
    with pytest.raises(ValueError, match=sentence):
        pruning.cut(model, random_variables(model, images), plan, {})


def test_statistics_of_another_network_are_refused(images):
    model = resnet()
    variables = random_variables(model, images)
    statistics = {"stage1/block1": pruning.BlockStatistics(gate=np.ones(5), squeeze=np.ones(5))}
    with pytest.raises(ValueError, match=r"are of 5 channels, and the network has 8 .* again"):
        pruning.cut(model, variables, {"stage1/block1": (0,)}, statistics)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("seresnext50_32x4d", dict(placement="3x3"), "grouped convolutions"),
        ("resnet18", dict(attention="eca"), "ChannelAttention the gates .* would change"),
        ("resnet18", dict(inner="sk"), "SelectiveKernel stands in place of the convolution"),
        ("mobilenetv1_100", {}, "separable blocks have no middle channels but"),
    ],
)
def test_networks_that_cannot_be_cut_say_why(name, options, sentence):
    with pytest.raises(ValueError, match=f"No channel of this network can be cut: .*{sentence}"):
        pruning.scores("random", create_model(name, **options), {})


def test_other_families_are_refused():
    with pytest.raises(
        ValueError, match="RegNet cannot be pruned: expected a ResNet or a MobileNet"
    ):
        pruning.measure(create_model("regnety_002"), {"params": {}, "batch_stats": {}}, [])


def test_a_folded_network_is_refused():
    model = resnet()
    folded = model.clone(norm=model.norm.clone(folded=True))
    with pytest.raises(ValueError, match=r"are folded .*: cut first, fold_batch_norm last"):
        pruning.scores("random", folded, {})
