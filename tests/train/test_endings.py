"""How else a run may end than at its last step; and what is written on the way there."""

import json
import math

import numpy as np
import pytest

from senet_jax import load, loading
from tests.train import small
from train.__main__ import main, steps_of
from train.command import DIVERGED
from train.errors import WrongInput


def arguments(workdir, data_dir, **fields):
    overrides = [f"--config.{name}={value}" for name, value in fields.items()]
    return [*small.RUN, f"--config.data.dir={data_dir}", f"--workdir={workdir}", *overrides]


def lines(workdir, kind):
    records = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["kind"] == kind]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, data_dir):
    """A run that has lost its patience, and its arguments."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    fields = {"evaluation.patience": 1, "schedule.epochs": 40, "ema_decay": 0.0}
    given = arguments(workdir, data_dir, **fields)
    assert main([*given, "--profile=3:4"]) == 0
    return workdir, given


def test_a_run_ends_when_nothing_gets_better(stopped, capsys):
    workdir, given = stopped
    seen = lines(workdir, "validation")
    result = json.loads((workdir / "result.json").read_text())
    last = seen[-1]["step"]
    assert last < 40 * 20  # of 20 steps an epoch
    assert result["steps"] == last and result["step"] == last - 20
    accuracies = [record["accuracy"] for record in seen]
    assert max(accuracies) == accuracies[-2]
    assert main(given) == 0  # it is over
    assert "This run is finished" in capsys.readouterr().out


def test_the_gates_of_every_evaluation_are_written(stopped):
    gates = lines(stopped[0], "gates")
    assert [g["step"] for g in gates] == [v["step"] for v in lines(stopped[0], "validation")]
    assert gates[0].keys() - {"kind", "step"} == {
        f"stage1/block1/se/{fact}" for fact in ("mean", "spread", "saturated")
    }
    assert 0.3 < gates[0]["stage1/block1/se/mean"] < 0.7


def test_steps_were_traced(stopped):
    assert list((stopped[0] / "profile").rglob("*.xplane.pb"))


def test_a_checkpoint_tells_with_what_it_was_made(stopped):
    import jax

    directory = loading.checkpoint_directory(stopped[0])
    made = loading.read_description(directory, loading.saved_steps(directory)[-1])["versions"]
    assert made["jax"] == jax.__version__
    assert {"python", "flax", "optax", "orbax-checkpoint", "numpy"} <= made.keys()


def test_a_run_that_diverges_is_stopped_explained_and_saved(tmp_path, data_dir, capsys):
    fields = {"schedule.learning_rate": 1e38, "max_skipped": 3, "schedule.warmup_epochs": 0.0}
    assert main(arguments(tmp_path / "run", data_dir, **fields)) == DIVERGED
    said = capsys.readouterr()
    assert "Step 4 was skipped: its loss or gradient is not finite." in said.out
    assert "none of which was taken. The first value that is not, in step" in said.err
    assert "the output of " in said.err
    assert "--config.optimizer.clip_norm=1" in said.err
    steps = lines(tmp_path / "run", "train")
    assert [s["skipped"] for s in steps][-3:] == [1.0] * 3
    _, variables = load(tmp_path / "run", weights="raw")
    for leaf in small.leaves(variables).values():
        assert np.isfinite(leaf).all()
    assert math.isfinite(steps[0]["loss"])


@pytest.mark.parametrize("text", ["7", "0:3", "5:4", "a:b"])
def test_a_profile_is_of_steps(text):
    with pytest.raises(WrongInput, match=f"--profile={text}, expected the first and the last step"):
        steps_of(text)


def test_one_compilation_each_for_training_and_evaluation(tmp_path, data_dir, caplog):
    """The last batch of a split is padded, and nothing else changes a shape or a dtype."""
    import jax

    with jax.log_compiles(), caplog.at_level("WARNING"):
        given = arguments(tmp_path / "run", data_dir, **{"schedule.epochs": 2})
        assert main([*given, "--config.evaluation.batch_size=100"]) == 0
    said = [record.getMessage() for record in caplog.records]
    for step in ("train_step", "eval_step"):
        compiled = [line for line in said if line.startswith(f"Compiling jit({step})")]
        assert len(compiled) == 1, compiled
