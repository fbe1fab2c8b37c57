"""The command line: `python -m senet_jax predict|export`; `models` is tested in test_summary."""

import csv
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import create_model, load, preprocess_for
from senet_jax.cli import main
from senet_jax.convert import export_timm

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("safetensors")

CLASSES = ("cat", "dog", "newt", "owl", "pig")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with a small network for colour images of 32 pixels."""
    model = create_model("seresnet18", stage_sizes=(1, 1), num_classes=len(CLASSES))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda v: jnp.asarray(rng.normal(size=v.shape) * 0.1, v.dtype), shapes)
    variables["batch_stats"] = jax.tree.map(jnp.abs, variables["batch_stats"])
    folder = tmp_path_factory.mktemp("weights")
    export_timm(model, "seresnet18", variables, folder, image_size=32, class_names=CLASSES)
    return str(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of images, one in a folder within, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(1)
    (folder / "more").mkdir()
    for name in ("b.png", "a.JPG", "more/c.png"):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def expected(weights, files):
    """Probabilities, by way of the library."""
    model, variables = load(weights)
    images = preprocess_for(weights)([str(file) for file in files])
    return np.asarray(jax.nn.softmax(jax.jit(model.apply)(variables, images)))


def test_a_folder_is_predicted_and_written(weights, pictures, tmp_path, capsys):
    out = tmp_path / "found.json"
    arguments = ["predict", str(pictures), "--weights", weights, "--top", "2", "--out", str(out)]
    assert main(arguments) == 0
    found = json.loads(out.read_text())
    files = [pictures / name for name in ("a.JPG", "b.png", "more/c.png")]
    assert [f["image"] for f in found] == list(map(str, files))
    for prediction, probabilities in zip(found, expected(weights, files), strict=True):
        best = np.argsort(-probabilities)[:2]
        assert [p["class"] for p in prediction["predictions"]] == best.tolist()
        assert [p["name"] for p in prediction["predictions"]] == [CLASSES[i] for i in best]
        np.testing.assert_allclose(
            [p["probability"] for p in prediction["predictions"]], probabilities[best], atol=1e-5
        )
    first, second = found[0]["predictions"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == str(files[0])
    assert printed[1].split() == [
        f"{100 * first['probability']:.2f}",
        "%",
        str(first["class"]),
        first["name"],
    ]
    assert printed[2].split()[-1] == second["name"]
    assert len(printed) == 3 * 3


def test_predictions_are_written_as_a_table(weights, pictures, tmp_path):
    out = tmp_path / "found.csv"
    assert main(["predict", str(pictures / "b.png"), "--weights", weights, "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.open()))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {row["name"] for row in rows} == set(CLASSES)
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_more_images_than_a_batch_are_all_predicted(weights, pictures, monkeypatch, capsys):
    monkeypatch.setattr("senet_jax.cli.reading.BATCH_SIZE", 2)
    assert main(["predict", str(pictures), "--weights", weights, "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = [pictures / name for name in ("a.JPG", "b.png", "more/c.png")]
    best = expected(weights, files).argmax(-1)
    assert [line.split()[-1] for line in lines[1::2]] == [CLASSES[i] for i in best]


def test_a_file_of_weights_alone_gives_numbers(weights, pictures, tmp_path, capsys):
    file = tmp_path / "bare.safetensors"
    file.write_bytes(Path(weights, "model.safetensors").read_bytes())
    arguments = ["predict", str(pictures / "b.png"), "--weights", str(file), "--top", "1"]
    assert main(arguments) == 2
    assert "bare.safetensors does not say what network it is for" in capsys.readouterr().err
    assert main([*arguments, "--model", "seresnet18"]) == 2  # another depth
    assert "error: The weights do not fit" in capsys.readouterr().err


def without(name):
    return lambda tensors: {k: v for k, v in tensors.items() if k != name}


def renamed(old, new):
    return lambda tensors: {k.replace(old, new): v for k, v in tensors.items()}


def transposed(name):
    return lambda tensors: tensors | {name: np.ascontiguousarray(tensors[name].T)}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("layer1.0.bn1.running_var"), "missing layer1.0.bn1.running_var."),
        (renamed("layer2.0.se", "layer2.0.sq"), "missing layer2.0.se.fc1.bias, layer2.0.se.fc"),
        (transposed("fc.weight"), "fc.weight has shape (128, 5), expected (5, 128) (tr"),
        (transposed("layer2.0.downsample.0.weight"), "layer2.0.downsample.0.weight has shape ("),
    ],
)
def test_damaged_weights_are_named_by_tensor(weights, pictures, tmp_path, damage, message, capsys):
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors = safetensors.load_file(Path(weights, "model.safetensors"))
    safetensors.save_file(damage(tensors), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(Path(weights, "config.json").read_bytes())
    assert main(["predict", str(pictures), "--weights", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not printed.out


def test_truncated_weights_are_named(weights, pictures, tmp_path, capsys):
    file = tmp_path / "cut.safetensors"
    whole = Path(weights, "model.safetensors").read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    arguments = ["predict", str(pictures), "--weights", str(file), "--model", "seresnet18"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {file} is truncated or no safetensors file")


class Intruder:
    """Pickled, it makes a file when a careless reader opens it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_that_would_run_code_is_refused(pictures, tmp_path, capsys):
    file, mark = tmp_path / "evil.pth", tmp_path / "mark"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"conv1.weight": Intruder(str(mark))}))
        archive.writestr("evil/version", "3")
    arguments = ["predict", str(pictures), "--weights", str(file), "--model", "seresnet18"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "evil.pth" in error and len(error.splitlines()) == 1
    assert not mark.exists()


def test_an_unreadable_image_is_named_and_the_others_are_predicted(
    weights, pictures, tmp_path, capsys
):
    (tmp_path / "bad.png").write_text("no image")
    paths = [str(tmp_path / "bad.png"), str(pictures / "b.png")]
    assert main(["predict", *paths, "--weights", weights]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith(paths[1])
    assert printed.err.startswith(f"error: {paths[0]} cannot be read as an image")
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "gone.png", "--weights", "{weights}"], "error: There is no image gone.png."),
        (["predict", "{empty}", "--weights", "{weights}"], "error: There are no images in"),
        (["predict", "{picture}", "--weights", "gone.pth"], "error: There is nothing at gone.pth"),
        (["predict", "{picture}", "--weights", "seresnet34"], "error: seresnet34 has no published"),
        (["export", "--timm", "{empty}", "--weights", "runs/gone"], "error: There is nothing at"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments, message, weights, pictures, tmp_path, capsys
):
    known = dict(weights=weights, empty=str(tmp_path), picture=str(pictures / "b.png"))
    assert main([argument.format(**known) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(message)
    assert len(printed.err.splitlines()) == 1
    assert not printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "found.txt"], r"'found.txt' has to end in .csv or .json"),
        (["--top", "0"], r"'0' is no count, expected 1 or more"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["predict", "x.png", "--weights", "gone", *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_weights_without_a_classifier_cannot_predict(pictures, tmp_path, capsys):
    model = create_model("seresnet18", stage_sizes=(1, 1), num_classes=0)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    export_timm(model, "seresnet18", variables, tmp_path / "features")
    arguments = ["predict", str(pictures), "--weights", str(tmp_path / "features")]
    assert main(arguments) == 2
    assert "has no classifier: nothing to predict" in capsys.readouterr().err


def test_what_was_exported_is_exported_again(weights, tmp_path, capsys):
    again = tmp_path / "again"
    assert main(["export", "--timm", str(again), "--weights", weights]) == 0
    assert f"timm.create_model('local-dir:{again}', pretrained=True)" in capsys.readouterr().out
    for name in ("model.safetensors", "config.json"):
        assert (again / name).read_bytes() == Path(weights, name).read_bytes()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What training on the digits leaves, without the training."""
    ocp = pytest.importorskip("orbax.checkpoint", minversion="0.11.19")
    model = create_model("seresnet20", stage_sizes=(1, 1, 1), num_classes=10)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    step = workdir / "checkpoints" / "1"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(step / "state", {**variables, "ema": {}})
    options = dict(stage_sizes=[1, 1, 1], num_classes=10)
    description = dict(format=1, model=dict(name="seresnet20", options=options))
    description |= dict(class_names=[f"the {i}" for i in range(10)], image_shape=[8, 8, 1])
    description |= dict(mean=[0.3], std=[0.4])
    (step / "config").mkdir()
    (step / "config" / "metadata").write_text(json.dumps(description))
    return model, variables, str(workdir)


def test_a_training_run_predicts_files_of_any_kind_as_it_saw_them(run, tmp_path, capsys):
    model, variables, workdir = run
    pixels = np.random.default_rng(2).integers(0, 256, (8, 8), np.uint8)
    grey = Image.fromarray(pixels)
    for name, image in (("a.png", grey), ("b.png", grey.convert("RGBA")), ("c.bmp", grey)):
        image.save(tmp_path / name)
    assert main(["predict", str(tmp_path), "--weights", workdir, "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    images = (pixels[None, ..., None] / np.float32(255) - 0.3) / 0.4
    best = int(jax.jit(model.apply)(variables, jnp.asarray(images, jnp.float32)).argmax())
    assert [line.rpartition("the ")[2] for line in lines[1::2]] == [str(best)] * 3


def test_a_network_that_timm_has_not_is_not_exported(run, tmp_path, capsys):
    assert main(["export", "--timm", str(tmp_path / "out"), "--weights", run[2]]) == 2
    assert "error: timm has no" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_it_runs_as_a_module():
    run = subprocess.run(
        [sys.executable, "-m", "senet_jax", "models", "resnet2?"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "| resnet20 " in run.stdout
