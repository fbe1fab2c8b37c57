"""Runs of the trainer as processes of their own, alone or two together, on a small network."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.train import small

CHECKOUT = Path(__file__).parents[2]
TIMEOUT = 120  # s, for what takes a few


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(*command: str, **environment: str) -> subprocess.Popen:
    """`python -m command`."""
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=CHECKOUT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def arguments(workdir: Path, data_dir: Path) -> list[str]:
    """What `python -m train` is given for small.RUN: 3 epochs of 20 steps, evaluated after each."""
    return [*small.RUN, f"--config.data.dir={data_dir}", f"--workdir={workdir}"]


def train(workdir: Path, data_dir: Path, count: int = 1, port: int | None = None, **environment):
    """The processes of a run of small.RUN."""
    address = f"127.0.0.1:{port or free_port()}"
    given = arguments(workdir, data_dir)
    several = [[f"--distributed={address},{count},{i}"] for i in range(count)]
    return [
        start("train", *given, *which, PYTHONUNBUFFERED="1", **environment)
        for which in (several if count > 1 else [[]])
    ]


def ends(processes) -> tuple[list[int], list[str]]:
    """Exit codes, and what was said on stderr."""
    said = [process.communicate(timeout=TIMEOUT)[1] for process in processes]
    return [process.returncode for process in processes], said


def wait_until(condition, processes=()) -> None:
    """Returns when the condition holds, or when one of the processes has ended."""
    until = time.monotonic() + TIMEOUT
    while not condition() and all(process.poll() is None for process in processes):
        assert time.monotonic() < until
        time.sleep(0.005)


def steps_reported(workdir: Path) -> int:
    file = workdir / "metrics.jsonl"
    return file.read_bytes().count(b'"train"') if file.exists() else 0


def steps_in_order(workdir: Path) -> list[int]:
    """Of the lines on training."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if line["kind"] == "train"]
