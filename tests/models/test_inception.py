"""Inceptions: counts, where SE sits, and the released networks that timm doesn't have, in NumPy."""

import re
from functools import cache, partial

import jax
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock
from senet_jax.convert import ConversionError, timm_inception
from senet_jax.convert.caffe_names import SEBN_INCEPTION
from senet_jax.convert.tables import tensors_of
from senet_jax.models import inception_cifar, inception_variants
from senet_jax.models.inception import Conv, Inception, Pool, mixed
from senet_jax.models.registry import create_model
from senet_jax.summary import multiply_adds
from tests.models.twins import random_images, random_variables

VARIANTS = inception_variants.VARIANTS | inception_cifar.VARIANTS
# timm 1.0.31, the Caffe release's prototxt, taki0112's code; SE in timm's networks makes
# 2 C h + h + C more for every module
COUNTS = {  # plain, and with SE
    "inception_v3": (23_834_568, 25_496_188),
    "inception_v4": (42_679_816, 44_998_632),
    "inception_resnet_v2": (55_843_464, 64_387_444),
    "bn_inception": (11_285_224, 11_931_622),
    "inception_v4_cifar": (51_090_026 - 7_520_512, 51_090_026),
    "inception_resnet_v2_cifar": (51_841_866 - 21_492_240, 51_841_866),
}
GATED = {  # the channels of every SE block, and its ratio
    "inception_v3": ([256, 288, 288, *[768] * 5, 1280, 2048, 2048], 16),
    "inception_v4": ([*[384] * 4, *[1024] * 8, *[1536] * 4], 16),
    "inception_resnet_v2": ([*[320] * 10, *[1088] * 20, *[2080] * 10], 16),
    "bn_inception": ([256, 320, 576, 576, 576, 608, 608, 1056, 1024, 1024], 16),
    "inception_v4_cifar": ([*[384] * 4, *[1024] * 7, *[1536] * 3], 4),
    "inception_resnet_v2_cifar": ([*[384] * 5, *[1152] * 11, *[2144] * 6], 4),
}
LEVELS = {  # side and channels
    "inception_v3": [(147, 64), (71, 192), (35, 288), (17, 768), (8, 2048)],
    "inception_v4": [(147, 64), (73, 160), (35, 384), (17, 1024), (8, 1536)],
    "inception_resnet_v2": [(147, 64), (71, 192), (35, 320), (17, 1088), (8, 1536)],
    "bn_inception": [(112, 64), (56, 192), (28, 320), (14, 608), (7, 1024)],
    "inception_v4_cifar": [(45, 64), (22, 160), (9, 384), (4, 1024), (1, 1536)],
    "inception_resnet_v2_cifar": [(45, 64), (22, 160), (9, 384), (4, 1152), (1, 2144)],
}


@cache
def shapes(name):
    """Of the parameters, by path, and of the levels, at the size the network is trained on."""
    model, size = create_model(name, fused=False), VARIANTS[name].image_size

    def both(model, images):
        levels = model.features(images)
        return model.head(levels[-1]), levels

    images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    run = partial(model.init_with_output, jax.random.key(0), method=both)
    (_, levels), variables = jax.eval_shape(run, images)
    parameters = traverse_util.flatten_dict(variables["params"], sep="/")
    return {path: leaf.shape for path, leaf in parameters.items()}, [x.shape for x in levels]


def total(parameters):
    return sum(int(np.prod(shape)) for shape in parameters.values())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "inception_resnet_v2" else name
        for name in COUNTS
    ],
)
def test_parameters_gates_and_levels_are_the_published_ones(name):
    assert create_model(f"se{name}", attention=None) == create_model(name)
    parameters, levels = shapes(f"se{name}")
    plain = {path: shape for path, shape in parameters.items() if "/se/" not in path}
    assert (total(plain), total(parameters)) == COUNTS[name]

    channels, ratio = GATED[name]
    kernels = sorted((p for p in parameters if p.endswith("se/fc1/kernel")), key=in_order)
    assert [parameters[p] for p in kernels] == [(c, c // ratio) for c in channels]

    assert [(x[1], x[3]) for x in levels] == LEVELS[name]
    info = create_model(name).feature_info
    assert [(i.stride, i.channels) for i in info] == [
        (2 ** (i + 1), c) for i, (_, c) in enumerate(LEVELS[name])
    ]


def in_order(path):
    return [int(number) for number in re.findall(r"\d+", path)]


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("sebn_inception", 2.0332),
        pytest.param("inception_v3", 5.7132, marks=pytest.mark.slow),
        pytest.param("inception_v4", 12.254, marks=pytest.mark.slow),
        pytest.param("inception_resnet_v2", 13.1558, marks=pytest.mark.slow),
    ],
)
def test_multiply_adds_are_the_published_ones(name, published):
    found = multiply_adds(create_model(name), VARIANTS[name].image_size)
    assert round(found / 1e9, 4) == published


# Modules as their code has them: branches, of each its kernels, v without padding, /2 strided; and
# its pools. BN-Inception's from the Caffe release's prototxt, the others from taki0112's functions.
BN = "1 | 1 3 | 1 3 3 | counting 1"
BN_REDUCTION = "1 3/2 | 1 3 3/2 | ceil"
STEM_2 = "1 3v | 1 7x1 1x7 3v"
REDUCTION_A = "max/2 | 3v/2 | 1 3 3v/2"
REDUCTION_B = "max/2 | 1 3v/2 | 1 3v/2 | 1 3 3v/2"
NETWORKS = {
    "sebn_inception": (
        ["7/2", "ceil", "1", "3", "ceil"],
        [[BN], [BN_REDUCTION, BN], [BN_REDUCTION, BN.replace("counting", "max")]],
    ),
    "seinception_v4_cifar": (
        ["3v/2", "3v", "3", "max/2 | 3v/2", STEM_2, "3v/2 | max/2"],
        [
            ["average 1 | 1 | 1 3 | 1 3 3"],
            [REDUCTION_A, "average 1 | 1 | 1 1x7 1x7 | 1 1x7 7x1 1x7 7x1"],
            [REDUCTION_B, "average 1 | 1 | 1 1x3+3x1 | 1 1x3 3x1 3x1+1x3"],
        ],
    ),
    "seinception_resnet_v2_cifar": (
        ["3v/2", "3v", "3", "max/2 | 3v/2", STEM_2, "3v/2 | max/2"],
        [
            ["1 | 1 3 | 1 3 3"],
            [REDUCTION_A, "1 | 1 1x7 7x1"],
            [REDUCTION_B, "1 | 1 1x3 3x1"],
        ],
    ),
}


def twin(name, **options):
    """First and last module of every stage, a sixteenth of the channels."""
    model = create_model(name, num_classes=10, dropout=0.0, width=1 / 16, **options)
    stages = tuple(stage[:: max(1, len(stage) - 1)] for stage in model.stages)
    kept = [len(stage) for stage in NETWORKS[name][1]]
    return model.clone(stages=tuple(s[:n] for s, n in zip(stages, kept, strict=True)))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_released_networks_are_what_their_code_computes(name):
    model = twin(name, attention=SEBlock(reduction=2))
    images = random_images(2, 65 if name == "sebn_inception" else 32)  # 65, 33, 16, 8, 4, 2
    variables = random_variables(model, images)
    found = jax.jit(model.apply)(variables, images)
    precise = jax.tree.map(partial(np.asarray, dtype=np.float64), variables)
    expected = in_numpy(name, precise, images)
    # float32 sums in another order
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def in_numpy(name, variables, x):
    stem, stages = NETWORKS[name]
    params, stats = variables["params"], variables["batch_stats"]
    epsilon = create_model(name).norm.epsilon

    def norm(y, params, stats):
        shifted = (y - stats["mean"]) / np.sqrt(stats["var"] + epsilon)
        return np.maximum(shifted * params["scale"] + params["bias"], 0)

    def unit(y, word, number, params, stats):
        """Convolution and ReLU, with a norm or a bias."""
        height, width, valid, strides = re.fullmatch(r"(\d)(?:x(\d))?(v?)(/2)?", word).groups()
        size = (int(height), int(width or height))
        conv = params[f"conv{number}"]
        assert conv["kernel"].shape[:2] == size
        padding = (0, 0) if valid else (size[0] // 2, size[1] // 2)
        y = convolved(y, conv["kernel"], 2 if strides else 1, padding) + conv.get("bias", 0)
        if "bias" in conv:
            return np.maximum(y, 0)
        return norm(y, params[f"bn{number}"], stats[f"bn{number}"])

    def branch(y, words, params, stats):
        count = 0
        for word in words.split():
            if word in POOLS:
                y = POOLS[word](y)
                continue
            count += 1
            letters = "ab" if "+" in word else [""]
            ends = [
                unit(y, part, f"{count}{letter}", params, stats)
                for part, letter in zip(word.split("+"), letters, strict=True)
            ]
            y = np.concatenate(ends, axis=-1)
        return y

    def module(x, text, params, stats):
        ends = [
            branch(x, words, params.get(f"branch{i}"), stats.get(f"branch{i}"))
            for i, words in enumerate(text.split("|"), 1)
        ]
        y = np.concatenate(ends, axis=-1)
        if "project_conv" in params:
            conv = params["project_conv"]
            y = x + 0.1 * (y @ conv["kernel"][0, 0] + conv["bias"])
        if "bn" in params:
            y = norm(y, params["bn"], stats["bn"])
        if "se" in params:
            fc1, fc2 = params["se"]["fc1"], params["se"]["fc2"]
            z = np.maximum(y.mean((1, 2)) @ fc1["kernel"] + fc1["bias"], 0)
            y = y / (1 + np.exp(-(z @ fc2["kernel"] + fc2["bias"])))[:, None, None]
        return y

    x = np.asarray(x, np.float64)
    if name.endswith("cifar"):
        x = np.pad(x, ((0, 0), (32, 32), (32, 32), (0, 0)))
    convs = blocks = 0
    for text in stem:
        if "|" in text:
            blocks += 1
            x = module(x, text, params["stem"][f"block{blocks}"], {})
        elif text in POOLS:
            x = POOLS[text](x)
        else:
            convs += 1
            x = unit(x, text, convs, params["stem"], stats.get("stem"))
    if "stem_bn" in params:
        x = norm(x, params["stem_bn"], stats["stem_bn"])
    for s, stage in enumerate(stages, 1):
        for b, text in enumerate(stage, 1):
            place = f"stage{s}", f"block{b}"
            x = module(x, text, *(tree[place[0]][place[1]] for tree in (params, stats)))
    return x.mean((1, 2)) @ params["head"]["fc"]["kernel"] + params["head"]["fc"]["bias"]


def convolved(x, kernel, strides, padding):
    x = np.pad(x, ((0, 0), *((p, p) for p in padding), (0, 0)))
    size = kernel.shape[:2]
    at = zip(np.ndindex(size), shifted(x, size, strides), strict=True)
    return sum(y @ kernel[position] for position, y in at)


def shifted(x, size, strides):
    """The input at each of a window's positions."""
    rows, columns = ((x.shape[1 + a] - size[a]) // strides * strides + 1 for a in (0, 1))
    return [x[:, i : i + rows : strides, j : j + columns : strides] for i, j in np.ndindex(size)]


def pool(reduce, fill, strides, near, far):
    def pooled(x):
        pads = ((0, 0), (near, far), (near, far), (0, 0))
        return reduce(shifted(np.pad(x, pads, constant_values=fill), (3, 3), strides), axis=0)

    return pooled


POOLS = {
    "max": pool(np.max, -np.inf, 1, 1, 1),
    "max/2": pool(np.max, -np.inf, 2, 0, 0),
    "ceil": pool(np.max, -np.inf, 2, 0, 1),
    "counting": pool(np.mean, 0, 1, 1, 1),
    "average": pool(np.nanmean, np.nan, 1, 1, 1),
}


def test_attention_of_residual_modules_is_on_the_branch():
    """Gates of one half are half of the scale."""
    images = random_images(2, 6)
    rows = [mixed(Conv(3), scale=scale, act=False) for scale in (0.1, 0.2)]
    half, plain = (
        Inception((((Conv(3), Conv(3)),),), ((row,),), 0, attention=attention)
        for row, attention in zip(rows[::-1], (SEBlock(1), None), strict=True)
    )
    variables = random_variables(half, images)
    gates = variables["params"]["stage1"]["block1"].pop("se")
    expected = jax.jit(plain.apply)(variables, images)
    closed = jax.tree.map(np.zeros_like, gates)
    variables["params"]["stage1"]["block1"]["se"] = closed
    found = jax.jit(half.apply)(variables, images)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["bn_inception", "inception_resnet_v2_cifar"])
def test_plain_networks_have_the_same_tree_but_for_se(name):
    def tree(name):
        model = create_model(name, width=1 / 16)
        model = model.clone(stages=tuple(stage[:1] for stage in model.stages))
        images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
        shapes = jax.eval_shape(model.init, jax.random.key(0), images)
        return set(traverse_util.flatten_dict(shapes))

    se = tree(f"se{name}")
    assert tree(name) == {path for path in se if "se" not in path}
    assert {path[1:3] for path in se if "se" in path} == {
        (f"stage{i}", "block1") for i in (1, 2, 3)
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(normalised="all"), "Unknown normalised 'all': expected 'convolutions', 'modules'"),
        (dict(attention=(None,)), "attention has 1 entries, expected one for each of 3 stages"),
        (dict(stem=((Pool("min"),),)), "Unknown kind of pool 'min': expected 'max', 'average'"),
    ],
)
def test_wrong_options_get_a_sentence(options, sentence):
    model = create_model("inception_v3").clone(**options)
    images = jax.ShapeDtypeStruct((1, 96, 96, 3), np.float32)
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(model.init, jax.random.key(0), images)


def test_sizes_that_pools_and_convolutions_halve_in_other_ways_get_a_sentence():
    model = twin("sebn_inception")
    images = jax.ShapeDtypeStruct((1, 61, 61, 3), np.float32)  # 31, 15, 7: then 4 and 3
    with pytest.raises(ValueError, match=r"Features of 7x7 cannot be halved by this network"):
        jax.eval_shape(model.init, jax.random.key(0), images)


@pytest.mark.parametrize("name", ["inception_v3", "inception_v4", "inception_resnet_v2"])
def test_images_too_small_get_a_sentence(name):
    model = create_model(name, width=1 / 16)
    model = model.clone(stages=tuple(stage[:1] for stage in model.stages))
    small, enough = (jax.ShapeDtypeStruct((1, n, n, 3), np.float32) for n in (74, 75))
    with pytest.raises(ValueError, match="Nothing is left of the images"):
        jax.eval_shape(model.init, jax.random.key(0), small)
    jax.eval_shape(model.init, jax.random.key(0), enough)


def test_caffe_has_a_name_for_every_module_of_its_release():
    parameters, _ = shapes("sebn_inception")
    modules = {path.rpartition("/")[0] for path in parameters}
    ours, theirs, kinds = zip(*SEBN_INCEPTION, strict=True)
    assert sorted(ours) == sorted(modules)
    assert len(set(zip(theirs, kinds, strict=True))) == len(theirs)
    shape_there = {(t, k): parameters[f"{o}/kernel"] for o, t, k in SEBN_INCEPTION if k != "norm"}
    assert shape_there["conv2/3x3", "conv"] == (3, 3, 64, 192)
    assert shape_there["inception_3c/double3x3b", "conv"] == (3, 3, 96, 96)
    assert shape_there["inception_4c/double3x3a", "conv"] == (3, 3, 128, 160)
    assert shape_there["inception_4e/3x3", "conv"] == (3, 3, 128, 192)
    assert shape_there["inception_5b/pool_proj", "conv"] == (1, 1, 1024, 128)
    assert shape_there["inception_4c_1x1_down", "dense_as_conv"] == (608, 38)


@pytest.mark.parametrize("name", ["bn_inception", "inception_v4_cifar", "seinception_v3"])
def test_timm_has_no_names_for_other_networks(name):
    model = create_model(name)
    model = model.clone(stages=tuple(stage[:1] for stage in model.stages))
    with pytest.raises(ConversionError, match=r"timm has no Inception|has no name"):
        tensors_of(model, timm_inception.table(model), 3)
