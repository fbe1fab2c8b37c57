"""Mobile networks: counts, widths of their SE blocks, scaling, what they refuse.

That they compute what timm's compute is tested in tests/convert (stored outputs).
"""

import jax
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, create_model
from senet_jax.layers import make_divisible
from senet_jax.models.mobile_blocks import Row
from senet_jax.summary import count_parameters, multiply_adds
from tests.models.twins import count, random_images, random_variables

# timm 1.0.31; SE-MobileNet by hand: 2 C h + C + h for C = 64, 128, 256, 512, 1024 and h = C / 16
# (arXiv 1709.01507, Table 3: 4.7 million)
COUNTS = {
    "mobilenetv1_100": (4_231_976, 224, 0.5687),
    "semobilenetv1_100": (4_718_044, 224, 0.5692),
    "mobilenetv3_large_100": (5_483_032, 224, 0.2166),
    "mobilenetv3_small_050": (1_593_224, 224, 0.0242),
    "efficientnet_b0": (5_288_548, 224, 0.3858),
    "tinynet_e": (2_042_972, 106, 0.0244),
    "hardcorenas_a": (5_260_232, 224, 0.2242),
    "lcnet_100": (2_953_800, 224, 0.1557),
}
OTHERS = {
    "mobilenetv3_large_075": (3_993_528, 224, 0.1546),
    "mobilenetv3_small_075": (2_041_872, 224, 0.0434),
    "mobilenetv3_rw": (5_479_918, 224, None),
    "efficientnet_b1": (7_794_184, 240, 0.6868),
    "efficientnet_b2": (9_109_994, 256, 0.8599),
    "tf_efficientnet_b2": (9_109_994, 260, 0.9936),
    "tinynet_a": (6_187_972, 192, 0.3369),
    "semnasnet_100": (3_887_038, 224, 0.3116),
    "fbnetv3_b": (8_598_464, 224, 0.4075),
    "tf_efficientnetv2_b0": (7_139_704, 192, 0.5282),
    "mobilenetv3_small_100": (2_542_856, 224, 0.0565),
    "efficientnet_b3": (12_233_232, 288, 1.5892),
    "efficientnet_b4": (19_341_616, 320, 3.0637),
    "efficientnet_b5": (30_389_784, 448, 9.4044),
    "efficientnet_b6": (43_040_704, 528, 19.0676),
    "efficientnet_b7": (66_347_960, 600, 37.7459),
    "tf_efficientnetv2_s": (21_458_488, 300, 5.3076),
}


def check_counts(name, parameters, size, products):
    model = create_model(name)
    assert count_parameters(model) == parameters
    if products is not None:
        assert abs(multiply_adds(model, size) / 1e9 - products) <= 6e-5


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_multiply_adds_are_published(name):
    check_counts(name, *COUNTS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_those_of_the_others_too(name):
    check_counts(name, *OTHERS[name])


def test_se_mobilenet_without_biases():
    model = create_model("semobilenetv1_100", attention=SEBlock(use_bias=False))
    assert count(model) == 4_711_720


def hidden_widths(name):
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    params = jax.eval_shape(create_model(name).init, jax.random.key(0), images)["params"]
    flat = traverse_util.flatten_dict(params, sep="/")
    return [leaf.shape[1] for path, leaf in flat.items() if path.endswith("se/fc1/kernel")]


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("mobilenetv3_large_100", [24, 32, 32, 120, 168, 168, 240, 240]),
        ("mobilenetv3_small_100", [8, 24, 64, 64, 32, 40, 72, 144, 144]),
        ("efficientnet_b0", [8, 4, 6, 6, 10, 10, 20, 20, 20, 28, 28, 28, 48, 48, 48, 48]),
        ("semobilenetv1_100", [4, 8, 8, 16, 16, *[32] * 6, 64, 64]),
        ("lcnet_100", [64, 128]),
    ],
)
def test_se_blocks_have_their_published_widths(name, widths):
    assert hidden_widths(name) == widths


@pytest.mark.parametrize(
    ("value", "expected"), [(18, 24), (16, 16), (30, 32), (3, 8), (12, 16), (11.9, 16), (60.5, 64)]
)
def test_widths_are_rounded_and_lose_no_tenth(value, expected):
    assert make_divisible(value) == expected


def tree(model):
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items()}


def small(**options):
    stages = (
        (Row("separable", 3, 1, 16),),
        (Row("inverted", 3, 2, 24, 2, 3), Row("inverted", 5, 1, 24, 1, 2, attend=False)),
        (Row("fused", 3, 2, 32, 1, 2),),
    )
    options = dict(stages=stages, stem_width=8, head_width=16, num_classes=3) | options
    return create_model("efficientnet_b0", **options)


def test_plain_networks_have_the_same_tree_without_se():
    with_se, plain = tree(small()), tree(small(attention=None))
    assert plain == {path: shape for path, shape in with_se.items() if "/se/" not in path}
    blocks = {path.split("/se/")[0] for path in with_se.keys() - plain.keys()}
    attended = ("stage1/block1", "stage2/block1", "stage2/block2", "stage3/block1")
    assert blocks == {f"params/{block}" for block in attended}


def test_attention_may_differ_by_stage_and_sit_at_the_output():
    by_stage = tree(small(attention=(None, SEBlock(reduction=2), None)))
    assert {p.split("/se/")[0] for p in by_stage if "/se/fc1/kernel" in p} == {
        "params/stage2/block1",
        "params/stage2/block2",
    }
    at_output = tree(small(attention=SEBlock(reduction=4), placement="output"))
    assert at_output["params/stage2/block1/se/fc1/kernel"] == (24, 6)  # of the block's output


def test_width_and_depth_scale_all_but_the_head():
    info = small(width=2.0, depth=1.5).feature_info
    assert [level.channels for level in info] == [32, 48, 64]
    assert [level.stride for level in info] == [2, 4, 8]
    shapes = tree(small(width=2.0, depth=1.5))
    assert "params/stage2/block5/bn1/scale" in shapes and shapes["params/head/bn/scale"] == (16,)
    assert "params/stage2/block6/bn1/scale" not in shapes  # ceil(2 * 1.5) + ceil(1 * 1.5)


def test_a_skip_needs_the_same_size_and_width_and_leave():
    images = random_images(2)
    for skip, changes in ((True, False), (False, True)):
        stages = ((Row("inverted", 3, 1, 8, skip=skip),),)
        model = small(stages=stages, attention=None)
        variables = random_variables(model, images)
        block = variables["params"]["stage1"]["block1"]
        block["bn3"] = jax.tree.map(np.zeros_like, block["bn3"])  # the branch is zero
        (level,) = jax.jit(lambda v, x, m=model: m.apply(v, x, method="features"))(
            variables, images
        )
        assert (np.abs(level).max() == 0) == changes


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(head_kind="pool"), "Unknown head_kind 'pool': expected 'convolution', 'hidden'"),
        (dict(placement="standard"), "Unknown placement 'standard': expected 'depthwise'"),
        (dict(act="swish"), "Unknown activation 'swish': expected 'relu'"),
        (
            dict(attention=SEBlock(reduction=4, gate="step")),
            "Unknown gate 'step': expected 'sigmoid'",
        ),
        (dict(attention=(None,)), "attention has 1 entries, expected one for each of 3 stages"),
        (dict(padding="SAME"), "Unknown padding 'SAME': expected 'torch', 'same'"),
        (dict(stages=((Row("bottleneck", 3, 1, 8),),)), "Unknown kind of block 'bottleneck'"),
    ],
)
def test_options_that_do_not_fit_get_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        tree(small(**options))
