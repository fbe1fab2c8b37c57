"""The attention on the trainer's data: the report's command, and the picture as a run ends."""

import csv

import numpy as np
import pytest

from senet_jax.attention import class_statistics
from senet_jax.loading import load
from senet_jax.preprocessing import preprocess_for
from train.attention import main
from train.checkpoints import Checkpoints
from train.config import read_config
from train.data import make_data
from train.parallel import Devices
from train.setup import describe, initialiser, make_recipe
from train.summary import PICTURE, draw_attention

OVERRIDES = ["--config.model.options.stage_sizes=(1,)"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir):
    """A run's directory with random variables, its command-line page, recipe and data."""
    overrides = [*OVERRIDES, f"--config.data.dir={data_dir}"]
    config = read_config("configs/digits.py", overrides)
    data, workdir = make_data(config), tmp_path_factory.mktemp("run")
    recipe = make_recipe(config, data, Devices())
    init = initialiser(config, data, recipe)
    state = Devices().born(init, np.uint32(3))
    state = state.replace(ema=Devices().born(init, np.uint32(4)).variables)
    with Checkpoints(workdir, describe(config, data)) as checkpoints:
        checkpoints.save(0, state)
    return workdir, ["--config=configs/digits.py", *overrides], recipe, data, state


def test_the_picture_of_a_run_is_a_png(run, tmp_path):
    _, _, recipe, data, state = run
    draw_attention(tmp_path, recipe, data, state.ema)
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow  # every figure
def test_the_report_s_statistics_are_those_of_the_split(run, tmp_path, capsys):
    workdir, page, _, data, _ = run
    out = tmp_path / "report"
    assert main([*page, f"--weights={workdir}", f"--out={out}"]) == 0
    assert f"report: {out / 'index.html'}" in capsys.readouterr().out
    images, labels = data.test_batches.examples.gather(np.arange(len(data.test_batches.examples)))
    prepared = preprocess_for(workdir)(images)
    statistics = class_statistics(*load(workdir), [(prepared, labels)], data.num_classes)
    rows = list(csv.DictReader((out / "statistics.csv").open()))
    for row in rows:
        block = statistics[row["block"]]
        place = int(row["class"]), int(row["channel"])
        assert float(row["mean"]) == pytest.approx(block.mean[place], abs=1e-5)
        assert float(row["std"]) == pytest.approx(block.std[place], abs=1e-5)
    assert len(rows) == sum(block.mean.size for block in statistics.values())

    assert main([*page, f"--weights={workdir}", f"--out={out}"]) == 2
    assert "has an index.html already" in capsys.readouterr().err
