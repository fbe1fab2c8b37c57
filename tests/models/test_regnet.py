"""RegNetY: the published counts, the width of its SE blocks, torchvision's names."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, attention_weights
from senet_jax.convert.tables import describe, read, tensors_of
from senet_jax.convert.timm_regnet import is_torchvision, table, torchvision_table
from senet_jax.models.regnet import VARIANTS, RegNet
from senet_jax.summary import model_table
from tests.convert import seeded
from tests.models.twins import random_images, random_variables

# timm 1.0.31: parameters, and 10^9 multiply-adds at 224 pixels
PUBLISHED = {
    "regnety_002": (3_162_996, 0.1995),
    "regnety_004": (4_344_144, 0.4018),
    "regnety_006": (6_055_160, 0.6012),
    "regnety_008": (6_263_168, 0.7972),
    "regnety_008_tv": (6_432_512, 0.8339),
    "regnety_016": (11_202_430, 1.6121),
    "regnety_032": (19_436_338, 3.1765),
    "regnety_040": (20_646_656, 3.9733),
    "regnety_064": (30_583_252, 6.3552),
    "regnety_080": (39_180_068, 7.9631),
    "regnety_080_tv": (39_381_472, 8.4731),
    "regnety_120": (51_822_544, 12.0924),
    "regnety_160": (83_590_140, 15.9115),
    "regnety_320": (145_046_770, 32.2796),
}
IN_BLOCKS = SEBlock(reduction=4, of_input=True)


def twin(**options):
    small = dict(depths=(1, 2), widths=(16, 24), group_width=8, stem_width=8, num_classes=10)
    return RegNet(**small | dict(attention=IN_BLOCKS) | options)


def shapes(model):
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    tree = jax.eval_shape(model.init, jax.random.key(0), images)
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(tree, sep="/").items()}


def test_every_variant_is_counted():
    assert VARIANTS.keys() == PUBLISHED.keys()


QUICK = 4
ROWS = [
    pytest.param(name, marks=[] if i < QUICK else pytest.mark.slow)
    for i, name in enumerate(PUBLISHED)
]


@pytest.mark.parametrize("name", ROWS)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    (row,) = model_table([name])
    assert (row.parameters, round(row.multiply_adds / 1e9, 4)) == PUBLISHED[name]


def test_se_blocks_are_as_wide_as_a_quarter_of_what_enters_the_block():
    kernels = {path: s for path, s in shapes(twin()).items() if path.endswith("fc1/kernel")}
    assert kernels == {
        "params/stage1/block1/se/fc1/kernel": (16, 2),  # 8 channels of the stem
        "params/stage2/block1/se/fc1/kernel": (24, 4),
        "params/stage2/block2/se/fc1/kernel": (24, 6),
    }


def test_plain_and_se_differ_in_the_attention_alone():
    plain, with_se = shapes(twin(attention=None)), shapes(twin())
    assert plain == {path: s for path, s in with_se.items() if "/se/" not in path}
    assert len(with_se) == len(plain) + 3 * 4


def test_attention_may_differ_by_stage():
    model = twin(attention=(None, IN_BLOCKS))
    images = random_images(2)
    gates = attention_weights(model, random_variables(model, images), images)
    assert list(gates) == ["stage2/block1/se", "stage2/block2/se"]


@pytest.mark.parametrize("size", [64, 97])
def test_features_are_as_feature_info_says(size):
    model = twin()
    images = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    levels = jax.eval_shape(partial(model.apply, method="features"), variables, images)
    expected = [(2, -(-size // i.stride), -(-size // i.stride), i.channels) for i in INFO]
    assert [level.shape for level in levels] == expected


INFO = twin().feature_info


def test_levels_have_names_and_strides():
    assert INFO == (("stem", 2, 8), ("stage1", 4, 16), ("stage2", 8, 24))


@pytest.mark.parametrize(("zero", "expected"), [(True, 0), (False, 1)])
def test_blocks_start_as_their_shortcut_or_not(zero, expected):
    model, images = twin(zero_init_last=zero), jnp.zeros((1, 8, 8, 3))
    init = lambda key: model.init(key, images)["params"]["stage2"]["block2"]["bn3"]["scale"]
    assert jnp.all(jax.jit(init)(jax.random.key(0)) == expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(widths=(16, 20)), r"group_width=8 does not divide the widths 20: choose"),
        (dict(depths=(1, 1, 1)), "depths has 3 entries and widths 2, expected one of each"),
        (dict(attention=(None,)), "attention has 1 entries, expected one for each of 2 stages"),
    ],
)
def test_options_that_do_not_fit_get_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        shapes(twin(**options))


TORCHVISION = (  # after the renaming in timm's regnet.py, read backwards
    (r"^stem\.conv\.", "stem.0."),
    (r"^stem\.bn\.", "stem.1."),
    (r"^head\.", ""),
    (r"conv1\.conv", "f.a.0"),
    (r"conv1\.bn", "f.a.1"),
    (r"conv2\.conv", "f.b.0"),
    (r"conv2\.bn", "f.b.1"),
    (r"conv3\.conv", "f.c.0"),
    (r"conv3\.bn", "f.c.1"),
    (r"downsample\.conv", "proj.0"),
    (r"downsample\.bn", "proj.1"),
    (r"\.se\.", ".f.se."),
    (r"^s(\d)\.b1\.", r"trunk_output.block\1.block\1-0."),
    (r"^s(\d)\.b2\.", r"trunk_output.block\1.block\1-1."),
)


def test_torchvisions_names_say_the_same():
    model = twin()
    weights, renamed = seeded.weights(model, table(model)), {}
    for name, value in weights.items():
        for pattern, replacement in TORCHVISION:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    assert "trunk_output.block2.block2-1.f.se.fc2.bias" in renamed
    assert [is_torchvision(names) for names in (weights, renamed)] == [False, True]
    expected = read(weights, tensors_of(model, table(model), 3), describe(model))
    found = read(renamed, tensors_of(model, torchvision_table(model), 3), describe(model))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
