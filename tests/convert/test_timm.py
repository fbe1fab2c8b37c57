"""timm's state dicts in and out: exactly, or with every misfit named."""

import json
import zlib

import jax
import numpy as np
import pytest

from senet_jax import SEBlock, create_model
from senet_jax.convert import ConversionError, from_moskomule, from_timm, moskomule, to_timm
from senet_jax.convert.tables import COUNTER, counters_of, tensors_of
from senet_jax.convert.timm import table_of
from tests.convert import seeded
from tests.convert.seeded import timm_weights
from tests.convert.twins import GOLDEN

NAMES = json.loads((GOLDEN / "timm_names.json").read_text())
# one of each layout at its full size that is quick
FULL_SIZE = (
    *("legacy_seresnet18", "legacy_seresnet50", "legacy_senet154", "resnet50", "seresnet18"),
    *("seresnext26d_32x4d", "seresnext26t_32x4d"),
    *("seresnetaa50d", "resnetrs50"),
    *("efficientnet_b0", "mobilenetv3_small_100", "lcnet_050", "tf_efficientnetv2_b0"),
    *("mobilenetv1_100h", "hardcorenas_a", "regnety_002", "cspdarknet53", "vgg16_bn", "vgg16"),
)


def twin(name="seresnet18", **options):
    return create_model(name, **dict(stage_sizes=(1, 1), num_classes=10, dropout=0.0) | options)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"made by"} - set(FULL_SIZE)))
def test_names_and_shapes_of_the_others_are_timms(name):
    test_names_and_shapes_are_timms(name)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_names_and_shapes_are_timms(name):
    model = create_model(name)
    tensors = tensors_of(model, table_of(model), channels=3)
    shapes = {key: tensor.shape_there for key, tensor in tensors.items()}
    shapes |= dict.fromkeys(counters_of(tensors), ())
    lines = sorted(f"{key} {shape}" for key, shape in shapes.items())
    assert [len(lines), zlib.crc32("\n".join(lines).encode())] == NAMES[name]


@pytest.mark.parametrize("name", ["legacy_senet154", "seresnext26t_32x4d", "resnetrs50"])
def test_a_round_trip_is_exact_to_the_bit(name):
    model = twin(name)
    weights = timm_weights(model)
    back = to_timm(from_timm(weights, model), model)
    assert back.keys() == weights.keys()
    for key, value in weights.items():
        assert back[key].dtype == value.dtype and back[key].flags.c_contiguous
        assert back[key].tobytes() == value.tobytes(), key


def test_variables_are_those_that_init_makes():
    model = twin()
    variables = from_timm(timm_weights(model), model)
    made = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), variables) == jax.tree.map(
        lambda x: (x.shape, x.dtype), made
    )


def test_axes_are_moved_as_the_layers_need_them():
    model = twin()
    weights = timm_weights(model)
    params = from_timm(weights, model)["params"]
    block = params["stage2"]["block1"]
    conv = weights["layer2.0.conv1.weight"]  # [O, I, H, W]
    np.testing.assert_array_equal(block["conv1"]["kernel"][1, 2, 3, 4], conv[4, 3, 1, 2])
    fc1 = weights["layer2.0.se.fc1.weight"]  # [h, C, 1, 1]
    np.testing.assert_array_equal(block["se"]["fc1"]["kernel"], fc1[:, :, 0, 0].T)
    np.testing.assert_array_equal(params["head"]["fc"]["kernel"], weights["fc.weight"].T)


def test_other_images_other_types_and_no_classifier_convert_too():
    for model, channels in ((twin(), 5), (twin(num_classes=0), 3)):
        weights = timm_weights(model, channels)
        assert ("fc.weight" in weights) == (model.num_classes > 0)
        back = to_timm(from_timm(weights, model), model)
        assert all(np.array_equal(back[key], weights[key]) for key in weights)
    half = {key: value.astype(np.float16) for key, value in timm_weights(twin()).items()}
    variables = from_timm(half, twin())
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}


def test_counters_are_dropped_and_may_be_missing():
    model = twin()
    weights = timm_weights(model)
    counted = weights | {key: np.array(9) for key in weights if key.endswith(COUNTER)}
    without = {key: value for key, value in weights.items() if not key.endswith(COUNTER)}
    for found in (counted, without):
        back = to_timm(from_timm(found, model), model)
        assert back["bn1." + COUNTER] == 0 and back["bn1." + COUNTER].dtype == np.int64


def test_all_misfits_are_reported_together_by_name():
    model = twin()
    weights = timm_weights(model)
    weights["layer1.0.conv9.weight"] = weights.pop("layer1.0.conv1.weight")
    weights["layer9.0.bn1." + COUNTER] = np.array(0)
    del weights["bn1.running_var"]
    weights["fc.weight"] = weights["fc.weight"].T
    weights["layer2.0.bn1.bias"] = weights["layer2.0.bn1.bias"][:5]
    weights["conv1.weight"] = weights["conv1.weight"].astype(np.int8)
    with pytest.raises(ConversionError) as caught:
        from_timm(weights, model)
    error, message = caught.value, str(caught.value)
    assert error.missing == ("bn1.running_var", "layer1.0.conv1.weight")
    assert error.unexpected == ("layer1.0.conv9.weight", "layer9.0.bn1." + COUNTER)
    assert error.wrong.keys() == {"fc.weight", "layer2.0.bn1.bias", "conv1.weight"}
    assert "fc.weight has shape (128, 10), expected (10, 128) (transposed?)" in message
    assert "layer2.0.bn1.bias has shape (5,), expected (128,)" in message
    assert "conv1.weight holds int8, expected floats" in message
    assert all(name in message for name in (*error.missing, *error.unexpected))
    assert "SEResNet(stage_sizes=(1, 1), num_classes=10)" in message and "\n" not in message


@pytest.mark.parametrize(
    ("name", "change", "hint"),
    [
        ("seresnet50", lambda: timm_weights(twin("legacy_seresnet50")), r"create_model\('legacy_"),
        ("legacy_seresnet50", lambda: timm_weights(twin("seresnet50")), "leave 'legacy_' out"),
        ("seresnet18", lambda: moskomule_weights(), "use from_moskomule"),
        ("seresnet18", lambda: {"encoder.weight": np.ones(3)}, "unexpected encoder.weight"),
    ],
)
def test_weights_of_another_network_are_told(name, change, hint):
    with pytest.raises(ConversionError, match=hint):
        from_timm(change(), twin(name))


def test_a_long_list_is_cut_in_the_message_alone():
    model = create_model("seresnet50")
    with pytest.raises(ConversionError) as caught:
        from_timm({}, model)
    assert len(caught.value.missing) == NAMES["seresnet50"][0] - 53  # all but the counters
    assert "and 301 more" in str(caught.value)


def test_variables_of_another_model_are_refused():
    variables = from_timm(timm_weights(twin()), twin())
    with pytest.raises(
        ConversionError, match=r"variables .* missing .*params/stage2/block1/conv3/kernel"
    ):
        to_timm(variables, twin("seresnet50"))
    del variables["batch_stats"]
    with pytest.raises(ConversionError, match=r"missing .*batch_stats/stem/bn1/mean"):
        to_timm(variables, twin())


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("seresnet18", dict(placement="post"), "no such network with placement='post'"),
        ("seresnet50", dict(stride_at="1x1"), "stride_at='1x1'"),
        ("seresnet18", dict(antialias=True), "antialias=True"),
        ("seresnet20", {}, "stem='cifar'"),
        ("seresnet18", dict(attention=SEBlock(identity_start=True)), "identity_start=True"),
        ("seresnet18", dict(attention=(SEBlock(), None)), "this attention"),
    ],
)
def test_networks_that_timm_has_not_are_refused(name, options, sentence):
    for convert in (from_timm, to_timm):
        with pytest.raises(ConversionError, match=sentence):
            convert({}, twin(name, **options))


def moskomule_weights():
    model = create_model("seresnet20", stage_sizes=(1, 1, 1), attention=SEBlock(use_bias=False))
    return seeded.weights(model, moskomule.TABLE)


def test_moskomules_layers_without_biases_are_read():
    model = create_model("seresnet20", stage_sizes=(1, 1, 1), attention=SEBlock(use_bias=False))
    weights = moskomule_weights()
    assert weights["layer3.0.se.fc.0.weight"].shape == (4, 64)
    se = from_moskomule(weights, model)["params"]["stage3"]["block1"]["se"]
    np.testing.assert_array_equal(se["fc1"]["kernel"], weights["layer3.0.se.fc.0.weight"].T)
    with pytest.raises(ConversionError, match=r"missing layer1.0.se.fc.0.bias.*use_bias=False"):
        from_moskomule(weights, create_model("seresnet20", stage_sizes=(1, 1, 1)))
