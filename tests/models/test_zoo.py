"""Promises that every model of the zoo keeps, on small twins; and the published counts."""

from functools import partial

import jax
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, attention_weights, create_model, list_models
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


def is_deep(name):
    """More than 30 blocks: takes seconds to trace."""
    return sum(create_model(name).stage_sizes) > 30


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


def shrink(name):
    """The model as a small twin: fewer blocks, narrower, everything else as it is."""
    model = create_model(name, stage_sizes=(1, 1), width=8, num_classes=10)
    attention = None if model.attention is None else SEBlock(reduction=2)
    small = dict(attention=attention, dropout=0.0, base_width=32, cardinality=2, path_width=4)
    if getattr(model, "cardinality", 1) == 1:
        del small["base_width"], small["cardinality"]
    return model.clone(**{k: v for k, v in small.items() if hasattr(model, k)})


def distinct_twins():
    """One of each kind; plain networks only where they are no SE network without its blocks."""
    twins = {}
    for name in sorted(list_models(), key=lambda name: create_model(name).attention is None):
        model = shrink(name)
        plain = repr(model.clone(attention=None)).removeprefix("SE")
        twins.setdefault(plain, pytest.param(model, id=name))
    return list(twins.values())


@pytest.mark.parametrize("model", distinct_twins())
def test_every_model_trains_and_infers(model):
    images = random_images(size=16)
    variables = random_variables(model, images)
    _, (gradients, _) = train_step(model, variables, images)
    gradients = traverse_util.flatten_dict(gradients, sep="/")
    assert all(np.isfinite(g).all() for g in gradients.values())
    assert [path for path, g in gradients.items() if not np.any(g)] == []

    infer = jax.jit(partial(model.apply, train=False, mutable=["batch_stats"]))
    logits, updates = infer(variables, images)
    assert logits.shape == (4, 10)
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], variables["batch_stats"])
    gates = attention_weights(model, variables, images)
    assert len(gates) == (0 if model.attention is None else 2)


@pytest.mark.parametrize("name", [n for n in list_models() if not is_deep(n)])
@pytest.mark.parametrize("size", [64, 97])
def test_features_are_as_feature_info_says(name, size):
    model = shrink(name)
    if "29_8x64d" in name:
        size = size // 4 * 4  # halves by average pools, see below
    images = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    pyramid = jax.eval_shape(partial(model.apply, method="features"), variables, images)
    for level, info in zip(pyramid, model.feature_info, strict=True):
        assert level.shape[-1] == info.channels
        # Caffe's rounding and average pools lose a row where the size is odd
        assert abs(level.shape[1] - size / info.stride) < 1


@pytest.mark.parametrize(("name", "size"), [("seresnetaa50d", 70), ("seresnext29_8x64d", 33)])
def test_sizes_that_average_pools_cannot_halve_get_a_sentence(name, size):
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    with pytest.raises(ValueError, match="cannot be halved by this network's average pools"):
        jax.eval_shape(shrink(name).init, jax.random.key(0), images)
