"""Runs that are killed at random moments beside one that is left alone: python -m benchmarks.kills.

Each goes on by the same command until it has ended, and is compared with the undisturbed one: the
metrics of each step, the result and every array of every checkpoint, to the bit. A third of the
signals come while a run starts, a third during a save, a third anywhere in its steps; in a run of
several processes one of them, drawn anew, is hit, and the others are killed if they have not
noticed it after a while, as a scheduler would. Twenty signals take some minutes.
"""

import argparse
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import Report, count, parser
from senet_jax import loading

RUN = (  # the digits and one block: 60 steps, a checkpoint after each 20
    "--config=configs/digits.py",
    "--config.model.options.stage_sizes=(1,)",
    "--config.data.batch_size=64",
    "--config.schedule.epochs=3",
    "--config.schedule.warmup_epochs=0.5",
    "--config.evaluation.every_epochs=1",
    "--config.evaluation.keep=100",  # all: what SIGTERM saves would take an earlier one's place
)
COLUMNS = {
    "signal": "signal",
    "processes": "processes",
    "hits": "signals sent",
    "starting": "while starting",
    "saving": "during a save",
    "stepping": "in a step",
    "runs": "runs",
    "same": "ended with the same bits",
    "codes": "exit codes",
}
TIMEOUT = 600  # s, for a process that nobody disturbs
PATIENCE = 20.0  # s for the processes of a run that was hit
STARTING = 8.0  # s within which a run that starts is hit


def main() -> None:
    options = _options()
    report = Report("kills", options, COLUMNS)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        for processes in options.processes:
            whole = Path(folder, f"whole-{processes}")
            _end(_start(whole, processes))
            expected = _outcome(whole)
            for name in options.signals:
                disturbed = Path(folder, f"{name}-{processes}")
                row = _disturb(disturbed, processes, name, options.hits, expected, chance)
                report.add(**row)


def _options() -> argparse.Namespace:
    asked = parser("kills", "Compares runs that are killed with one that is left alone.")
    asked.add_argument("--hits", type=count, default=20, help="signals for each row")
    asked.add_argument("--processes", nargs="+", type=count, default=[1, 2], help="of a run")
    asked.add_argument("--signals", nargs="+", default=["KILL", "TERM"], choices=["KILL", "TERM"])
    asked.add_argument("--seed", type=int, default=0, help="of the moments")
    return asked.parse_args()


def _disturb(
    folder: Path, processes: int, name: str, hits: int, expected: Any, chance: random.Random
) -> dict[str, Any]:
    """A row: runs that are hit, one after the other, until there were so many signals."""
    where: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    runs = same = 0
    while where.total() < hits:
        workdir = folder / str(runs)
        runs += 1
        while not (workdir / "result.json").exists():
            running = _start(workdir, processes)
            if where.total() < hits and (moment := _await_moment(workdir, running, chance)):
                chance.choice(running).send_signal(signal.Signals[f"SIG{name}"])
                where[moment] += 1
                codes.update(_ended(running))
            else:
                _end(running)
        same += _is_same(_outcome(workdir), expected)
    found = ", ".join(f"{code} ({number})" for code, number in sorted(codes.items()))
    kinds = {kind: where[kind] for kind in ("starting", "saving", "stepping")}
    row = dict(signal=f"SIG{name}", processes=processes, hits=hits, runs=runs)
    return {**row, **kinds, "same": f"{same} of {runs}", "codes": found}


def _await_moment(
    workdir: Path, running: list[subprocess.Popen], chance: random.Random
) -> str | None:
    """Waits for one, and says of what kind; None where the run has ended before it."""
    begun, reported, saved = time.monotonic(), _size(workdir), _saves(workdir)
    kind = chance.choice(["starting", "saving", "stepping"])
    delay = chance.uniform(0, {"starting": STARTING, "saving": 0.05, "stepping": 0.5}[kind])
    is_there: dict[str, Callable[[], bool]] = {
        "starting": lambda: True,
        "saving": lambda: bool(_saves(workdir) - saved),
        "stepping": lambda: _size(workdir) > reported,
    }
    while not is_there[kind]():
        if any(process.poll() is not None for process in running):
            return None
        assert time.monotonic() < begun + TIMEOUT
        time.sleep(0.002)
    time.sleep(delay)
    return kind if all(process.poll() is None for process in running) else None


def _size(workdir: Path) -> int:
    file = workdir / "metrics.jsonl"
    return file.stat().st_size if file.exists() else 0


def _saves(workdir: Path) -> set[str]:
    """Names of checkpoints, begun ones too."""
    directory = loading.checkpoint_directory(workdir)
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def _start(workdir: Path, processes: int) -> list[subprocess.Popen]:
    command = [sys.executable, "-m", "train", *RUN, f"--workdir={workdir}"]
    several: list[list[str]] = [[]]
    if processes > 1:
        address = f"127.0.0.1:{_free_port()}"
        several = [[f"--distributed={address},{processes},{i}"] for i in range(processes)]
    log = workdir.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as said:
        return [
            subprocess.Popen([*command, *which], stdout=said, stderr=subprocess.STDOUT)
            for which in several
        ]


def _end(running: list[subprocess.Popen]) -> None:
    """Waits for processes that nobody disturbs.

    Raises:
      RuntimeError: one of them failed.
    """
    for process in running:
        if process.wait(TIMEOUT):
            raise RuntimeError(f"an undisturbed run ended with {process.returncode}")


def _ended(running: list[subprocess.Popen]) -> list[int]:
    """Exit codes of a run that was hit."""
    until = time.monotonic() + PATIENCE
    while any(process.poll() is None for process in running) and time.monotonic() < until:
        time.sleep(0.05)
    for process in running:
        process.kill()
    return [process.wait() for process in running]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _is_same(outcome: Any, expected: Any) -> bool:
    """All but the checkpoints that SIGTERM has left between the others."""
    return outcome[:2] == expected[:2] and outcome[2].items() >= expected[2].items()


def _outcome(workdir: Path) -> tuple[str, str, dict[int, dict[str, int]]]:
    """Metrics, result, and by checkpoint the checksum of each array of the whole state."""
    directory = loading.checkpoint_directory(workdir)
    steps = loading.saved_steps(directory)
    for step in steps:
        loading.read_variables(directory, step)  # what is stored there is what the checksums say
    arrays = {step: loading.read_description(directory, step)["checksums"] for step in steps}
    metrics, result = ((workdir / name).read_text() for name in ("metrics.jsonl", "result.json"))
    return metrics, result, arrays


if __name__ == "__main__":
    main()
