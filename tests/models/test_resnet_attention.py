"""Residual networks with ECA, selective kernels, split attention, and several inputs."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, attention_weights, create_model
from senet_jax.convert import ConversionError, from_timm, to_timm
from senet_jax.convert.timm import table_of
from senet_jax.layers import BatchNorm
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.excitations import AcrossChannels
from senet_jax.layers.multi_input import MultiInputSE, MultiKernelConv
from senet_jax.layers.selective_kernel import SelectiveKernel
from senet_jax.layers.split_attention import SplitAttention
from senet_jax.models.resnet_attention import VARIANTS
from tests.models.twins import count, random_images, random_variables

COUNTS = {  # counted with timm 1.0.31
    "ecaresnet26t": 16_011_916,
    "skresnet18": 11_958_056,
    "skresnext50_32x4d": 27_479_784,
    "resnest14d": 10_611_688,
    "resnest50d": 27_483_240,
    "resnest50d_4s2x40d": 30_417_592,
}
SLOW_COUNTS = {  # deep, or with blocks that the others have
    "ecaresnext26t_32x4d": 15_406_220,
    "ecaresnetlight": 30_162_046,
    "ecaresnet50d": 25_576_350,
    "ecaresnet50t": 25_573_814,
    "ecaresnet101d": 44_568_563,
    "ecaresnet200d": 64_693_400,
    "ecaresnet269d": 102_093_077,
    "ecaresnext50t_32x4d": 25_045_686,
    "skresnet34": 22_282_376,
    "skresnet50": 25_803_160,
    "skresnet50d": 25_822_392,
    "resnest26d": 17_069_448,
    "resnest50d_1s4x24d": 25_677_000,
    "resnest101e": 48_275_016,
    "resnest200e": 70_201_544,
    "resnest269e": 110_929_480,
}


@pytest.mark.parametrize("name", COUNTS)
def test_networks_have_timms_parameters(name):
    assert count(create_model(name)) == COUNTS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_COUNTS)
def test_further_networks_have_timms_parameters(name):
    assert count(create_model(name)) == SLOW_COUNTS[name]


def test_every_row_is_counted():
    assert VARIANTS.keys() == COUNTS.keys() | SLOW_COUNTS.keys()


# layer4's gates at C = 2048 and layer1's at 256, by the rule for kernel sizes
def test_eca_has_a_kernel_by_the_width():
    shapes = jax.eval_shape(create_model("ecaresnet26t").init, jax.random.key(0), random_images())
    kernels = [
        shapes["params"][f"stage{stage}"]["block1"]["se"]["excite"]["kernel"].shape
        for stage in (1, 2, 3, 4)
    ]
    assert kernels == [(5, 1), (5, 1), (5, 1), (7, 1)]


# ---- `inner` in place of the 3x3 convolution ----


def twin(name="resnet50", **options):
    small = dict(stage_sizes=(1, 1), width=8, num_classes=10)
    return create_model(name, **small | options)


INNERS = (
    SelectiveKernel(least=4),
    SplitAttention(least=4, pool="after"),
    MultiKernelConv(attention=MultiInputSE(reduction=4)),
)
WITH_GROUPS = dict(cardinality=2, base_width=32)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("seresnext50_32x4d", WITH_GROUPS | dict(attention=SEBlock(reduction=2))),
        ("resnetaa50d", dict(placement=("3x3", "identity"), attention=SEBlock(reduction=2))),
    ],
)
def test_it_fits_any_residual_network(name, options):
    plain = twin(name, **options)
    outer = re.compile(rf"stage./block./(?!(conv|bn){2 if plain.bottleneck else 1}/)|stem|head")
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), np.float32)

    def shapes_of(model):
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
        flat = traverse_util.flatten_dict(variables["params"], sep="/")
        shared = {path: leaf.shape for path, leaf in flat.items() if outer.match(path)}
        assert len(shared) < len(flat)
        return shared, jax.eval_shape(partial(model.apply, method="features"), variables, images)

    expected = shapes_of(plain)
    for inner in INNERS:
        assert shapes_of(plain.clone(inner=inner)) == expected


@pytest.mark.parametrize(("name", "options"), [("resnet18", {}), ("resnet50", WITH_GROUPS)])
def test_one_selected_kernel_is_the_convolution_itself(name, options):
    """Its gate is 1, so that the network is the plain one: in training, with the norm's options."""
    plain = twin(name, norm=BatchNorm(groups=2, momentum=0.7, epsilon=1e-2), **options)
    model = plain.clone(inner=SelectiveKernel(kernel_sizes=(3,), least=4))
    images = random_images(size=16)
    variables = random_variables(model, images)
    run = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))
    run_plain = jax.jit(partial(plain.apply, train=True, mutable=["batch_stats"]))
    logits, updates = run(variables, images)
    expected, wanted = run_plain(without_selection(variables, plain.bottleneck), images)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, without_selection(updates, plain.bottleneck), wanted)


def without_selection(variables, bottleneck):
    """Those of the plain network: the module's convolution and its norm stand in its place."""
    number, plain = 2 if bottleneck else 1, {}
    for path, value in traverse_util.flatten_dict(variables).items():
        if len(path) == 6:  # ("params", "stage1", "block1", "conv2", "conv1", "kernel")
            if path[4] not in ("conv1", "bn1"):
                continue
            path = (*path[:3], path[4].replace("1", str(number)), path[5])
        plain[path] = value
    return traverse_util.unflatten_dict(plain)


def test_stages_may_differ():
    model = twin(inner=(None, SelectiveKernel(least=4, kernel_sizes=(3, 5, 7))))
    images = random_images(2, 16)
    gates = attention_weights(model, random_variables(model, images), images)
    assert {place: g.shape for place, g in gates.items()} == {"stage2/block1/conv2": (2, 3, 16)}
    with pytest.raises(ValueError, match="inner has 3 entries, expected one for each of 2 stages"):
        twin(inner=(None,) * 3).init(jax.random.key(0), images)


def test_gates_come_out_by_the_place_of_the_convolution():
    model = twin("skresnet18", inner=MultiKernelConv(), attention=SEBlock(reduction=2))
    images = random_images(2, 16)
    gates = attention_weights(model, random_variables(model, images), images)
    assert {place: g.shape for place, g in gates.items()} == {
        "stage1/block1/conv1/se": (2, 2, 8),
        "stage1/block1/se": (2, 8),
        "stage2/block1/conv1/se": (2, 2, 16),
        "stage2/block1/se": (2, 16),
    }


def test_what_is_no_convolution_is_refused():
    with pytest.raises(ValueError, match=r"inner=SEBlock has no features, strides, groups, conv"):
        twin(inner=SEBlock()).init(jax.random.key(0), random_images())


def test_models_stay_values():
    assert twin(inner=MultiKernelConv()) == twin(inner=MultiKernelConv())
    assert hash(create_model("resnest50d")) == hash(create_model("resnest50d"))
    assert create_model("resnest14d") != create_model("resnest14d", inner=SplitAttention())


@pytest.mark.parametrize("name", ["skresnet18", "resnest50d"])
def test_small_twins_learn(name):
    model, images = twin(name, stem="cifar", stage_sizes=(1,)), random_images(n=8, size=8)
    labels = jnp.arange(8)
    variables = random_variables(model, images)

    @jax.jit
    def step(variables):
        def loss(params):
            given = {**variables, "params": params}
            logits, updates = model.apply(given, images, train=True, mutable=["batch_stats"])
            chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
            return -jnp.mean(chosen), updates

        (value, updates), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, g: p - 0.5 * g, variables["params"], gradients)
        return value, {"params": params, **updates}

    losses = []
    for _ in range(20):
        value, variables = step(variables)
        losses.append(float(value))
    assert losses[-1] < 0.5 * losses[0], losses


# ---- timm's names ----


def names_of(model):
    variables = random_variables(model, random_images())
    names = to_timm(variables, model)
    back = from_timm(names, model)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    return names


@pytest.mark.parametrize(
    ("name", "some"),
    [
        (
            "skresnet18",
            ["conv1.paths.1.conv.weight", "conv1.attn.fc_select.weight", "conv2.bn.running_var"],
        ),
        (
            "skresnet50",
            ["conv1.conv.weight", "conv2.paths.0.bn.bias", "conv2.attn.bn.weight", "conv3.bn.bias"],
        ),
        ("resnest14d", ["conv2.conv.weight", "conv2.bn0.bias", "conv2.fc2.bias", "conv3.weight"]),
        ("ecaresnet26t", ["se.conv.weight", "bn3.weight"]),
    ],
)
def test_weights_have_timms_names(name, some):
    assert {f"layer1.0.{tensor}" for tensor in some} <= names_of(twin(name)).keys()


ECA = ChannelAttention(excite=AcrossChannels())


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("skresnet50", dict(inner=MultiKernelConv()), "no such network with this inner"),
        ("legacy_seresnet50", dict(inner=SelectiveKernel()), "no such network with this inner"),
        ("skresnet50", dict(inner=SelectiveKernel(kernel_sizes=(3, 7))), r"kernel_sizes=\(3, 7\)"),
        ("skresnet50d", dict(antialias=True, stem="deep-aa"), "antialias=True"),
        ("resnest14d", dict(inner=SplitAttention()), "pool=None"),
        ("ecaresnet26t", dict(attention=ECA.clone(gate="hard_sigmoid")), "gate='hard_sigmoid'"),
        (
            "ecaresnet26t",
            dict(attention=ECA.clone(excite=AcrossChannels(circular=True))),
            "circular=True",
        ),
        ("ecaresnet26t", dict(attention=ChannelAttention()), "with this attention"),
    ],
)
def test_what_timm_does_not_have_is_refused(name, options, sentence):
    with pytest.raises(ConversionError, match=sentence):
        table_of(twin(name, **options))
