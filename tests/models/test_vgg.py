"""VGG-16: the published counts, SE after every convolution, small and odd images, names."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, attention_weights, create_model
from senet_jax.convert import ConversionError
from senet_jax.convert.tables import describe, read, tensors_of
from senet_jax.convert.timm_vgg import is_torchvision, table, torchvision_table
from senet_jax.layers import BatchNorm, Conv
from senet_jax.models.vgg import ConvolutionRun, spread
from senet_jax.summary import model_table
from tests.convert import seeded
from tests.models.by_hand import convolve, excite, normalise, relu
from tests.models.twins import random_images, random_variables

# timm 1.0.31, 10^9 multiply-adds at 224 pixels; SE by closed form, 2Ch + C + h at each of
# 13 convolutions with h = C / 16
PUBLISHED = {
    "vgg16": (138_357_544, 15.4703),
    "vgg16_bn": (138_365_992, 15.4703),
    "sevgg16_bn": (138_596_784, 15.4705),
}


def twin(name="sevgg16_bn", **options):
    small = dict(stage_sizes=(1, 2), widths=(8, 16), head_width=24, num_classes=10)
    if name.startswith("se"):
        small |= dict(attention=SEBlock(reduction=4))
    return create_model(name, **small | options)


def shapes(model, size=32):
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    tree = jax.eval_shape(model.init, jax.random.key(0), images)
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(tree, sep="/").items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    (row,) = model_table([name])
    assert (row.parameters, round(row.multiply_adds / 1e9, 4)) == PUBLISHED[name]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_run_is_as_drawn(batch_norm):
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    conv = partial(Conv, use_bias=True)
    norm = partial(BatchNorm, use_running_average=True) if batch_norm else None
    run = ConvolutionRun(2, 8, conv, norm, attention=SEBlock(reduction=2))
    variables = random_variables(run, x)
    expected = x
    for i in (1, 2):
        p = variables["params"]
        expected = convolve(expected, p[f"conv{i}"])
        if batch_norm:
            expected = normalise(expected, p[f"bn{i}"], variables["batch_stats"][f"bn{i}"])
        expected = excite(relu(expected), p[f"se{i}"])
    found = jax.jit(run.apply)(variables, x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_every_convolution_has_gates_of_its_own():
    model, images = twin(), random_images(size=8)
    gates = attention_weights(model, random_variables(model, images), images)
    found = {path: gate.shape[1] for path, gate in gates.items()}
    assert found == {"stem/se1": 8, "stage1/se1": 16, "stage1/se2": 16}


def test_plain_and_se_differ_in_the_attention_alone():
    plain, with_se = shapes(twin("vgg16_bn")), shapes(twin())
    assert plain == {path: s for path, s in with_se.items() if "/se" not in path}
    assert len(with_se) == len(plain) + 3 * 4


@pytest.mark.parametrize("size", [224, 97, 32])
def test_features_are_what_enters_the_pools_and_what_leaves_the_last(size):
    model = create_model("vgg16_bn")
    images = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    levels = jax.eval_shape(partial(model.apply, method="features"), variables, images)
    names = ["stem", "stage1", "stage2", "stage3", "stage4", "pool"]
    widths = [64, 128, 256, 512, 512, 512]
    assert model.feature_info == tuple(zip(names, [1, 2, 4, 8, 16, 32], widths, strict=True))
    expected = [(2, size >> i, size >> i, width) for i, width in enumerate(widths)]
    assert [level.shape for level in levels] == expected


def test_without_a_classifier_the_last_hidden_layer_is_left():
    model, images = twin("vgg16", num_classes=0), random_images(size=9)
    variables = random_variables(model, images)
    assert set(variables["params"]["head"]) == {"hidden1", "hidden2"}
    features = model.apply(variables, images)
    assert features.shape == (4, 24) and features.dtype == np.float32


# torch.nn.functional.adaptive_avg_pool2d
@pytest.mark.parametrize(
    ("values", "least", "expected"),
    [
        ([2.0, 4.0], 7, [2, 2, 2, 3, 4, 4, 4]),
        ([1.0, 5.0, 6.0], 7, [1, 1, 3, 5, 5.5, 6, 6]),
        ([3.0], 7, [3] * 7),
        ([1.0, 2.0, 3.0], 3, [1, 2, 3]),
        ([1.0, 2.0, 3.0], 2, [1, 2, 3]),
    ],
)
def test_small_features_are_spread_as_torch_does(values, least, expected):
    np.testing.assert_allclose(spread(jnp.asarray(values), least, axis=0), expected)


def test_dropout_is_of_the_first_hidden_layer_and_of_the_last():
    images = random_images(size=8)
    model = twin("vgg16", dropout=0.5, num_classes=0)  # without the classifier's
    variables = random_variables(model, images)
    run = lambda seed: model.apply(
        variables, images, train=True, rngs={"dropout": jax.random.key(seed)}
    )
    assert np.abs(run(0) - run(1)).max() > 1e-3
    with pytest.raises(Exception, match="dropout"):
        model.apply(variables, images, train=True)


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        ({}, 3, "images of 3x3 pixels leave nothing after 2 pools that halve: give at least 4x4"),
        (dict(widths=(8,)), 32, "widths has 1 entries, expected one for each of 2 stages"),
        (dict(attention=(None,)), 32, "attention has 1 entries, expected one for each of 2"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(options, size, message):
    with pytest.raises(ValueError, match=message):
        shapes(twin(**options), size)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("vgg16", [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]),
        ("vgg16_bn", [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]),
    ],
)
def test_layers_are_counted_through_as_torch_does(name, places):
    model = create_model(name)
    tensors = tensors_of(model, table(model), 3)
    runs = dict(stem=2, stage1=2, stage2=3, stage3=3, stage4=3)
    convolutions = [f"{run}/conv{i}" for run, n in runs.items() for i in range(1, n + 1)]
    for convolution, place in zip(convolutions, places, strict=True):
        path = ("params", *convolution.split("/"), "kernel")
        assert tensors[f"features.{place}.weight"].path == path
    assert tensors["pre_logits.fc1.weight"].shape_there == (4096, 512, 7, 7)


TORCHVISION = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3"}
TORCHVISION |= {"head.fc": "classifier.6"}


def test_torchvisions_names_say_the_same():
    model = twin("vgg16_bn")
    weights, renamed = seeded.weights(model, table(model)), {}
    for name, value in weights.items():
        module, _, leaf = name.rpartition(".")
        there = TORCHVISION.get(module, module)
        flat = there.startswith("classifier") and leaf == "weight"
        renamed[f"{there}.{leaf}"] = value.reshape(len(value), -1) if flat else value
    assert [is_torchvision(names) for names in (weights, renamed)] == [False, True]
    expected = read(weights, tensors_of(model, table(model), 3), describe(model))
    found = read(renamed, tensors_of(model, torchvision_table(model), 3), describe(model))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_nobody_elses_vgg_has_se():
    for names, source in ((table, "timm"), (torchvision_table, "torchvision")):
        with pytest.raises(ConversionError, match=f"{source} has no such network with attention"):
            names(twin())
