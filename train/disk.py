"""A disk that is full, read-only or failing: told in a sentence, with what is left on it."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from senet_jax import loading
from train.errors import SaveFailed

REMEDIES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "make it writable",
    errno.EIO: "look after the disk",
}


@contextmanager
def faults_told(workdir: Path) -> Iterator[None]:
    """Turns what the disk of a run's directory refuses into `SaveFailed`."""
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise SaveFailed(_sentence(f"{workdir} cannot be written", error, workdir)) from error


def not_saved(workdir: Path, step: int, error: Exception) -> SaveFailed:
    """What to raise where the checkpoint of a step was lost by an error."""
    return SaveFailed(_sentence(f"The checkpoint of step {step} was not saved", error, workdir))


def _sentence(what: str, error: Exception, workdir: Path) -> str:
    reason, remedy = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", ""
    if (number := _number(error)) in REMEDIES:
        reason, remedy = os.strerror(number), f"{REMEDIES[number]}, and "
    steps = loading.saved_steps(loading.checkpoint_directory(workdir))
    if not steps:
        return f"{what}: {reason}. There is no earlier one: {remedy}the same command begins anew."
    return (
        f"{what}: {reason}. Step {steps[-1]} is the last that was saved in {workdir}: {remedy}the"
        " same command goes on from it."
    )


def _number(error: Exception) -> int:
    """The operating system's; TensorStore, which writes Orbax's arrays, has it in its text."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else 0
