"""Sweeps by real processes: what has ended is not done again, what fails is told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from train.config import load_page
from train.errors import WrongInput
from train.interrupt import Interrupted
from train.sweep import __main__ as sweep
from train.sweep import jobs as sweep_jobs
from train.sweep.__main__ import Sweep, main, run_sweep
from train.sweep.jobs import Job, last_words, places_for, run_jobs
from train.sweep.table import Row

CHECKOUT = Path(__file__).parents[2]
PAGE = """
from configs.defaults import defaults

VARIANTS = ("se", "plain", "wide")
PAPER = {"se": 77.72, "plain": 76.70}
PAPER_DATA = "ImageNet"


def get_config(variant):
    config = defaults()
    config.data.in_memory = True
    config.data.batch_size = 64
    config.schedule.epochs = 2
    config.schedule.warmup_epochs = 0.5
    with config.unlocked():
        config.model.options.stage_sizes = (1,)
        config.model.options.attention = None if variant == "plain" else {"name": "se"}
        if variant == "wide":  # refused only when it is traced
            config.model.options.attention.reduction = 64
    return config
"""


@pytest.fixture
def page(tmp_path):
    file = tmp_path / "page.py"
    file.write_text(PAGE)
    return file


def test_jobs_that_fail_are_told_with_their_last_words_and_the_others_run(tmp_path):
    names = ("one", "two", "three")
    jobs = [Job(n, tmp_path / n, (f"--config=no_{n}.py", "--workdir=nowhere")) for n in names]
    done = []
    run_jobs(jobs, [{}, {}], dict(os.environ), lambda job, code, _: done.append((job.name, code)))
    assert sorted(done) == sorted((name, 2) for name in names)
    assert last_words(jobs[1]).startswith("error: There is no config file no_two.py.")


def test_interrupted_a_sweep_waits_for_its_runs_to_stop(tmp_path, monkeypatch):
    started, start = [], sweep_jobs._start
    monkeypatch.setattr(sweep_jobs, "_start", lambda *a: started.append(start(*a)) or started[-1])
    job = Job("run", tmp_path, ("--config=configs/digits.py", f"--workdir={tmp_path}"))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(Interrupted) as stop:
        run_jobs([job], [{}], dict(os.environ), lambda *_: None)
    assert stop.value.signum == signal.SIGINT
    (run,) = started
    assert run.returncode is not None  # set by who waits: without asking, it is known to be over


@pytest.mark.slow
def test_killed_a_sweep_goes_on_and_repeats_nothing(tmp_path, page, data_dir):
    workdir = tmp_path / "sweep"
    command = [sys.executable, "-m", "train.sweep", f"--config={page}", f"--workdir={workdir}"]
    command += ["--seeds=2", "--time", f"--config.data.dir={data_dir}"]
    first = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    for line in first.stdout:
        if line.startswith("[2/6] "):  # the first seed of plain
            break
    assert "plain, seed 0: test accuracy: " in line
    first.kill()
    ended = {path: path.stat().st_mtime_ns for path in workdir.glob("*/*/result.json")}
    assert sorted(str(path.relative_to(workdir)) for path in ended) == [
        "plain/0/result.json",
        "se/0/result.json",
    ]
    again = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert again.returncode == 1, again.stderr  # "wide" cannot be built
    assert again.stdout.startswith("6 runs of 3 variants; 2 have ended before.\n")
    assert "seed 0: failed, exit code 2: error: reduction=64 leaves no unit" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in ended} == ended
    table = (workdir / "table.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in table[2:5]] == ["| se", "| plain", "| wide"]
    results = [json.loads((workdir / f"se/{s}/result.json").read_text()) for s in (0, 1)]
    mean = 50 * sum(result["test"]["accuracy"] for result in results)
    assert f"| se | {mean:.2f} ± " in table[2]
    assert "| wide | failed | 0 |" in table[4]
    assert "time of a step | published accuracy on ImageNet" in table[0]
    assert "| 1.00 (" in table[2]
    third = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert third.stdout.startswith("6 runs of 3 variants; 4 have ended before.\n")


def refused(capsys, *arguments):
    code = main(list(arguments))
    assert code == 2
    return capsys.readouterr().err


def test_what_is_wrong_with_a_variant_is_told_before_anything_runs(tmp_path, page, capsys):
    broken = f"--config={page}", f"--workdir={tmp_path}/sweep"
    said = refused(capsys, *broken, "--config.optimizer.name=sdg", "--config.schedule.epochs=0")
    assert said.count("Unknown optimizer 'sdg'") == 3
    assert "  - plain: config.schedule.epochs is 0, expected 1 or more." in said
    said = refused(capsys, *broken, "--config.seed=4294967295")
    assert said.count("config.seed is 4294967296, expected 0 to 4,294,967,295.") == 3
    said = refused(capsys, *broken, "--config.penalty.name=l1", "--config.penalty.weight=1")
    assert "  - plain: config.penalty.name is 'l1', which is of gates, and the network has" in said
    assert "  - wide: reduction=64 leaves no unit" in said
    said = refused(capsys, *broken, "--config.model.init_from=no/where")
    assert said.count("There is nothing at no/where: expected the directory of a training") == 3
    assert not (tmp_path / "sweep").exists()
    below = f"--workdir={page}/further/down"
    assert refused(capsys, broken[0], below).startswith(f"error: {page} is a file, expected a dir")
    assert "expected to be 1 or more" in refused(capsys, *broken, "--seeds=0")
    page.write_text("def get_config(variant): ...")
    assert f"{page} names no variants: expected VARIANTS" in refused(capsys, *broken)


def test_a_timing_that_fails_is_told_beside_the_table(tmp_path, page, monkeypatch, capfd):
    """As if all had trained, with another program as the timing's."""
    asked = Sweep(page, load_page(page), tmp_path / "sweep", (), 1)
    jobs = {"se": [asked.job("se", 0)]}
    jobs["se"][0].workdir.mkdir(parents=True)
    (jobs["se"][0].workdir / "result.json").touch()
    monkeypatch.setattr(sweep, "checked_jobs", lambda _: jobs)
    monkeypatch.setattr(sweep, "read_row", lambda name, *_: Row(name, (0.5,), 1, 1))
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert not run_sweep(asked, [{}], dict(os.environ), timed=True)
    assert "The steps could not be timed, so the table has no new times." in capfd.readouterr().err
    assert "| se | 50.00 | 1 |" in (tmp_path / "sweep" / "table.md").read_text()


def test_jobs_get_a_gpu_or_a_thread_each():
    assert places_for(1, {}) == [{}]
    two = places_for(2, {"CUDA_VISIBLE_DEVICES": "3,5,6,7"})
    assert two == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    on_cpu = places_for(
        2, {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--a", "CUDA_VISIBLE_DEVICES": "3"}
    )
    assert on_cpu == 2 * [
        {"XLA_FLAGS": "--a --xla_cpu_multi_thread_eigen=false", "OMP_NUM_THREADS": "1"}
    ]
    with pytest.raises(WrongInput, match="--jobs=2, but there are 1 GPUs"):
        places_for(2, {"CUDA_VISIBLE_DEVICES": "0"})
