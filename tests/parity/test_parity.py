"""Against the living originals: `python -m pytest -m parity tests/parity` (docs/parity.md).

torch and timm are imported in the tests, so that collecting them needs neither.
"""

import numpy as np
import pytest

from senet_jax import SEBlock, attention_weights, create_model, list_models
from senet_jax.convert import export_timm, from_moskomule, from_timm, read_weights, to_timm
from tests.convert import ours, seeded
from tests.convert.twins import TWINS

pytestmark = pytest.mark.parity

PROMISED = 1e-4  # of the greatest value of a tensor, in float32
TRAINED = [twin for twin in TWINS if twin.trains and twin.source == "timm"]


def test_all_names_that_timm_has_are_compared():
    from tests.parity.measure import NAMES
    from tests.parity.reference import timm

    assert {name for name in list_models() if timm.is_model(name)} == set(NAMES)


@pytest.mark.parametrize("name", list_models())
def test_logits_and_every_level_are_timms(name):
    from tests.parity import measure

    if name not in measure.NAMES:
        pytest.skip("timm has no such network")
    errors = measure.outputs(name)
    assert set(errors) == set(measure.sizes_of(name))
    assert max(measure.worst(found) for found in errors.values()) <= PROMISED, errors


# in float64 nothing but the formulas counts; in float32 a ReLU at zero may go either way, and does
# not at this size
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("twin", TRAINED, ids=lambda twin: twin.name)
def test_gradients_and_running_statistics_are_timms(twin, dtype):
    from tests.parity import measure

    errors = measure.step(twin, dtype)
    tolerance = PROMISED if dtype == "float32" else twin.rounding
    assert measure.worst(errors) <= tolerance, errors


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("seresnet20", dict(sizes=(3, 3, 3), cifar=True)),
        ("seresnet18", dict(sizes=(2, 2, 2, 2), cifar=False)),
        ("seresnet50", dict(sizes=(3, 4, 6, 3), cifar=False, bottleneck=True)),
    ],
)
@pytest.mark.parametrize("reduction", [16, 8])
def test_moskomules_networks_are_ours(name, network, reduction):
    from tests.parity import moskomule, reference

    theirs = reference.load_seeded(moskomule.Network(**network, reduction=reduction))
    attention = SEBlock(reduction=reduction, use_bias=False)
    model = create_model(name, attention=attention, num_classes=10)
    variables = from_moskomule(theirs.state_dict(), model)
    for size in (32, 33):
        images = seeded.images(2, size)
        expected, expected_levels = reference.evaluate(theirs, images)
        logits, levels = ours.evaluate(model, variables, images)
        assert ours.relative_error(logits, expected) <= PROMISED
        for level, wanted in zip(levels, expected_levels, strict=True):
            assert ours.relative_error(level, wanted) <= PROMISED


@pytest.mark.parametrize(
    ("name", "options", "channels", "size"),
    [
        ("seresnet18", {}, 3, 64),
        ("resnet50", {}, 1, 64),
        ("seresnet50t", dict(stage_sizes=(2, 1, 1, 2), width=16), 4, 65),
        ("seresnext26d_32x4d", dict(cardinality=8, base_width=16), 3, 64),
        ("resnetrs50", dict(stage_sizes=(1, 1, 1, 1)), 3, 64),
        ("legacy_seresnet18", dict(dropout=0.0), 3, 64),
        ("legacy_senet154", dict(stage_sizes=(1, 1, 1, 1)), 2, 64),
    ],
)
def test_timm_opens_our_folder_and_computes_the_same(tmp_path, name, options, channels, size):
    from tests.parity.reference import nchw, timm, torch

    model = create_model(name, num_classes=5, **options)
    images = np.random.default_rng(0).normal(size=(2, size, size, channels)).astype(np.float32)
    variables = from_timm(seeded.timm_weights(model, channels), model)
    statistics = dict(mean=[0.4] * channels, std=[0.3] * channels)
    names = ("a", "b", "c", "d", "e")
    folder = export_timm(
        model, name, variables, tmp_path, image_size=size, class_names=names, **statistics
    )
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        expected = theirs(nchw(images)).numpy()
    logits = model.apply(variables, images)
    assert ours.relative_error(logits, expected) <= PROMISED
    found = timm.data.resolve_model_data_config(theirs)
    assert list(found["input_size"]) == [channels, size, size] and found["crop_pct"] == 0.875
    assert (list(found["mean"]), list(found["std"])) == tuple(statistics.values())
    assert tuple(theirs.pretrained_cfg["label_names"]) == names
    back = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert all(np.array_equal(back[key], value) for key, value in to_timm(variables, model).items())
    # for training on: other classes and other images, by timm's own rules
    again = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=7, in_chans=3)
    assert again(torch.zeros(1, 3, size, size)).shape == (1, 7)


@pytest.mark.parametrize("name", ["seresnet18", "legacy_seresnet18"])
def test_files_that_torch_and_timm_write_are_read(tmp_path, name):
    from safetensors.torch import save_file

    from tests.parity.measure import check_round_trip
    from tests.parity.reference import make, state_dict, torch

    network = make(name)
    wrapped = torch.nn.DataParallel(network)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    torch.save({"epoch": 1, "state_dict": wrapped.state_dict()}, tmp_path / "b.pth.tar")
    torch.save({"model": network.state_dict()}, tmp_path / "c.bin")
    save_file(network.state_dict(), tmp_path / "d.safetensors")
    for file in ("a.pth", "b.pth.tar", "c.bin", "d.safetensors"):
        check_round_trip(state_dict(network), read_weights(tmp_path / file))


@pytest.mark.parametrize("name", ["legacy_seresnet50", "efficientnet_b0", "mobilenetv3_large_100"])
def test_attention_weights_are_the_gates_that_hooks_catch(name):
    from tests.parity import reference

    theirs = reference.make(name)
    model = create_model(name)
    variables = from_timm(reference.state_dict(theirs), model)
    images = seeded.images(2, 64)
    caught = reference.gates(theirs, images)
    found = attention_weights(model, variables, images)
    assert len(found) == len(caught) > 0
    for (path, values), expected in zip(found.items(), caught, strict=True):
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5, err_msg=path)
