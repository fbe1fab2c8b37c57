"""The report of `python -m senet_jax attention`."""

import csv
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from senet_jax import attention_weights, create_model, load, preprocess_for
from senet_jax.attention_report.page import Picture, Table, page
from senet_jax.cli import main
from senet_jax.convert import export_timm

CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small trained network with two classes, in a folder."""
    model = create_model("seresnet18", num_classes=2, stage_sizes=(1, 1, 1, 1))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda v: jnp.asarray(rng.normal(size=v.shape) * 0.1, v.dtype), shapes)
    variables["batch_stats"] = jax.tree.map(jnp.abs, variables["batch_stats"])
    folder = tmp_path_factory.mktemp("weights")
    export_timm(model, "seresnet18", variables, folder, image_size=32, class_names=CLASSES)
    return str(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(1)
    for name in ("cat/a.png", "cat/b.png", "dog/c.png", "dog/<d>.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / name)
    (folder / "dog" / "e.png").write_text("no image")
    return folder


@pytest.mark.slow  # every figure, and what its networks compile
def test_a_folder_of_classes_gives_a_report(weights, pictures, tmp_path, capsys):
    out = tmp_path / "report"
    arguments = ["attention", "--weights", weights, "--images", str(pictures), "--out", str(out)]
    assert main([*arguments, "--classes", "dog"]) == 0
    shown = capsys.readouterr()
    assert f"report: {out / 'index.html'}" in shown.out
    assert shown.err.count("error: ") == 1 and "e.png" in shown.err  # told of once, left out
    text = (out / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', text) and "<script" not in text
    pngs = {file.stem for file in out.glob("*.png")}
    figures = {"role_of_excitation", "heatmap", "histograms", "by_class", "ablation"}
    assert figures | {"image_1", "image_2", "image_3"} == pngs
    assert text.count("data:image/png;base64,") == len(pngs)
    assert "&lt;d&gt;.png" in text and "<d>" not in text

    model, variables = load(weights)
    images = preprocess_for(weights)([str(pictures / name) for name in ("cat/a.png", "cat/b.png")])
    gates = attention_weights(model, variables, images)
    rows = list(csv.DictReader((out / "statistics.csv").open()))
    assert len(rows) == 2 * sum(values.shape[1] for values in gates.values())
    for row in rows:
        if row["class"] == "cat":
            of_channel = np.asarray(gates[row["block"]])[:, int(row["channel"])]
            assert float(row["mean"]) == pytest.approx(of_channel.mean(), abs=1e-4)
            assert float(row["std"]) == pytest.approx(of_channel.std(), abs=1e-4)
            assert row["images"] == "2"

    assert main(arguments) == 2
    assert "has a report already: give another --out" in capsys.readouterr().err


def test_images_without_classes_are_looked_at_together(weights, pictures, tmp_path):
    out = tmp_path / "report"
    folder = str(pictures / "cat")
    assert main(["attention", "--weights", weights, "--images", folder, "--out", str(out)]) == 0
    assert not (out / "by_class.png").exists()
    assert {row["class"] for row in csv.DictReader((out / "statistics.csv").open())} == {
        "all images"
    }


def test_unknown_classes_are_refused(weights, pictures, tmp_path, capsys):
    arguments = ["attention", "--weights", weights, "--images", str(pictures)]
    assert main([*arguments, "--out", str(tmp_path / "a"), "--classes", "cow"]) == 2
    assert "--classes has cow, expected some of cat, dog" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "cat,", "a,b,c,d,e,f,g"])
def test_no_names_and_too_many_are_refused(text, capsys):
    arguments = ["attention", "--weights", "w", "--images", "i", "--out", "o", "--classes", text]
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert f"{text!r} is" in (error := capsys.readouterr().err) and "expected 1 to 6" in error


def test_where_no_report_can_be_written_is_told_before_the_images_are_read(
    weights, pictures, tmp_path, capsys
):
    (tmp_path / "file").touch()
    arguments = ["attention", "--weights", weights, "--images", str(pictures)]
    assert main([*arguments, "--out", str(tmp_path / "file" / "report")]) == 2
    (error,) = capsys.readouterr().err.splitlines()  # nothing of the picture that cannot be read
    assert re.fullmatch(
        r"error: The report cannot be written to \S+ \(Not a directory\): give another folder.",
        error,
    )


def test_a_missing_matplotlib_is_named(weights, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ["attention", "--weights", weights, "--images", str(pictures)]
    assert main([*arguments, "--out", str(tmp_path / "report")]) == 2
    assert "need matplotlib: pip install 'senet_jax[plot]'" in capsys.readouterr().err


def test_a_page_escapes_what_it_is_given():
    text = page(
        "a < b", {"x": "<y>"}, [Picture("<p>", "t", b"png"), Table("t", "", ["<h>"], [["&"]])]
    )
    assert "a &lt; b" in text and "&lt;y&gt;" in text and "&lt;h&gt;" in text and "&amp;" in text
    assert "<p>t</p>" in text and 'alt="&lt;p&gt;"' in text
