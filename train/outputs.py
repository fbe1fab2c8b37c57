"""Where a report goes: the terminal, `metrics.jsonl`, TensorBoard."""

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from train.errors import WrongInput

Record = dict[str, Any]


class Terminal:
    """A progress bar where someone may look at one, else lines only."""

    def __init__(self, total_steps: int, start_step: int):
        self._total_steps, self._start_step = total_steps, start_step
        self._bar: Any = None

    def progress(self, step: int, words: str) -> None:
        if not sys.stdout.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._total_steps,
                initial=self._start_step,
                desc=words,
                file=sys.stdout,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f} % |{bar}| {desc}",
            )
        self._bar.n = step
        self._bar.set_description_str(words)

    def say(self, line: str) -> None:
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.write(line, file=sys.stdout)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class MetricsFile:
    """One JSON object per line, in the order of the steps: {"kind", "step", ...}.

    A number that is not finite is null: JSON knows no nan.
    """

    def __init__(self, path: Path, start_step: int):
        self._path = path
        self._length = _length_to_keep(path, start_step)
        self._file: TextIO | None = None

    def write(self, records: list[Record]) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                os.truncate(self._path, self._length)  # in place: done or not done, never half
            self._file = self._path.open("a")
        self._file.write("".join(_json_line(record) for record in records))
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class TensorBoard:
    """Event files by tensorboardX, where it is installed; tags are `train/loss` and the like."""

    def __init__(self, directory: Path, start_step: int, terminal: Terminal):
        self._directory, self._start_step, self._terminal = directory, start_step, terminal
        self._writer: Any = None
        self._is_absent = False

    def write(self, records: list[Record]) -> None:
        if self._writer is None and not self._is_absent:
            self._open()
        if self._writer is None:
            return
        for record in records:
            for name, value in record.items():
                if name not in ("kind", "step") and math.isfinite(value):
                    self._writer.add_scalar(f"{record['kind']}/{name}", value, record["step"])
        self._writer.flush()

    def show(self, tag: str, images: np.ndarray, step: int) -> None:
        """Images [n, H, W, C], values 0..1."""
        if self._writer is None and not self._is_absent:
            self._open()
        if self._writer is not None:
            self._writer.add_images(tag, images, step, dataformats="NHWC")

    def _open(self) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            self._is_absent = True
            self._terminal.say("No TensorBoard events: tensorboardX is not installed.")
            return
        purged_from = self._start_step + 1 if self._start_step else None
        self._writer = SummaryWriter(os.fspath(self._directory), purge_step=purged_from)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def record(kind: str, step: int, values: Mapping[str, Any]) -> Record:
    return {"kind": kind, "step": int(step)} | {name: float(x) for name, x in values.items()}


def _json_line(record: Record) -> str:
    finite = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()
    }
    return json.dumps(finite, allow_nan=False) + "\n"


def _length_to_keep(path: Path, start_step: int) -> int:
    """Bytes of the lines that a run resumed at `start_step` would have written so far.

    Steps only grow along the file, so what goes is its end: later steps, the test's line, which
    belongs to the end of the run, and a line that a killed process left half written.
    """
    if not path.exists():
        return 0
    length = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                is_past = record["kind"] != "test" and record["step"] <= start_step
            except (ValueError, KeyError, TypeError) as error:
                raise WrongInput(
                    f"Line {number} of {path} is no metrics of a run: move the file away, or choose"
                    f" another workdir."
                ) from error
            if not is_past:
                break
            length += len(line)
    return length
