"""A run that was killed or interrupted anywhere ends as if nothing had happened, to the bit.

On as many devices: on others each step agrees to rounding (test_parallel.py), a whole run doesn't.
"""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import orbax.checkpoint as ocp
import pytest

from senet_jax import loading
from tests.train import small
from train.__main__ import main
from train.config import read_config
from train.data import Data
from train.errors import WrongInput
from train.interrupt import Interrupted
from train.loop import run
from train.workdir import check_workdir, claimed

STEPS = 60  # of small.RUN, 20 in an epoch, each of which ends with a checkpoint
CHECKOUT = Path(__file__).parents[2]


def arguments(workdir, data_dir):
    return [*small.RUN, f"--config.data.dir={data_dir}", f"--workdir={workdir}"]


def start(workdir, data_dir, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "train", *arguments(workdir, data_dir)],
        cwd=CHECKOUT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_dir):
    """The working directory of a run that nothing has disturbed, with what it printed beside it."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    process = start(workdir, data_dir)
    out, err = process.communicate()
    assert process.returncode == 0, err
    workdir.with_suffix(".out").write_text(out)
    return workdir


@pytest.fixture
def config(data_dir):
    return read_config("configs/digits.py", arguments("", data_dir)[1:-1])


def assert_ended_alike(workdir, whole):
    """The same metrics of each step, the same result, the same checkpoints to the bit."""
    for file in ("metrics.jsonl", "result.json"):
        assert (workdir / file).read_text() == (whole / file).read_text()
    saved = loading.saved_steps(loading.checkpoint_directory(whole))
    assert loading.saved_steps(loading.checkpoint_directory(workdir)) == saved
    with ocp.PyTreeCheckpointer() as checkpointer:
        for step in saved:
            theirs, ours = (
                checkpointer.restore(loading.checkpoint_directory(w) / str(step) / "state")
                for w in (whole, workdir)
            )
            small.assert_same_bits(ours, theirs)


def steps_reported(workdir):
    file = workdir / "metrics.jsonl"
    return file.read_bytes().count(b'"train"') if file.exists() else 0


def test_a_whole_run_reports_each_step_once_and_the_test_accuracy_last(whole):
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["kind"] == "train"] == list(range(1, STEPS + 1))
    assert [r["step"] for r in records if r["kind"] == "validation"] == [20, 40, 60]
    assert [r["kind"] for r in records].count("test") == 1
    result = json.loads((whole / "result.json").read_text())
    assert result["test"]["accuracy"] == records[-1]["accuracy"] > 0.2  # chance is 0.1
    assert {"accuracy", "ema_accuracy"} <= result["validation"].keys()
    *_, last = whole.with_suffix(".out").read_text().splitlines()
    assert last == f"test accuracy: {100 * result['test']['accuracy']:.2f} %"


def kill_and_resume(kills, seed, workdir, data_dir, whole):
    """Kills a run at random steps, one after the other, and then lets it end."""
    for step in sorted(random.Random(seed).choices(range(STEPS), k=kills)):
        process = start(workdir, data_dir)
        while steps_reported(workdir) < step and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        process.communicate()
    process = start(workdir, data_dir)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == whole.with_suffix(".out").read_text().splitlines()[-1]
    assert_ended_alike(workdir, whole)


def test_killed_twice_a_run_ends_the_same_to_the_bit(tmp_path, data_dir, whole):
    kill_and_resume(2, 0, tmp_path / "run", data_dir, whole)


@pytest.mark.slow
def test_killed_ten_times_a_run_ends_the_same_to_the_bit(tmp_path, data_dir, whole):
    kill_and_resume(10, 1, tmp_path / "run", data_dir, whole)


def test_sigterm_while_compiling_saves_and_tells_how_to_resume(tmp_path, data_dir):
    """Without the programs of earlier tests, so that there is something to compile."""
    process = start(tmp_path / "run", data_dir, JAX_COMPILATION_CACHE_DIR="")
    for line in process.stdout:
        if line.startswith(f"{STEPS} steps"):
            break
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "SIGTERM: stopping after this step; once more to stop without saving." in err
    said, command = err.splitlines()[-2:]
    stopped = re.fullmatch(r"Stopped at step (\d+) of 60, saved in (.+)\. To resume:", said)
    assert stopped[2] == str(tmp_path / "run")
    assert shlex.split(command)[1:] == ["-m", "train", *arguments(tmp_path / "run", data_dir)]
    saved = loading.saved_steps(loading.checkpoint_directory(tmp_path / "run"))
    assert saved == [int(stopped[1])]
    assert saved[0] < STEPS


@contextmanager
def signal_during(monkeypatch, split, nth):
    """SIGINT while the n-th evaluation on a split reads its first batch."""
    original, calls = getattr(Data, split), []

    def reading(data):
        calls.append(1)
        if len(calls) == nth:
            signal.raise_signal(signal.SIGINT)
        yield from original(data)

    with monkeypatch.context() as patch:
        patch.setattr(Data, split, reading)
        yield


@pytest.mark.parametrize(
    ("split", "nth", "step"),
    # each evaluation on the validation split is two: of the parameters and of their averages
    [("validation", 4, 40), ("test", 1, 60)],
)
def test_interrupted_while_evaluating_a_run_ends_the_same(
    tmp_path, config, whole, monkeypatch, capsys, split, nth, step
):
    workdir = tmp_path / "run"
    with signal_during(monkeypatch, split, nth), pytest.raises(Interrupted) as stop:
        run(config, workdir)
    assert stop.value.signum == signal.SIGINT
    assert stop.value.message == f"Stopped at step {step} of 60, saved in {workdir}."
    assert loading.saved_steps(loading.checkpoint_directory(workdir))[-1] == step
    run(config, workdir)
    assert f"Going on from step {step}." in capsys.readouterr().out
    assert_ended_alike(workdir, whole)


def test_a_truncated_checkpoint_costs_its_steps_and_nothing_else(tmp_path, data_dir, whole):
    workdir = Path(shutil.copytree(whole, tmp_path / "run"))
    (workdir / "result.json").unlink()
    for file in (workdir / "checkpoints" / "60" / "state").glob("**/d/*"):
        file.write_bytes(file.read_bytes()[:100])
    process = start(workdir, data_dir)
    _, err = process.communicate()
    assert process.returncode == 0
    assert err.count("warning: ") == 1
    assert f"warning: {workdir}/checkpoints/60 cannot be read (" in err
    assert "Going on from step 40: 20 steps are done again." in err
    assert_ended_alike(workdir, whole)


def test_a_finished_run_tells_its_result_again(tmp_path, data_dir, whole, capsys):
    before = sorted((p, p.stat().st_mtime_ns) for p in whole.glob("**/*"))
    assert main(arguments(whole, data_dir)) == 0
    out = capsys.readouterr().out
    first, *summary = out.splitlines()
    assert first == "This run is finished; to train anew, give another --workdir."
    assert whole.with_suffix(".out").read_text().splitlines()[-len(summary) :] == summary
    assert sorted((p, p.stat().st_mtime_ns) for p in whole.glob("**/*")) == before


def test_a_workdir_in_use_is_refused(tmp_path, config):
    message = rf"{tmp_path} is in use by process {os.getpid()}: wait for it to end"
    with claimed(tmp_path, config), pytest.raises(WrongInput, match=message):
        run(config, tmp_path)


def test_what_was_begun_without_a_checkpoint_belongs_to_nobody(tmp_path, config):
    """A first attempt that was killed while compiling doesn't stand in the way of a better one."""
    with claimed(tmp_path, config):
        pass
    other = config.copy_and_resolve_references()
    other.seed = 1
    check_workdir(tmp_path, other)
