"""What a run tells: every step once, however often it was interrupted."""

import io
import json
import math
import struct
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train import clock as module
from train.errors import WrongInput
from train.report import Report

TOTAL, EPOCH, BATCH = 20, 5, 8
SCORES = {"loss": 0.25, "accuracy": 0.875}


@pytest.fixture(autouse=True)
def plain_lines(monkeypatch):
    """Not a terminal, whatever the tests run in."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)


def metrics_of(step):
    return {
        "loss": jnp.float32(BATCH * step),
        "correct": jnp.float32(BATCH / 2),
        "count": jnp.float32(BATCH),
        "learning_rate": jnp.float32(0.5),
    }


def report_in(workdir, start_step=0, log_every=3):
    return Report(
        workdir,
        total_steps=TOTAL,
        steps_per_epoch=EPOCH,
        start_step=start_step,
        batch_size=BATCH,
        log_every=log_every,
    )


def run(workdir, start_step=0, stop=TOTAL):
    """As the loop does it: validation after each epoch, the test after the last."""
    with report_in(workdir, start_step) as report:
        for step in range(start_step + 1, stop + 1):
            report.train(step, metrics_of(step))
            if step % EPOCH == 0:
                report.validation(step, SCORES, {})
        if stop == TOTAL:
            report.test(SCORES)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def steps(workdir, kind):
    return [line["step"] for line in lines(workdir) if line["kind"] == kind]


def test_every_step_and_every_evaluation_has_a_line(tmp_path):
    run(tmp_path)
    assert steps(tmp_path, "train") == list(range(1, TOTAL + 1))
    assert steps(tmp_path, "validation") == [5, 10, 15, 20]
    assert lines(tmp_path)[6] == {
        "kind": "train",
        "step": 6,
        "loss": 6.0,
        "accuracy": 0.5,
        "learning_rate": 0.5,
    }
    assert lines(tmp_path)[5] == {"kind": "validation", "step": 5} | SCORES
    assert lines(tmp_path)[-1] == {"kind": "test", "step": 20} | SCORES


def test_metrics_are_fetched_in_groups(tmp_path, monkeypatch):
    groups = []
    fetch = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: groups.append(len(tree)) or fetch(tree))
    with report_in(tmp_path, log_every=4) as report:
        for step in range(1, 12):
            report.train(step, metrics_of(step))
    assert groups == [4, 1, 3, 2, 1]  # at 4, at the epoch's end, at 8, at 10, on leaving


def test_nothing_is_written_before_the_first_event(tmp_path):
    with report_in(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_what_was_reported_before_an_exception_is_written(tmp_path):
    with pytest.raises(KeyboardInterrupt), report_in(tmp_path, log_every=100) as report:
        report.train(1, metrics_of(1))
        report.train(2, metrics_of(2))
        raise KeyboardInterrupt
    assert steps(tmp_path, "train") == [1, 2]


def test_an_exception_is_not_hidden_by_metrics_that_cannot_be_fetched(tmp_path):
    with pytest.raises(KeyboardInterrupt), report_in(tmp_path, log_every=100) as report:
        report.train(1, metrics_of(1))
        report.train(2, {"loss": "gone"})
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("killed_at", "restored"), [(13, 10), (14, 14), (20, 15), (7, 0), (20, 20)]
)
def test_a_resumed_run_leaves_the_same_file_as_one_that_was_not_interrupted(
    tmp_path, killed_at, restored
):
    run(tmp_path / "whole")
    run(tmp_path / "resumed", stop=killed_at)
    run(tmp_path / "resumed", start_step=restored)
    whole = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert (tmp_path / "resumed" / "metrics.jsonl").read_bytes() == whole


def test_a_line_that_was_half_written_is_replaced(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path, stop=12)
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-7])
    run(tmp_path, start_step=10)
    assert file.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_a_resumed_run_that_reports_nothing_leaves_the_file_as_it_was(tmp_path):
    run(tmp_path, stop=12)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with report_in(tmp_path, start_step=10):
        pass
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("content", ["step,loss\n1,0.5\n", '{"kind": "train"}\n', "[1]\n"])
def test_a_file_of_something_else_is_refused_and_not_touched(tmp_path, content):
    file = tmp_path / "metrics.jsonl"
    file.write_text(content)
    with pytest.raises(WrongInput, match=r"Line 1 of .*metrics.jsonl is no metrics of a run"):
        report_in(tmp_path)
    assert file.read_text() == content


def test_numbers_that_are_not_finite_are_null_as_json_knows_no_others(tmp_path):
    with report_in(tmp_path) as report:
        report.train(1, metrics_of(1) | {"gradient_norm": jnp.float32(np.inf)})
        report.train(2, metrics_of(math.nan))
    first, second = lines(tmp_path)
    assert first["gradient_norm"] is None
    assert second["loss"] is None
    assert second["accuracy"] == 0.5


def test_only_the_first_process_writes_and_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""


def test_where_nobody_looks_there_is_one_line_per_validation(tmp_path, capsys):
    run(tmp_path)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("First step after ")
    assert [line.split(":")[0] for line in rest] == [
        f"epoch {epoch}, step {5 * epoch} of 20" for epoch in (1, 2, 3, 4)
    ]
    assert "loss 5.0000; validation loss 0.2500, accuracy 87.50 %, " in rest[0]


def test_a_resumed_run_that_begins_with_an_evaluation_has_no_loss_yet(tmp_path, capsys):
    with report_in(tmp_path, start_step=10) as report:
        report.validation(10, SCORES, {})
    expected = "epoch 2, step 10 of 20: validation loss 0.2500, accuracy 87.50 %\n"
    assert capsys.readouterr().out == expected


def test_a_terminal_shows_a_bar_with_loss_speed_and_time_left(tmp_path, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", screen)
    run(tmp_path, stop=10)
    last = screen.getvalue().split("\r")[-1]
    assert last.startswith(" 50 % |")
    for word in ("epoch 2.0, step 10, loss 10.0000, ", " images/s, ", " left"):
        assert word in last
    assert "epoch 1, step 5 of 20" in screen.getvalue()


def test_speed_and_time_left_count_neither_compilation_nor_evaluation(
    tmp_path, monkeypatch, capsys
):
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    with report_in(tmp_path) as report:
        now[0] += 60  # until the first step is compiled and done
        assert math.isnan(report.images_per_second)
        for step in range(1, 16):
            report.train(step, metrics_of(step))
            if step % EPOCH == 0:
                now[0] += 30  # evaluation
                report.validation(step, SCORES, {})
            now[0] += 2  # the next step
    # Two seconds a step, all over: also over the group whose end was the end of an epoch.
    assert report.images_per_second == BATCH / 2
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "First step after 60.0 s, with compilation."
    # 4 steps and an evaluation have taken 38 s, so the 15 that are left take 142.5.
    assert out[1].endswith(", 4 images/s, 0:02:22 left")


def test_without_tensorboardx_it_says_so_once_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    run(tmp_path)
    assert capsys.readouterr().out.count("tensorboardX is not installed") == 1
    assert steps(tmp_path, "train") == list(range(1, TOTAL + 1))
    assert not (tmp_path / "tensorboard").exists()


def events(directory):
    """(tag, step, value) as TensorBoard shows them: a session's start purges later steps."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    shown = []
    for file in sorted(directory.iterdir()):
        content = file.read_bytes()
        while content:  # length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            if event.session_log.status == SessionLog.START:
                shown = [entry for entry in shown if entry[1] < event.step]
            shown += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
    return shown


def test_tensorboard_shows_every_step_once_after_a_resume(tmp_path):
    pytest.importorskip("tensorboardX")
    run(tmp_path, stop=13)
    (first,) = (tmp_path / "tensorboard").iterdir()
    first.rename(first.with_name("a." + first.name))  # both may be named after the same second
    run(tmp_path, start_step=10)
    shown = events(tmp_path / "tensorboard")
    losses = [(step, value) for tag, step, value in shown if tag == "train/loss"]
    assert losses == [(step, float(step)) for step in range(1, TOTAL + 1)]
    accuracies = [step for tag, step, _ in shown if tag == "validation/accuracy"]
    assert accuracies == [5, 10, 15, 20]
    assert ("test/accuracy", 20, 0.875) in shown
