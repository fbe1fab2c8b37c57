"""A run's own directory: which experiment it belongs to, who is in it, and what came out.

config.json, result.json (once finished) and lock; metrics and checkpoints have their own modules.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import jax
from ml_collections import ConfigDict

from senet_jax import loading
from train.config import as_json, differences
from train.errors import WrongInput

Result = dict[str, Any]


def check_directory(workdir: Path, option: str = "--workdir") -> None:
    """Raises `WrongInput` if this is a file, or lies below one."""
    for path in (workdir, *workdir.parents):
        if path.exists() and not path.is_dir():
            raise WrongInput(f"{path} is a file, expected a directory: give another {option}.")


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Raises `WrongInput` if another experiment lives here. Touches nothing."""
    check_directory(workdir)
    saved = loading.saved_steps(loading.checkpoint_directory(workdir))
    if not saved and read_result(workdir) is None:
        return  # whatever was begun here, nothing came of it
    file = workdir / "config.json"
    if not file.exists():
        raise WrongInput(
            f"{workdir} has checkpoints but no config.json, so nobody knows of which experiment:"
            f" give another --workdir."
        )
    if fields := differences(json.loads(file.read_text()), as_json(config)):
        raise WrongInput(
            f"{workdir} belongs to another experiment: {'; '.join(fields)}. Nothing was touched."
            f" Give another --workdir, or the same config to go on with that one."
        )


def check_unused(workdir: Path) -> None:
    """Raises `WrongInput` if a run is in here. Asked before processes connect: those of a second
    run with the same address would take the places of the first one's.
    """
    file = workdir / "lock"
    if file.exists():
        with _locked(file, shared=True):  # the processes of one run may all ask at once
            pass


@contextmanager
def claimed(workdir: Path, config: ConfigDict) -> Iterator[None]:
    """The directory, made if need be, as this experiment's and this process's alone."""
    if jax.process_index() != 0:  # one process writes for all
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with _locked(workdir / "lock") as lock:
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        write_json(workdir / "config.json", as_json(config))
        yield


def read_result(workdir: Path) -> Result | None:
    """What a finished run has written, None if it isn't finished."""
    file = workdir / "result.json"
    return json.loads(file.read_text()) if file.exists() else None


def write_result(workdir: Path, result: Result) -> None:
    """Marks the run as finished."""
    if jax.process_index() == 0:
        write_json(workdir / "result.json", result)


def write_json(file: Path, content: Any) -> None:
    """The whole file or nothing, whenever the process is killed."""
    beside = file.with_suffix(".tmp")
    beside.write_text(json.dumps(content, indent=2) + "\n")
    beside.replace(file)


@contextmanager
def _locked(file: Path, shared: bool = False) -> Iterator[IO[str]]:
    """Held by the process, so that it is gone with it, however it ends."""
    with file.open("r" if shared else "a+") as lock:
        try:
            import fcntl
        except ImportError:  # Windows
            yield lock
            return
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise WrongInput(
                f"{file.parent} is in use by process {lock.read().strip() or '?'}: wait for it to"
                f" end, or give another --workdir."
            ) from None
        yield lock
