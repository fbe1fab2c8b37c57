"""Promises that every model of the zoo keeps, on small twins; and the published counts."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, create_model, list_models
from senet_jax.models.inception import Inception
from senet_jax.models.mobile import MobileNet
from senet_jax.models.resnext_cifar import CifarResNeXt
from tests.models.shrink import kind_of, shrink
from tests.models.twins import count, random_images, random_variables, train_step

# Public implementations: timm 1.0.31; for CIFAR the papers' networks with biased SE, r = 16, and
# option-B shortcuts, 10 classes
COUNTS = {
    "seresnet18": 11_779_624,
    "seresnet34": 21_960_416,
    "seresnet50": 28_088_024,
    "seresnet101": 49_326_872,
    "seresnet152": 66_821_848,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "seresnet20": 274_847,
    "seresnet32": 470_861,
    "seresnet44": 666_875,
    "seresnet56": 862_889,
    "seresnet110": 1_744_952,
    "resnet20": 272_474,
    "resnet32": 466_906,
    "resnet44": 661_338,
    "resnet56": 855_770,
    "resnet110": 1_730_714,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x4d": 44_177_704,
    "legacy_seresnet18": 11_778_592,
    "legacy_seresnet34": 21_958_868,
    "legacy_seresnet50": 28_088_024,
    "legacy_seresnet101": 49_326_872,
    "legacy_seresnet152": 66_821_848,
    "legacy_seresnext26_32x4d": 16_790_280,
    "legacy_seresnext50_32x4d": 27_559_896,
    "legacy_seresnext101_32x4d": 48_955_416,
    "legacy_senet154": 115_088_984,
    "senet154": 115_088_984,
    "seresnet50t": 28_104_720,
    "seresnet152d": 66_841_080,
    "seresnet200d": 71_855_096,
    "seresnet269d": 113_672_760,
    "seresnetaa50d": 28_107_256,
    "seresnext26d_32x4d": 16_809_512,
    "seresnext26t_32x4d": 16_806_976,
    "seresnext50_32x4d": 27_559_896,
    "seresnext101_32x4d": 48_955_416,
    "seresnext101_32x8d": 93_569_048,
    "seresnext101_64x4d": 88_232_984,
    "seresnext101d_32x8d": 93_588_280,
    "seresnextaa101d_32x8d": 93_588_280,
    "seresnextaa201d_32x8d": 149_394_904,
    "resnetrs50": 35_691_912,
    "resnetrs101": 63_618_696,
    "resnetrs152": 86_621_576,
    "resnetrs200": 93_209_992,
    "resnetrs270": 129_861_448,
    "resnetrs350": 163_956_168,
    "resnetrs420": 191_891_656,
    "resnet164": 1_703_258,
    "seresnet164": 1_905_362,
    "wrn16_8": 10_961_370,
    "sewrn16_8": 11_049_290,
    "shake_shake26_2x96d": 26_192_922,
    "se_shake_shake26_2x96d": 26_292_546,
    "resnext29_8x64d": 4_086_720 - 129_024,
    "seresnext29_8x64d": 4_086_720,
}
# (plain, SE without biases, SE with biases) for 100 classes
COUNTS_FOR_100 = {
    "resnet164": (1_726_388, 1_919_924, 1_928_492),
    "wrn16_8": (11_007_540, 11_093_556, 11_095_460),
    "shake_shake26_2x96d": (26_227_572, 26_324_340, 26_327_196),
}


def blocks_of(model):
    """About how many there are: what tracing a model takes."""
    if isinstance(model, MobileNet):
        return sum(row.repeats for rows in model.stages for row in rows) * model.depth
    if isinstance(model, Inception):
        return sum(len(block.branches) for blocks in model.stages for block in blocks)
    return sum(getattr(model, "depths", None) or model.stage_sizes)


def is_deep(name):
    """More than 16 blocks: takes seconds to trace."""
    return blocks_of(create_model(name)) > 16


def test_models_have_their_published_parameters():
    published = {name: n for name, n in COUNTS.items() if not is_deep(name)}
    assert {name: count(create_model(name)) for name in published} == published


@pytest.mark.slow
@pytest.mark.parametrize("name", list(filter(is_deep, COUNTS)))
def test_deep_models_have_their_published_parameters(name):
    assert count(create_model(name)) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS_FOR_100)
def test_cifar_100_and_unbiased_gates_are_counted(name):
    attentions = (None, SEBlock(use_bias=False), SEBlock())
    models = [create_model(name, num_classes=100, attention=a) for a in attentions]
    assert tuple(count(model, 32) for model in models) == COUNTS_FOR_100[name]


# One network for each kind of block, stem and head; the others put these together in other ways.
QUICK = frozenset(
    (
        *("seresnet20", "seresnet50", "legacy_seresnet18", "seresnetaa50d"),
        *("seresnet164", "sewrn16_8", "se_shake_shake26_2x96d", "seresnext29_8x64d"),
        *("ecaresnetlight", "skresnet50", "resnest14d", "regnety_002", "efficientnet_b0"),
        *("lcnet_050", "tf_mobilenetv3_small_075", "secspdarknet53", "sevgg16_bn"),
        "seshufflenet_v1_x1_g3",
    )
)


def distinct_twins():
    """One of each kind; plain networks only where they are no SE network without its blocks."""
    twins = {}
    for name in sorted(list_models(), key=lambda name: create_model(name).attention is None):
        small = shrink(name)
        marks = () if name in QUICK else pytest.mark.slow
        twins.setdefault(kind_of(small.model), pytest.param(small, id=name, marks=marks))
    return list(twins.values())


@pytest.mark.parametrize("small", distinct_twins())
def test_every_model_trains_and_infers(small):
    model, images = small.model, random_images(size=small.size)
    variables = random_variables(model, images)
    _, (gradients, _) = train_step(model, variables, images)
    gradients = traverse_util.flatten_dict(gradients, sep="/")
    assert all(np.isfinite(g).all() for g in gradients.values())
    assert [path for path, g in gradients.items() if not np.any(g)] == []

    infer = jax.jit(partial(model.apply, train=False, mutable=["batch_stats", "intermediates"]))
    logits, updates = infer(variables, images)
    assert logits.shape == (4, 10)
    statistics = variables.get("batch_stats", {})
    jax.tree.map(np.testing.assert_array_equal, updates.get("batch_stats", {}), statistics)
    gates = jax.tree.leaves(updates.get("intermediates", {}))
    attended = model.attention or getattr(model, "inner", None)
    assert len(gates) == (small.attentions if attended else 0)


@pytest.mark.parametrize("small", distinct_twins())
def test_every_model_takes_bfloat16(small):
    model = small.model.clone(dtype="bfloat16")
    images = jax.ShapeDtypeStruct((2, small.size, small.size, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    both = partial(model.apply, method=lambda model, x: (model(x), model.features(x)))
    logits, levels = jax.eval_shape(both, variables, images)
    assert logits.dtype == np.float32
    assert {level.dtype for level in levels} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("small", distinct_twins())
@pytest.mark.parametrize("size", [64, 97])
def test_features_are_as_feature_info_says(small, size):
    model = small.model
    size = max(size, small.size + size % 2)
    if isinstance(model, CifarResNeXt):
        size = size // 4 * 4  # halves by average pools, see below
    images = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    pyramid = jax.eval_shape(partial(model.apply, method="features"), variables, images)
    # Caffe's rounding and average pools lose a row where the size is odd, valid windows a border
    lost = 5 if isinstance(model, Inception) else 1
    for level, info in zip(pyramid, model.feature_info, strict=True):
        assert level.shape[-1] == info.channels
        assert abs(level.shape[1] - (size + 2 * getattr(model, "margin", 0)) / info.stride) < lost


@pytest.mark.parametrize(("name", "size"), [("seresnetaa50d", 70), ("seresnext29_8x64d", 33)])
def test_sizes_that_average_pools_cannot_halve_get_a_sentence(name, size):
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    with pytest.raises(ValueError, match="cannot be halved by this network's average pools"):
        jax.eval_shape(shrink(name).model.init, jax.random.key(0), images)


@pytest.mark.parametrize(
    ("name", "options", "error", "sentence"),
    [
        ("mobilenetv3_small_050", dict(norm=None), TypeError, r"norm=None, expected .*BatchNorm"),
        ("regnety_002", dict(norm=nn.BatchNorm()), TypeError, r"expected senet_jax.BatchNorm"),
        ("seresnet18", dict(num_classes=-1), ValueError, "num_classes=-1, expected a whole number"),
        ("vgg16_bn", dict(num_classes="10"), ValueError, "num_classes='10', expected a whole"),
    ],
)
def test_options_of_another_kind_get_a_sentence(name, options, error, sentence):
    model = shrink(name).model.clone(**options)
    with pytest.raises(error, match=sentence):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


@pytest.mark.parametrize("name", ["legacy_seresnet18", "seresnetaa50d", "inception_v3"])
def test_images_that_a_network_uses_up_are_refused(name):
    images = jax.ShapeDtypeStruct((1, 1, 1, 3), np.float32)
    with pytest.raises(ValueError, match=r"Nothing is left of the images|cannot be halved"):
        jax.eval_shape(shrink(name).model.init, jax.random.key(0), images)
