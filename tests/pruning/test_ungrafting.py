"""Attention out of single blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import attention_weights, pruning
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.excitations import Full
from tests.models.twins import random_images, random_variables
from tests.pruning.small import NETWORKS, logits, mobile, resnet


@pytest.fixture(scope="module")
def images():
    return random_images(4, size=8)


def with_constant_gates(variables, *blocks):
    """The second layer's kernel at zero: its bias alone decides."""
    params = dict(variables["params"])
    for block in blocks:
        stage, name = block.split("/")
        inside = dict(params[stage][name])
        se = inside["se"]
        fc2 = se["fc2"] | {"kernel": jnp.zeros_like(se["fc2"]["kernel"])}
        params[stage] = params[stage] | {name: inside | {"se": se | {"fc2": fc2}}}
    return variables | {"params": params}


@pytest.mark.parametrize("name", ["two convolutions, 3x3", "bottleneck, standard", "mobile"])
def test_constant_gates_leave_without_a_trace(name, images):
    model = NETWORKS[name]()
    variables = random_variables(model, images)
    blocks = [path.removesuffix("/se") for path in all_gates(model, variables, images)]
    variables = with_constant_gates(variables, *blocks)
    statistics = pruning.measure(model, variables, [images])
    bare, values = pruning.ungraft(model, variables, statistics, blocks)
    assert bare.without_attention == tuple(blocks)
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(bare.init, jax.random.key(0), images))
    assert jax.tree.map(jnp.shape, values) == shapes
    before = np.asarray(logits(model, variables, images))
    scale = np.abs(before).max()
    np.testing.assert_allclose(logits(bare, values, images) / scale, before / scale, atol=1e-6)


def all_gates(model, variables, images):
    return jax.eval_shape(lambda v, x: attention_weights(model, v, x), variables, images)


def test_losses_are_those_of_the_network_without_the_block(images):
    model = resnet(stage_sizes=(2,))
    variables = with_constant_gates(random_variables(model, images), "stage1/block1")
    statistics = pruning.measure(model, variables, [images])
    # on images of another kind the other block's gates differ from their means
    others, labels = 3 * random_images(32, seed=1, size=8), np.zeros(32, np.int32)
    labels = np.asarray(logits(model, variables, others)).argmax(1)
    rows = pruning.ungrafting_losses(
        model, variables, statistics, [(others[:16], labels[:16]), (others[16:], labels[16:])]
    )
    assert [row.block for row in rows] == ["stage1/block1", "stage1/block2"]
    assert rows[0].spread < 1e-6 < rows[1].spread
    assert rows[0].accuracy_lost == 0
    bare, values = pruning.ungraft(model, variables, statistics, ["stage1/block2"])
    right = np.asarray(logits(bare, values, others)).argmax(1) == labels
    assert rows[1].accuracy_lost == 1 - right.mean()
    assert rows[1].accuracy_lost > 0


def test_an_ungrafted_block_is_cut_by_its_norm_alone(images):
    model = resnet(placement="3x3")
    variables = random_variables(model, images)
    statistics = {"stage1/block1": pruning.BlockStatistics(gate=np.ones(8), spread=np.zeros(8))}
    statistics["stage2/block1"] = pruning.BlockStatistics(gate=np.ones(16), size=np.ones(16))
    bare, values = pruning.ungraft(model, variables, statistics, ["stage1/block1"])
    assert list(pruning.scores("gate", bare, values, statistics)) == ["stage2/block1"]
    assert list(pruning.scores("slimming", bare, values)) == ["stage1/block1", "stage2/block1"]


def test_products_of_other_choices_leave_as_well(images):
    """What cannot be cut can still be folded."""
    model = mobile(attention=ChannelAttention(excite=Full()))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda s: jnp.ones(s.shape), shapes)
    channels = {"stage1/block1": 8, "stage2/block1": 16, "stage3/block1": 16}
    statistics = {b: pruning.BlockStatistics(gate=np.full(c, 0.5)) for b, c in channels.items()}
    bare, values = pruning.ungraft(model, variables, statistics, ["stage2/block1"])
    block = values["params"]["stage2"]["block1"]
    assert "se" not in block and bare.without_attention == ("stage2/block1",)
    np.testing.assert_array_equal(block["project_conv"]["kernel"], 0.5)


@pytest.mark.parametrize(
    ("options", "blocks", "sentence"),
    [
        ({}, ["stage4/block1"], "no gates to fold in stage4/block1: expected some of stage1"),
        (dict(attention=None), [], "No block of this network has gates"),
        (dict(placement="post"), [], "No block of this network has gates"),
        (dict(placement="3x3", inner="sk"), [], "No block of this network has gates"),
        (dict(attention="cbam"), [], "No block of this network has gates"),
    ],
)
def test_wrong_inputs_get_a_sentence(options, blocks, sentence):
    model = resnet(**options)
    statistics = {
        "stage1/block1": pruning.BlockStatistics(gate=np.ones(8)),
        "stage2/block1": pruning.BlockStatistics(gate=np.ones(16)),
    }
    with pytest.raises(ValueError, match=sentence):
        pruning.ungraft(model, {"params": {}}, statistics, blocks)


def test_unmeasured_gates_are_refused():
    with pytest.raises(ValueError, match="gates of stage1/block1, stage2/block1 were not measured"):
        pruning.ungraft(resnet(), {"params": {}}, {}, ["stage1/block1", "stage2/block1"])


def test_one_block_by_its_bare_name_is_refused():
    with pytest.raises(ValueError, match=r"is a string, expected .*: \['stage1/block1'\]"):
        pruning.ungraft(resnet(), {"params": {}}, {}, "stage1/block1")


def test_without_labels_there_is_no_loss_of_accuracy(images):
    channels = {"stage1/block1": 8, "stage2/block1": 16}
    statistics = {b: pruning.BlockStatistics(gate=np.ones(c)) for b, c in channels.items()}
    variables = {"params": {}, "batch_stats": {}}
    with pytest.raises(ValueError, match=r"images alone, expected pairs \(images, labels\)"):
        pruning.ungrafting_losses(resnet(), variables, statistics, [images])
