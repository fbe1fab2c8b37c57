"""Several runs side by side, each a process of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from train.errors import WrongInput
from train.interrupt import Interruption

LOG = "log.txt"  # what a run has printed, in its working directory
ONE_THREAD = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "OMP_NUM_THREADS": "1"}

Environment = dict[str, str]


@dataclass(frozen=True)
class Job:
    """A run: what to call it, where it lives, and the arguments of `python -m train`."""

    name: str
    workdir: Path
    arguments: tuple[str, ...]


def run_jobs(
    jobs: Sequence[Job],
    places: Sequence[Environment],
    environment: Environment,
    done: Callable[[Job, int, float], None],
) -> None:
    """Runs all jobs, as many at a time as there are places.

    Args:
      places: changes to the environment for the job in this place.
      environment: of all of them.
      done: called with a job that has ended, its exit code, and the seconds it took.

    Raises:
      Interrupted: SIGINT or SIGTERM came; the jobs were stopped and have saved.
    """
    waiting, free = list(jobs), list(places)
    running: dict[subprocess.Popen, tuple[Job, Environment, float]] = {}
    with Interruption() as interruption:
        try:
            while waiting or running:
                while waiting and free:
                    job, place = waiting.pop(0), free.pop(0)
                    process = _start(job, environment | place)
                    running[process] = job, place, time.perf_counter()
                for process in [p for p in running if p.poll() is not None]:
                    job, place, begun = running.pop(process)
                    process.communicate()  # closes the pipe
                    free.append(place)
                    done(job, process.returncode, time.perf_counter() - begun)
                interruption.check()
                time.sleep(0.05)
        finally:
            _stop(list(running))


def last_words(job: Job) -> str:
    """The line with which a run has ended, for a person who asks why it failed."""
    log = job.workdir / LOG
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "It said nothing.")


def places_for(count: int, environment: Mapping[str, str]) -> list[Environment]:
    """Where `count` jobs at a time run: one alone has the machine, several a GPU each or, without
    GPUs, a thread of the CPU each.

    Raises:
      WrongInput: more jobs than GPUs.
    """
    if count == 1:
        return [{}]
    gpus = _visible_gpus(environment)
    if not gpus:
        flags = f"{environment.get('XLA_FLAGS', '')} {ONE_THREAD['XLA_FLAGS']}".strip()
        return [ONE_THREAD | {"XLA_FLAGS": flags} for _ in range(count)]
    if count > len(gpus):
        raise WrongInput(
            f"--jobs={count}, but there are {len(gpus)} GPUs: each job takes one, so at most"
            f" --jobs={len(gpus)}."
        )
    return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus[:count]]


def _visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Found without JAX: whoever asks JAX holds a part of every GPU's memory."""
    if environment.get("JAX_PLATFORMS", "cuda").split(",")[0] not in ("cuda", "gpu"):
        return []
    if (visible := environment.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def _start(job: Job, environment: Environment) -> subprocess.Popen:
    job.workdir.mkdir(parents=True, exist_ok=True)
    with (job.workdir / LOG).open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "train.sweep.run", *job.arguments],
            env=environment,
            stdin=subprocess.PIPE,  # see train.sweep.run
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C at the terminal comes once, by us
        )


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """Lets runs save and end; a second Ctrl-C ends them at once."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    try:
        for process in processes:
            process.wait()
            process.communicate()  # closes the pipe: before the end it would stop the run twice
    except KeyboardInterrupt:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
        raise
