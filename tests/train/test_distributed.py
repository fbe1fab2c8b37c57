"""Two processes are one run: the same numbers, one stop, one failure. Over real sockets."""

import json
import signal
import socket

import numpy as np
import pytest

from senet_jax import loading
from tests.train.processes import (
    arguments,
    ends,
    free_port,
    start,
    steps_in_order,
    steps_reported,
    train,
    wait_until,
)
from tests.train.test_checkpoints import flip_a_byte
from tests.train.test_parallel import differing
from tests.train.two_processes import EXAMPLES, evaluation
from train.__main__ import main
from train.command import WRONG_INPUT
from train.distributed import PEER_FAILED, connect, evident, parse
from train.errors import WrongInput
from train.parallel import Devices

HERE = socket.gethostname()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What `tests.train.two_processes` left."""
    out, port = tmp_path_factory.mktemp("two"), free_port()
    both = [start("tests.train.two_processes", str(out), str(port), str(i)) for i in (0, 1)]
    for process in both:
        _, err = process.communicate()
        assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_a_step_of_two_processes_is_one_of_a_single_device(eight_devices, two_processes):
    expected = np.load(eight_devices / "jit-1.npz")
    got = np.load(two_processes / "jit-2x4.npz")
    assert sorted(got) == sorted(expected)
    assert not any(differing(expected, got, ("sums", "statistics")).values())
    backward = differing(expected, got, ("gradients", "ema"))
    assert sum(map(bool, backward.values())) <= 1, backward  # see test_parallel


@pytest.mark.slow
def test_an_evaluation_by_two_processes_counts_each_example_once(two_processes):
    sums = json.loads((two_processes / "evaluation.json").read_text())
    alone = evaluation(Devices())
    assert sums["count"] == alone["count"] == EXAMPLES
    assert sums["correct"] == alone["correct"]
    assert sums["loss"] == pytest.approx(alone["loss"], rel=1e-5)


@pytest.mark.slow
def test_the_table_and_a_barrier_name_the_processes(two_processes):
    first, second = (two_processes / "table.txt").read_text().splitlines()
    assert first.startswith(f"  0: {HERE}, process ") and first.endswith(", 4 x cpu")
    assert second.startswith(f"  1: {HERE}, process ")
    said = (two_processes / "missing.txt").read_text()
    assert "did not meet at 'alone' within 0.5 s: process 1 (" in said
    assert f"({HERE}, process " in said and "is missing" in said


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_sigterm_to_one_stops_both_at_one_step_and_one_alone_goes_on(tmp_path, data_dir, told):
    workdir = tmp_path / "run"
    both = train(workdir, data_dir, 2)
    wait_until(lambda: steps_reported(workdir) >= 7, both)
    both[told].send_signal(signal.SIGTERM)
    codes, said = ends(both)
    assert codes == [128 + signal.SIGTERM] * 2, said
    (step,) = {line for text in said for line in text.splitlines() if "Stopped at step" in line}
    saved = loading.saved_steps(loading.checkpoint_directory(workdir))[-1]
    assert f"Stopped at step {saved} of 60" in step
    assert main(arguments(workdir, data_dir)) == 0
    assert steps_in_order(workdir) == list(range(1, 61))


@pytest.mark.slow
def test_a_process_that_fails_ends_the_other_with_its_message(tmp_path, data_dir):
    workdir = tmp_path / "run"
    (workdir / "config.json").mkdir(parents=True)  # the first process alone writes it
    both = train(workdir, data_dir, 2)
    codes, said = ends(both)
    assert codes == [1, PEER_FAILED], said
    assert "IsADirectoryError" in said[0]
    assert f"error: Process 0 ({HERE}, process {both[0].pid}) failed: IsADirectory" in said[1]


@pytest.mark.slow
def test_the_same_command_again_is_refused_and_the_first_run_goes_on(tmp_path, data_dir):
    """At the same address its processes would take the places of the first run's."""
    workdir, port = tmp_path / "run", free_port()
    first = train(workdir, data_dir, 2, port)
    wait_until(lambda: steps_reported(workdir) >= 7, first)
    codes, said = ends(train(workdir, data_dir, 2, port))
    assert codes == [WRONG_INPUT] * 2, said
    assert all(f"error: {workdir} is in use by process {first[0].pid}" in text for text in said)
    codes, said = ends(first)
    assert codes == [0, 0], said


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_other(tmp_path, data_dir):
    workdir = tmp_path / "run"
    both = train(workdir, data_dir, 2)
    wait_until(lambda: steps_reported(workdir) >= 7, both)
    both[1].kill()
    codes, said = ends(both)
    assert codes[0] != 0, said


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_passed_over_by_both(tmp_path, data_dir):
    workdir = tmp_path / "run"
    codes, said = ends(train(workdir, data_dir, 2))
    assert codes == [0, 0], said
    metrics = (workdir / "metrics.jsonl").read_text()
    (workdir / "result.json").unlink()
    flip_a_byte(workdir, 60)
    codes, (first, second) = ends(train(workdir, data_dir, 2))
    assert codes == [0, 0], (first, second)
    assert f"warning: {workdir}/checkpoints/60 cannot be read (ValueError: the checksum of" in first
    assert "Going on from step 40: 20 steps are done again." in first
    assert "warning" not in second
    assert (workdir / "metrics.jsonl").read_text() == metrics
    assert [path.name for path in (workdir / "damaged").iterdir()] == ["60"]


def test_an_address_is_of_one_process_among_several():
    address = parse("10.0.0.1:1234,4,3")
    assert address and (address.coordinator, address.count, address.index) == (
        "10.0.0.1:1234",
        4,
        3,
    )
    for wrong in ("10.0.0.1,4,3", "10.0.0.1:1234,4,4", "yes", "10.0.0.1:1234,4"):
        with pytest.raises(WrongInput, match=r"expected auto, on, off or HOST:PORT"):
            parse(wrong)


SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        (SLURM, False),  # a batch script, or a shell with copied variables
        (SLURM | {"SLURM_STEP_NUM_TASKS": "8", "SLURMD_NODENAME": "another-host"}, False),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURMD_NODENAME": HERE}, False),  # srun --pty
        (SLURM | {"SLURM_STEP_NUM_TASKS": "8", "SLURMD_NODENAME": HERE}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "t0"}, False),
        ({"TPU_WORKER_HOSTNAMES": "t0,t1"}, True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}, False),
    ],
)
def test_only_a_launcher_makes_one_of_several(environment, expected):
    assert evident(environment) is expected


def test_a_process_alone_is_left_alone(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert connect("auto") is None
    assert connect("off") is None
