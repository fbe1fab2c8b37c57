"""Folders for timm: what is in them, and what is refused (that timm opens them: tests.parity)."""

import json

import jax
import numpy as np
import pytest

from senet_jax import BatchNorm, SEBlock, create_model
from senet_jax.convert import ConversionError, export_timm, from_timm, read_weights
from tests.convert import seeded

SMALL = dict(stage_sizes=(1, 1), width=16, num_classes=3)


def variables_of(model, channels=3):
    return from_timm(seeded.timm_weights(model, channels), model)


def exported(tmp_path, name, model, channels=3, **options):
    variables = variables_of(model, channels)
    folder = export_timm(model, name, variables, tmp_path / "out", **options)
    return variables, folder, json.loads((folder / "config.json").read_text())


def test_the_folder_holds_weights_and_everything_that_timm_must_know(tmp_path):
    model = create_model("seresnet50t", dropout=0.3, **SMALL)
    variables, folder, config = exported(
        tmp_path, "seresnet50t", model, crop_pct=0.95, class_names=("cat", "dog", "owl")
    )
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert config["architecture"] == "seresnet50t"
    assert (config["num_classes"], config["num_features"]) == (3, 128)
    assert config["label_names"] == ["cat", "dog", "owl"]
    assert config["model_args"] == {
        "layers": [1, 1],
        "channels": [16, 32],
        "stem_width": 8,
        "drop_rate": 0.3,
    }
    assert config["pretrained_cfg"] == {
        "custom_load": False,
        "input_size": [3, 224, 224],
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 3,
        "pool_size": None,
        "first_conv": "conv1.0",
        "classifier": "fc",
    }
    back = from_timm(read_weights(folder / "model.safetensors"), model)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_networks_of_other_images_and_of_the_older_layout(tmp_path):
    model = create_model("legacy_seresnet18", stage_sizes=(1, 1, 1, 1), num_classes=3)
    _, _, config = exported(
        tmp_path, "legacy_seresnet18", model, 1, image_size=96, mean=(0.5,), std=(0.25,)
    )
    assert config["model_args"] == {"layers": [1, 1, 1, 1]}
    found = config["pretrained_cfg"]
    assert (found["input_size"], found["mean"], found["std"]) == ([1, 96, 96], [0.5], [0.25])
    assert (found["first_conv"], found["classifier"]) == ("layer0.conv1", "last_linear")


def test_what_does_not_change_the_function_needs_no_word(tmp_path):
    options = dict(num_classes=3, norm=BatchNorm(momentum=0.99), zero_init_last=False)
    model = create_model("resnet18", attention=SEBlock(divisor=8), **options)  # as seresnet18's
    _, _, config = exported(tmp_path, "seresnet18", model)
    assert "model_args" not in config and "label_names" not in config


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("seresnet18", dict(attention=None), "not timm's seresnet18: it differs in attention"),
        ("seresnet18", dict(attention=SEBlock(reduction=4)), "differs in attention"),
        ("seresnet18", dict(width=32), "differs in width"),
        ("seresnet18", dict(norm=BatchNorm(epsilon=1e-3)), "differs in norm"),
        ("legacy_seresnet18", dict(stage_sizes=(1, 1)), "differs in stage_sizes"),
        ("seresnet20", {}, "no such network with stem='cifar'"),
    ],
)
def test_networks_that_timm_cannot_build_are_refused(tmp_path, name, options, sentence):
    model = create_model(name, **options)
    with pytest.raises(ConversionError, match=sentence):
        export_timm(model, name, {}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_wrong_inputs_get_a_sentence(tmp_path):
    model = create_model("seresnet50t", **SMALL)
    variables = variables_of(model)
    export = lambda name="seresnet50t", **options: export_timm(
        model, name, variables, tmp_path / "out", **options
    )
    with pytest.raises(ValueError, match="Unknown model 'seresnet50x'"):
        export("seresnet50x")
    with pytest.raises(ValueError, match="2 class names, expected 3"):
        export(class_names=("cat", "dog"))
    with pytest.raises(ValueError, match=r"mean=\(0.5,\).*expected 3 values each"):
        export(mean=(0.5,), std=(0.5,))
    with pytest.raises(ConversionError, match="variables do not fit"):
        export_timm(model, "seresnet50t", {"params": {}}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
