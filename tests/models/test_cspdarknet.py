"""CSPDarknet-53: the published counts, the two places of SE, what a detector gets."""

from functools import partial

import jax
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, attention_weights, create_model
from senet_jax.convert import ConversionError
from senet_jax.convert.timm_cspdarknet import table
from senet_jax.layers import BatchNorm, Conv, activation
from senet_jax.models.cspdarknet import PLACES, CrossStage, DarkBlock
from senet_jax.summary import count_parameters, multiply_adds
from tests.convert import seeded
from tests.models.by_hand import convolve, excite, normalise
from tests.models.twins import random_images, random_variables

INNER = dict(attention=SEBlock(divisor=8, act="leaky_relu"), placement="inner")  # timm's


def twin(**options):
    small = dict(stage_sizes=(1, 2), widths=(8, 16), stem_width=4, num_classes=10)
    return create_model("secspdarknet53", **small | dict(attention=SEBlock(reduction=4)) | options)


def shapes(model):
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    tree = jax.eval_shape(model.init, jax.random.key(0), images)
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(tree, sep="/").items()}


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("cspdarknet53", {}, 27_642_184),
        ("secspdarknet53", {}, 27_862_356),
        ("cspdarknet53", INNER, 27_863_360),
    ],
)
def test_parameters_are_the_published_ones(name, options, parameters):
    assert count_parameters(create_model(name, **options)) == parameters


def test_multiply_adds_are_the_published_ones():
    assert round(multiply_adds(create_model("cspdarknet53"), 256) / 1e9, 4) == 6.5337


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (create_model("secspdarknet53"), [(64, 4), (64, 4), (128, 8), (256, 16), (512, 32)]),
        (create_model("cspdarknet53", **INNER), [(32, 8), (64, 8), (128, 8), (256, 16), (512, 32)]),
    ],
    ids=["standard", "inner"],
)
def test_widths_of_the_se_blocks_are_those_of_their_place(model, expected):
    found = shapes(model)
    stages = range(1, 6)
    assert [found[f"params/stage{s}/block1/se/fc1/kernel"] for s in stages] == expected


def mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


LAYERS = dict(conv=Conv, norm=partial(BatchNorm, use_running_average=True))


@pytest.mark.parametrize("placement", PLACES)
def test_a_block_is_as_drawn(placement):
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 8)).astype(np.float32)
    options = dict(act=activation("mish"), attention=SEBlock(reduction=2), placement=placement)
    block = DarkBlock(4, **LAYERS, **options, last_scale_init=jax.nn.initializers.ones)
    variables = random_variables(block, x)
    p, statistics = variables["params"], variables["batch_stats"]
    y = mish(normalise(convolve(x, p["conv1"]), p["bn1"], statistics["bn1"]))
    if placement == "inner":
        y = excite(y, p["se"])
    y = mish(normalise(convolve(y, p["conv2"]), p["bn2"], statistics["bn2"]))
    if placement == "standard":
        y = excite(y, p["se"])
    found = jax.jit(block.apply)(variables, x)
    np.testing.assert_allclose(found, x + y, rtol=1e-4, atol=1e-5)


def test_the_first_half_goes_around_the_blocks():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype(np.float32)
    # no block at all: what is left of the stage are its convolutions
    stage = CrossStage(0, 6, 3, block=None, act=activation("mish"), **LAYERS)
    variables = random_variables(stage, x)

    def layer(name, x, strides=1):
        p, statistics = variables["params"], variables["batch_stats"][f"{name}_bn"]
        return mish(normalise(convolve(x, p[f"{name}_conv"], strides), p[f"{name}_bn"], statistics))

    y = layer("expand", layer("down", x, strides=2))
    joined = np.concatenate([y[..., :3], layer("branch", y[..., 3:])], axis=-1)
    found = jax.jit(stage.apply)(variables, x)
    np.testing.assert_allclose(found, layer("join", joined), rtol=1e-4, atol=1e-5)


def test_the_last_three_levels_are_a_detectors():
    model = create_model("secspdarknet53")
    images = jax.ShapeDtypeStruct((1, 416, 416, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    levels = jax.eval_shape(partial(model.apply, method="features"), variables, images)
    assert [v.shape[1:] for v in levels[-3:]] == [(52, 52, 256), (26, 26, 512), (13, 13, 1024)]
    assert [info.stride for info in model.feature_info] == [1, 2, 4, 8, 16, 32]
    names = [info.name for info in model.feature_info]
    assert names == ["stem", "stage1", "stage2", "stage3", "stage4", "stage5"]


@pytest.mark.parametrize("size", [32, 33])
def test_features_are_as_feature_info_says(size):
    model = twin()
    images = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    levels = jax.eval_shape(partial(model.apply, method="features"), variables, images)
    sides = [-(-size // info.stride) for info in model.feature_info]
    expected = [(2, n, n, i.channels) for n, i in zip(sides, model.feature_info, strict=True)]
    assert [level.shape for level in levels] == expected


@pytest.mark.parametrize("placement", PLACES)
def test_plain_and_se_differ_in_the_attention_alone(placement):
    plain, with_se = shapes(twin(attention=None)), shapes(twin(placement=placement))
    assert plain == {path: s for path, s in with_se.items() if "/se/" not in path}
    assert len(with_se) == len(plain) + 3 * 4


def test_every_block_has_gates():
    images, model = random_images(1), twin()
    gates = attention_weights(model, random_variables(model, images), images)
    assert [gate.shape[1] for gate in gates.values()] == [8, 8, 8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(placement="post"), "Unknown placement 'post': expected 'standard', 'inner'"),
        (dict(act="elu"), "Unknown activation 'elu': expected"),
        (dict(widths=(8,)), "widths has 1 entries, expected one for each of 2 stages"),
    ],
)
def test_options_that_do_not_fit_get_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        shapes(twin(**options))


def test_timm_has_se_between_the_convolutions_alone():
    model = twin(attention=SEBlock(act="mish", divisor=8), placement="inner")
    assert "stages.1.blocks.1.attn.fc2.bias" in seeded.weights(model, table(model))
    for stranger, message in (
        (model.clone(placement="standard"), "placement='standard'"),
        (model.clone(act="relu"), r"SEBlock\(act='mish'\)"),
    ):
        with pytest.raises(ConversionError, match=message):
            table(stranger)
