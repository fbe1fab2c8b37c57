"""ShuffleNet v1: the published counts, and a unit against its drawing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, attention_weights, create_model
from senet_jax.layers import BatchNorm, Conv
from senet_jax.models.shufflenet import ShuffleUnit, shuffle
from senet_jax.summary import count_parameters, model_table
from tests.models.by_hand import convolve, excite, normalise, relu
from tests.models.twins import random_images, random_variables


def twin(**options):
    small = dict(stage_sizes=(2, 1), widths=(24, 48), groups=3, stem_width=12, num_classes=10)
    attention = SEBlock(reduction=4)
    return create_model("seshufflenet_v1_x1_g3", **small | dict(attention=attention) | options)


def shapes(model):
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    tree = jax.eval_shape(model.init, jax.random.key(0), images)
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(tree, sep="/").items()}


def test_parameters_and_multiply_adds_are_the_published_ones():
    plain, with_se = model_table(["shufflenet_v1_x1_g3", "seshufflenet_v1_x1_g3"])
    # arXiv 1709.01507, Table 3: 1.8 and 2.4 million
    assert (plain.parameters, with_se.parameters) == (1_865_728, 2_484_533)
    unbiased = create_model("shufflenet_v1_x1_g3", attention=SEBlock(use_bias=False))
    assert count_parameters(unbiased) == 2_476_144
    assert round(plain.multiply_adds / 1e9, 4) == 0.1375
    # each of the gates' weights is used once
    assert with_se.multiply_adds - plain.multiply_adds == 2_476_144 - 1_865_728


def test_se_stands_on_the_branch_and_has_a_sixteenth_of_its_channels():
    found = shapes(create_model("seshufflenet_v1_x1_g3"))
    units = {"stage1/block1": (216, 13), "stage1/block4": (240, 15)}
    units |= {"stage2/block1": (240, 15), "stage2/block8": (480, 30)}
    units |= {"stage3/block1": (480, 30), "stage3/block4": (960, 60)}
    for unit, shape in units.items():
        assert found[f"params/{unit}/se/fc1/kernel"] == shape


def test_only_the_first_convolution_after_the_stem_is_not_grouped():
    found = shapes(create_model("shufflenet_v1_x1_g3"))
    kernels = {path: s for path, s in found.items() if path.endswith("block1/conv1/kernel")}
    assert kernels == {
        "params/stage1/block1/conv1/kernel": (1, 1, 24, 60),
        "params/stage2/block1/conv1/kernel": (1, 1, 80, 120),
        "params/stage3/block1/conv1/kernel": (1, 1, 160, 240),
    }


def test_shuffling_deals_each_groups_channels_to_all():
    np.testing.assert_array_equal(shuffle(jnp.arange(6), 3), [0, 2, 4, 1, 3, 5])
    np.testing.assert_array_equal(shuffle(shuffle(jnp.arange(6), 3), 2), np.arange(6))


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("strides", [1, 2])
def test_a_unit_is_as_drawn(strides, size):
    r = np.random.default_rng(0)
    x = r.normal(size=(2, size, size, 24 if strides == 1 else 12)).astype(np.float32)
    norm = partial(BatchNorm, use_running_average=True)
    unit = ShuffleUnit(
        *(24, 3, strides), first_groups=1, conv=Conv, norm=norm, attention=SEBlock(reduction=4)
    )
    variables = random_variables(unit, x)
    p, statistics = variables["params"], variables["batch_stats"]

    y = convolve(x, p["conv1"], groups=1 if strides == 2 else 3)
    y = relu(normalise(y, p["bn1"], statistics["bn1"]))
    y = y[..., [0, 2, 4, 1, 3, 5]]  # 6 channels in 3 groups
    y = normalise(convolve(y, p["conv2"], strides, groups=6), p["bn2"], statistics["bn2"])
    y = normalise(convolve(y, p["conv3"], groups=3), p["bn3"], statistics["bn3"])
    y = excite(y, p["se"])
    ninths = {"kernel": np.full((3, 3, 1, 12), 1 / 9)}  # the mean counts the padding
    expected = (
        relu(y + x)
        if strides == 1
        else np.concatenate([convolve(x, ninths, 2, groups=12), relu(y)], axis=-1)
    )
    found = jax.jit(unit.apply)(variables, x)
    assert found.shape == (2, -(-size // strides), -(-size // strides), 24)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_every_unit_has_gates():
    images, model = random_images(1), twin()
    gates = attention_weights(model, random_variables(model, images), images)
    assert [gate.shape[1] for gate in gates.values()] == [12, 24, 24]


def test_plain_and_se_differ_in_the_attention_alone():
    plain, with_se = shapes(twin(attention=None)), shapes(twin())
    assert plain == {path: s for path, s in with_se.items() if "/se/" not in path}
    assert len(with_se) == len(plain) + 3 * 4


@pytest.mark.parametrize("size", [64, 97])
def test_features_are_as_feature_info_says(size):
    model = twin()
    assert model.feature_info == (("stem", 2, 12), ("stage1", 8, 24), ("stage2", 16, 48))
    images = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    levels = jax.eval_shape(partial(model.apply, method="features"), variables, images)
    sides = [-(-size // info.stride) for info in model.feature_info]
    expected = [(2, n, n, i.channels) for n, i in zip(sides, model.feature_info, strict=True)]
    assert [level.shape for level in levels] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(widths=(24, 40)), "24 into 40 channels cannot be cut into 3 groups: choose a width"),
        (dict(widths=(12, 24)), "larger than 12 by a multiple of 3"),
        (dict(stem_width=16), "turns 16 into 24 channels"),
        (dict(stage_sizes=(1,)), "stage_sizes has 1 entries and widths 2, expected one of each"),
        (dict(attention=(None,)), "attention has 1 entries, expected one for each of 2 stages"),
    ],
)
def test_options_that_do_not_fit_get_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        shapes(twin(**options))
