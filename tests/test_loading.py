"""`load` reads what a training run has left, without the trainer and on any number of devices."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import senet_jax
from senet_jax.loading import class_names_for, load, model_name_for, steps_by_preference
from senet_jax.preprocessing import Preprocess, preprocess_for
from tests.write_on_eight_devices import OPTIONS

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A working directory that was written on 8 simulated devices; read here on one."""
    workdir = tmp_path_factory.mktemp("runs") / "written"
    command = [sys.executable, "-m", "tests.write_on_eight_devices", str(workdir)]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture
def workdir(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "run"))


@pytest.fixture(scope="module")
def fresh():
    """The variables that were written: those of seed 0."""
    model = senet_jax.create_model("seresnet20", **OPTIONS)
    return model.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))


def assert_close(variables, expected):
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    for got, want in zip(jax.tree.leaves(variables), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)  # compiled and not compiled


def test_the_averages_are_loaded_by_default_on_one_device(written, fresh):
    model, variables = load(written)
    assert model == senet_jax.create_model("seresnet20", **OPTIONS)
    assert_close(variables, jax.tree.map(lambda x: x + 1, fresh))
    devices = {d for leaf in jax.tree.leaves(variables) for d in leaf.devices()}
    assert devices == {jax.devices()[0]}
    logits = model.apply(variables, np.zeros((2, 8, 8, 1), np.float32), train=False)
    assert logits.shape == (2, 7)


def test_the_raw_weights_are_loaded_when_asked_for(written, fresh):
    assert_close(load(written, weights="raw")[1], fresh)


def test_without_averages_the_raw_weights_are_the_default(tmp_path, fresh):
    import orbax.checkpoint as ocp

    step = tmp_path / "checkpoints" / "5"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(step / "state", {**fresh, "ema": {}, "step": np.int32(5)})
    (step / "config").mkdir()
    description = {"format": 1, "model": {"name": "seresnet20", "options": OPTIONS}}
    (step / "config" / "metadata").write_text(json.dumps(description))
    assert_close(load(tmp_path)[1], fresh)
    with pytest.raises(ValueError, match=r"kept no moving averages.*weights='raw'"):
        load(tmp_path, weights="ema")


def test_the_trainer_is_not_needed(written, tmp_path):
    """In a fresh interpreter that sees the library alone."""
    (tmp_path / "senet_jax").symlink_to(CHECKOUT / "senet_jax")
    code = (
        "import sys, senet_jax.loading as loading\n"
        f"model, variables = loading.load({str(written)!r})\n"
        "print(sorted({'train', 'configs', 'ml_collections', 'optax'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_best_step_is_preferred_then_the_next_then_the_newest_without_scores(workdir):
    directory = workdir / "checkpoints"
    for step in (3, 4):
        shutil.copytree(directory / "1", directory / str(step))
        shutil.rmtree(directory / str(step) / "metrics")
    assert steps_by_preference(directory) == [2, 1, 4, 3]


@pytest.mark.parametrize("part", ["state", "config"])
def test_a_damaged_best_gives_way_to_the_next_with_a_warning(workdir, part, fresh):
    for file in (workdir / "checkpoints" / "2" / part).glob("**/*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:20])
    with pytest.warns(UserWarning, match=r"checkpoints/2 cannot be read.*Loaded step 1 instead"):
        _, variables = load(workdir)
    assert_close(variables, jax.tree.map(lambda x: x + 1, fresh))


def test_if_all_are_damaged_it_says_so(workdir):
    for step in "12":
        shutil.rmtree(workdir / "checkpoints" / step / "state")
    with pytest.raises(ValueError, match=r"2 cannot be read.*1 cannot.*No checkpoint is left"):
        load(workdir)


def test_another_number_of_classes_gets_a_new_classifier(written, fresh, caplog):
    model, variables = load(written, num_classes=7, in_chans=1)
    assert model.num_classes == 7 and not caplog.messages
    model, variables = load(written, weights="raw", num_classes=10)
    assert model.num_classes == 10 and "newly initialised for 10 classes" in caplog.text
    assert variables["params"].pop("head")["fc"]["bias"].shape == (10,)
    kept = {**fresh, "params": {k: v for k, v in fresh["params"].items() if k != "head"}}
    assert_close(variables, kept)


def test_a_run_says_what_it_is_and_how_its_images_are_prepared(written):
    assert model_name_for(written, "seresnet20") == "seresnet20"
    assert class_names_for(written) == tuple("abcdefg")
    preprocess = preprocess_for(written)
    assert preprocess == Preprocess((8, 8), mean=(0.25,), std=(0.5,), crop=1.0)
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    np.testing.assert_allclose(preprocess(pixels)[0], (pixels / 255 - 0.25) / 0.5, atol=1e-6)
    with pytest.raises(ValueError, match="holds seresnet20, not seresnet50: leave the name out"):
        load(written, "seresnet50")


def test_options_that_change_the_network_are_refused(written):
    assert load(written, fused=False)[0].norm.fused is False
    with pytest.raises(ValueError, match="of another network: stage1/block1/se/fc1/bias"):
        load(written, attention=None)


def test_a_directory_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=f"There are no checkpoints in {tmp_path}, and no weights: expected"
    ):
        load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(
        FileNotFoundError, match=f"There are no checkpoints in {tmp_path}: expected"
    ):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"There is nothing at .*nowhere"):
        load(tmp_path / "nowhere")


def test_a_newer_format_is_refused_and_not_taken_for_damage(workdir):
    file = workdir / "checkpoints" / "2" / "config" / "metadata"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    with pytest.raises(ValueError, match=r"has format 2, and this senet_jax reads formats up to 1"):
        load(workdir)


def test_unknown_weights_are_refused(written):
    with pytest.raises(ValueError, match="weights is 'best', expected 'ema', 'raw' or None"):
        load(written, weights="best")
