"""`load` finds weights wherever they are, and says what it changed or what is wrong."""

import json
import logging
import shutil
import socket

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import senet_jax
from senet_jax import (
    SEBlock,
    class_names_for,
    create_model,
    list_models,
    load,
    preprocess_for,
)
from senet_jax.adapting import image_channels
from senet_jax.convert import ConversionError, export_timm, to_timm
from senet_jax.convert.tables import module_there
from senet_jax.convert.timm import table_of
from senet_jax.loading import CLASSIFIERS, model_name_for
from senet_jax.models.pretrained import PRETRAINED, RELEASED, find_pretrained
from senet_jax.models.registry import VARIANTS

safetensors = pytest.importorskip("safetensors.numpy")

NAME, OPTIONS = "seresnet50t", dict(stage_sizes=(1, 1), width=16)  # a deep stem may be narrow
CLASSES = ("cat", "dog", "newt", "owl", "pig")


@pytest.fixture(scope="module")
def model():
    return create_model(NAME, num_classes=len(CLASSES), **OPTIONS)


@pytest.fixture(scope="module")
def variables(model):
    rng = np.random.default_rng(0)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree.map(lambda v: jnp.asarray(rng.uniform(0.1, 1.0, v.shape), v.dtype), shapes)


@pytest.fixture
def file(model, variables, tmp_path):
    path = tmp_path / "mine.safetensors"
    safetensors.save_file(to_timm(variables, model), path)
    return path


@pytest.fixture
def folder(model, variables, tmp_path):
    export_timm(model, NAME, variables, tmp_path / "exported", class_names=CLASSES)
    return tmp_path / "exported"


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


# Files and folders


def test_a_file_is_loaded_with_the_classes_that_it_has(file, model, variables, caplog):
    loaded, got = load(file, NAME, **OPTIONS)
    assert loaded == model
    assert_same(got, variables)
    assert not caplog.messages
    assert load(str(file), f"{NAME}", num_classes=5, in_chans=3, **OPTIONS)[0] == model


def test_a_folder_says_what_it_is(folder, model, variables):
    for source in (folder, str(folder), f"local-dir:{folder}", folder / "model.safetensors"):
        loaded, got = load(source)
        assert loaded == model
        assert_same(got, variables)
        assert class_names_for(source) == CLASSES
        assert model_name_for(source) == NAME
    assert load(folder, NAME)[0] == model
    with pytest.raises(ValueError, match=r"exported holds seresnet50t, not seresnet50: leave"):
        load(folder, "seresnet50")


def test_timms_own_folder_may_hold_a_torch_file(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_text("no torch file")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin"):
        load(folder)


def test_arguments_without_a_counterpart_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] |= {"block": "basic", "in_chans": 3}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"asks timm for block \(model_args\), which has no"):
        load(folder)


def test_a_folders_config_stands_by_its_weights(folder):
    with pytest.raises(ValueError, match="holds seresnet50t, not resnet50"):
        load(folder / "model.safetensors", "resnet50")


def rewritten(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    cfg = changes.pop("pretrained_cfg", {})
    config["pretrained_cfg"] = None if cfg is None else config["pretrained_cfg"] | cfg
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


@pytest.mark.parametrize("missing", ["input_size", "crop_pct", "mean", "std", "crop_mode"])
def test_what_a_config_leaves_null_is_as_in_timm(folder, missing):
    preprocess_for(rewritten(folder, pretrained_cfg={missing: None}))
    preprocess_for(rewritten(folder, pretrained_cfg=None))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(model_args=["drop_rate"]), "model_args=.*expected names and values"),
        (dict(pretrained_cfg=dict(input_size=[224, 224])), "input_size .*expected .channels, H"),
        (dict(pretrained_cfg=dict(std=[0, 1, 1])), "std=.*greater than zero"),
        (dict(pretrained_cfg=dict(crop_mode="border")), "crop_mode 'border', expected 'center'"),
    ],
)
def test_a_config_that_says_nonsense_gets_a_sentence(folder, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(rewritten(folder, **changes))
        preprocess_for(folder)


def test_squashed_images_are_exported_as_such(model, variables, tmp_path):
    folder = export_timm(model, NAME, variables, tmp_path / "squash", crop_mode="squash")
    assert preprocess_for(folder).crop_mode == "squash"


@pytest.mark.parametrize("channels", [0, -1])
def test_images_have_channels(file, channels):
    with pytest.raises(ValueError, match=f"in_chans={channels}, expected 1 channel or more"):
        load(file, NAME, in_chans=channels, **OPTIONS)


def test_options_reach_the_model(file, folder):
    assert load(file, NAME, dtype="bfloat16", **OPTIONS)[0].dtype == "bfloat16"
    assert not load(folder, fused=False)[0].norm.fused
    with pytest.raises(ValueError, match=r"has no option 'num_class'. Did you mean 'num_classes'"):
        load(file, NAME, num_class=3)


def test_a_file_of_moskomules_is_recognised(tmp_path):
    attention = SEBlock(reduction=4, use_bias=False)
    options = dict(stage_sizes=(1, 1), width=8, attention=attention)
    model = create_model("seresnet18", num_classes=7, **options)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    theirs = {
        name.replace("se.fc1.", "se.fc.0.").replace("se.fc2.", "se.fc.2."): np.squeeze(tensor)
        if ".se." in name
        else tensor
        for name, tensor in to_timm(variables, model).items()
    }
    safetensors.save_file(
        {k: np.ascontiguousarray(v) for k, v in theirs.items()}, tmp_path / "m.safetensors"
    )
    assert_same(load(tmp_path / "m.safetensors", "seresnet18", **options)[1], variables)


def test_the_classifier_of_every_family_is_known():
    found = set()
    for name in list_models():
        try:
            table = table_of(create_model(name))
        except ConversionError:  # timm has no such network
            continue
        classifier, _ = module_there("head/fc", table)
        assert classifier in CLASSIFIERS, name
        found.add(classifier)
    assert {"fc", "last_linear", "classifier"} <= found


def test_a_mobile_network_is_loaded_with_the_classes_that_it_has(tmp_path):
    model = create_model("lcnet_050", num_classes=5)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda v: np.full(v.shape, 0.1, v.dtype), shapes)
    safetensors.save_file(to_timm(variables, model), tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors", "lcnet_050")[0] == model


def test_a_file_that_does_not_say_what_it_is_needs_a_name(file):
    with pytest.raises(ValueError, match=r"mine\.safetensors does not say what network it is for"):
        load(file)
    with pytest.raises(
        ValueError, match=r"Unknown model 'seresnet5O'. Did you mean .*'seresnet50'"
    ):
        load(file, "seresnet5O")


def test_weights_of_another_network_are_refused_by_tensor(file):
    with pytest.raises(ConversionError, match=r"do not fit .*: .*layer1\.1\.conv1\.weight"):
        load(file, NAME, stage_sizes=(2, 1), width=16)
    with pytest.raises(ConversionError, match=r"unexpected .*se\.fc1\.weight"):
        load(file, NAME, attention=None, **OPTIONS)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is nothing at .*gone\.pth: expected"):
        load(tmp_path / "gone.pth", "seresnet50")
    with pytest.raises(FileNotFoundError, match=r"There is nothing at runs/gone: expected"):
        load("runs/gone")
    with pytest.raises(FileNotFoundError, match=r"'seresnet5O' is neither .* Did you mean 'seres"):
        load("seresnet5O")
    with pytest.raises(FileNotFoundError, match=r"no checkpoints in .*, and no weights"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"config\.json of .* names no architecture"):
        load(tmp_path)


def test_averages_are_asked_of_training_runs_alone(file):
    with pytest.raises(ValueError, match=r"weights='raw' chooses between what a training run kept"):
        load(file, NAME, weights="raw", **OPTIONS)


# Other classes, other images


def test_another_number_of_classes_gets_a_new_classifier_and_says_so(folder, variables, caplog):
    model, got = load(folder, num_classes=3)
    assert model.num_classes == 3
    assert caplog.messages == [
        "The classifier is newly initialised for 3 classes (the weights have 5)."
    ]
    head = got["params"].pop("head")["fc"]
    assert head["kernel"].shape == (128, 3)
    assert np.ptp(head["kernel"]) > 0
    params = dict(variables["params"])
    params.pop("head")
    assert_same(got, {**variables, "params": params})

    again, other = (load(folder, num_classes=3, key=k)[1] for k in (None, jax.random.key(1)))
    assert_same(again["params"]["head"]["fc"], head)
    assert np.any(other["params"]["head"]["fc"]["kernel"] != head["kernel"])


def test_features_alone_leave_the_classifier_out(folder, caplog):
    model, variables = load(folder, num_classes=0)
    assert "head" not in variables["params"]
    assert caplog.messages == ["The classifier of the weights, for 5 classes, is left out."]
    pooled = jax.eval_shape(model.apply, variables, jnp.zeros((1, 32, 32, 3)))
    assert pooled.shape == (1, 128)


def test_a_file_without_a_classifier_gets_one_when_asked(file, model, variables, caplog):
    tensors = {k: v for k, v in to_timm(variables, model).items() if not k.startswith("fc.")}
    safetensors.save_file(tensors, file)
    assert load(file, NAME, **OPTIONS)[0].num_classes == 0
    assert not caplog.messages
    assert load(file, NAME, num_classes=4, **OPTIONS)[0].num_classes == 4
    assert caplog.messages == ["The classifier is newly initialised for 4 classes."]


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_other_images_adapt_the_first_kernel_as_timm_does(folder, variables, channels, caplog):
    _, got = load(folder, in_chans=channels)
    assert image_channels(got) == channels
    kernel = np.asarray(variables["params"]["stem"]["conv1"]["kernel"])
    if channels == 1:
        expected = kernel.sum(axis=2, keepdims=True)
    else:  # timm's adapt_input_conv
        repeats = -(-channels // 3)
        expected = np.tile(kernel, (1, 1, repeats, 1))[:, :, :channels] * (3 / channels)
    np.testing.assert_allclose(got["params"]["stem"]["conv1"]["kernel"], expected, rtol=1e-6)
    assert len(caplog.messages) == 1
    assert f"The first convolution takes {channels} channel" in caplog.messages[0]
    others = dict(got["params"], stem=dict(got["params"]["stem"], conv1=None))
    wanted = dict(variables["params"], stem=dict(variables["params"]["stem"], conv1=None))
    assert_same(others, wanted)


def test_only_kernels_for_colours_are_adapted(model, variables, tmp_path):
    grey = jax.tree.map(lambda x: x, variables)
    kernel = grey["params"]["stem"]["conv1"]["kernel"]
    grey["params"]["stem"]["conv1"]["kernel"] = kernel[:, :, :1]
    export_timm(model, NAME, grey, tmp_path / "grey", mean=[0.5], std=[0.5])
    assert image_channels(load(tmp_path / "grey")[1]) == 1
    with pytest.raises(ValueError, match="for images with 1 channels, and only those for 3"):
        load(tmp_path / "grey", in_chans=3)


def test_what_is_told_can_be_silenced(folder, capsys):
    logging.getLogger("senet_jax").setLevel("ERROR")
    try:
        load(folder, num_classes=2)
    finally:
        logging.getLogger("senet_jax").setLevel(logging.NOTSET)
    assert capsys.readouterr().err == ""


# Published weights


def test_the_table_of_weights_fits_the_zoo():
    assert PRETRAINED.keys() <= VARIANTS.keys()
    assert all(find_pretrained(name) == (name, next(iter(PRETRAINED[name]))) for name in PRETRAINED)
    assert {name for tagged in RELEASED for name, _ in [find_pretrained(tagged)]} == {
        name for name in PRETRAINED if name.startswith("legacy_")
    }


def test_names_without_weights_say_so_and_name_the_nearest():
    with pytest.raises(
        ValueError, match=r"seresnet101 has no published weights: .* 'legacy_seresnet101' or 'seres"
    ):
        load("seresnet101")
    with pytest.raises(ValueError, match=r"resnet50t has no published weights: .* 'resnet50' or"):
        load("resnet50t")
    with pytest.raises(
        ValueError, match=r"seresnet50 has no published weights 'a9': .*a1_in1k, a2"
    ):
        load("seresnet50.a9")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub's client, and a network that nobody may use."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path / "cache"


def put(cache, repository, *files):
    """Files into the cache, as the hub's client keeps them."""
    home = cache / f"models--{repository.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    (home / "snapshots" / ("0" * 40)).mkdir(parents=True)
    for file in files:
        shutil.copy(file, home / "snapshots" / ("0" * 40) / file.name)


def test_cached_weights_need_no_network(cache, file, model, variables):
    weights = shutil.copy(file, file.parent / "model.safetensors")
    put(cache, "timm/seresnet152d.ra2_in1k", weights)
    for tag in ("seresnet152d", "seresnet152d.ra2_in1k"):
        _, got = load(tag, shortcut="average", stem="tiered", **OPTIONS)
        assert_same(got, variables)


def test_a_repository_of_ones_own_is_opened_by_its_config(cache, folder, model):
    put(cache, "me/mine", folder / "config.json", folder / "model.safetensors")
    assert load("hf-hub:me/mine")[0] == model
    assert class_names_for("hf-hub:me/mine") == CLASSES
    with pytest.raises(FileNotFoundError, match=r"HF_HUB_OFFLINE .*put config\.json and model"):
        load("hf-hub:me/yours")


def test_offline_it_says_at_once_what_to_put_where(cache, monkeypatch):
    url = r"https://huggingface\.co/timm/seresnet50\.ra2_in1k/resolve/main/model\.safetensors"
    where = rf"Download {url} where you can, and give the file itself: senet_jax\.load\("
    with pytest.raises(FileNotFoundError, match=rf"HF_HUB_OFFLINE forbids fetching it\. {where}"):
        load("seresnet50.ra2_in1k")
    with pytest.raises(
        FileNotFoundError, match=r"https://github\.com/.*/se_resnet50-ce0d4300\.pth"
    ):
        load("legacy_seresnet50")

    from huggingface_hub import constants

    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # what a laptop without network says
    with pytest.raises(FileNotFoundError, match=rf"cannot be reached \(.*not known\)\. {where}"):
        load("seresnet50.ra2_in1k")


def test_without_the_hubs_client_it_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"needs a package: pip install 'senet_jax\[hub\]'"):
        load("seresnet50")


def test_the_library_offers_it():
    assert senet_jax.load is load
