"""What a run tells while it runs: terminal, `metrics.jsonl`, TensorBoard.

Metrics stay on the device until a group of steps is due, so that reporting a step costs no wait.
Steps are counted as checkpoints are named: step s is the one that led to checkpoint s.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from train.errors import WrongInput
from train.metrics import Sums, summarise

Record = dict[str, Any]
GATE_FACTS = ("mean", "spread", "saturated")


class Report:
    """A context manager; on the way out, by an exception too, nothing that was reported is lost.

    Nothing is written before the first event. On resume, lines and events of steps after
    `start_step` give way to the new ones. Only the first of several processes writes and prints.

    Args:
      workdir: gets `metrics.jsonl` and `tensorboard/`.
      total_steps: of the whole run.
      steps_per_epoch: metrics are fetched at the end of each epoch at the latest.
      start_step: steps done before; 0 for a new run.
      batch_size: the global one, images per step.
      log_every: steps between fetches of the metrics.
      watch: called with every step and its metrics once they are fetched; may raise.

    Raises:
      WrongInput: `metrics.jsonl` holds something else than metrics.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        total_steps: int,
        steps_per_epoch: int,
        start_step: int,
        batch_size: int,
        log_every: int = 50,
        watch: Callable[[int, Record], None] = lambda step, metrics: None,
    ):
        self._total_steps = total_steps
        self._steps_per_epoch = steps_per_epoch
        self._log_every = log_every
        self._watch = watch
        self._step = start_step
        self._pending: list[tuple[int, Sums]] = []
        self._loss: float | None = None  # the last one fetched
        self._clock = Clock(batch_size, total_steps)
        self._outputs: list[Output] = []
        self._board: TensorBoard | None = None
        self._terminal: Terminal | None = None
        if jax.process_index() == 0:
            self._terminal = Terminal(total_steps, start_step)
            self._board = TensorBoard(Path(workdir) / "tensorboard", start_step, self._terminal)
            metrics = MetricsFile(Path(workdir) / "metrics.jsonl", start_step)
            self._outputs = [metrics, self._board]

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        try:
            self.flush()
        except Exception:
            if exc_type is None:
                raise  # else the error on its way out is the one to see: metrics may be its victims
        finally:
            for output in self._outputs:
                output.close()
            if self._terminal:
                self._terminal.close()

    @property
    def images_per_second(self) -> float:
        """Over all devices, without compilation and evaluation; nan if not known yet."""
        return self._clock.images_per_second

    def train(self, step: int, metrics: Sums) -> None:
        """Notes step 1, 2, ...; `metrics` are its sums and numbers, still on the device."""
        if not self._clock.is_running:  # the first step, which compiled, or one after evaluation
            jax.block_until_ready(metrics)
            if self._terminal and not self._clock.has_run:
                self._terminal.say(f"First step after {self._clock.age:.1f} s, with compilation.")
            self._clock.start(step)
        self._pending.append((step, metrics))
        self._step = step
        ends = step % self._steps_per_epoch == 0 or step == self._total_steps
        if ends or step % self._log_every == 0:
            for record in self.flush():
                self._tell_skipped(record)
                self._watch(record["step"], record)

    def waited(self, seconds: float) -> None:
        """Notes how long the loop has waited for a batch."""
        self._clock.waited(seconds)

    def images(self, images: np.ndarray) -> None:
        """Shows images [n, H, W, C], values 0..1, as the first step sees them."""
        if self._board:
            self._board.show("train/images", images, self._step)

    def validation(
        self, step: int, scores: Mapping[str, Any], gates: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Reports means over the validation split, e.g. {"loss": 0.1, "accuracy": 0.97}, and what
        the gates of each block did there, see `train.gates`."""
        self._clock.stop()  # what is still pending was done before the evaluation, but not timed
        self.flush()
        self._put([_record("validation", step, scores)])
        if gates:
            flat = {f"{path}/{k}": value for path, g in gates.items() for k, value in g.items()}
            self._put([_record("gates", step, flat)])
        if self._terminal:
            # There is no training loss where a resumed run begins with an evaluation.
            loss = "" if self._loss is None else f" loss {self._loss:.4f};"
            self._terminal.say(
                f"epoch {step / self._steps_per_epoch:.6g}, step {step} of {self._total_steps}:"
                f"{loss} validation {_in_words(scores)}{self._clock.in_words(step)}"
            )
            if gates:
                self._terminal.say(f"  {gates_in_words(gates)}")

    def test(self, scores: Mapping[str, Any]) -> None:
        """Writes means over the test split, at the end of the run; the summary prints them."""
        self.flush()
        self._put([_record("test", self._step, scores)])

    def flush(self) -> list[Record]:
        """Fetches and writes what is pending, and returns it. Call it before saving a checkpoint:
        lines that are missing when a run is resumed from there never come back."""
        if not self._pending:
            return []
        steps = [step for step, _ in self._pending]
        fetched = jax.device_get([metrics for _, metrics in self._pending])
        self._pending = []
        records = [_record("train", s, summarise(m)) for s, m in zip(steps, fetched, strict=True)]
        self._loss = records[-1]["loss"]
        self._clock.lap(steps[-1])
        self._put(records)
        if self._board:  # alone: a resumed run's file of metrics is the same, and its speed is not
            facts = self._clock.facts() | _device_memory()
            self._board.write([_record("speed", steps[-1], facts)])
        if self._terminal:
            step = steps[-1]
            self._terminal.progress(
                step,
                f"epoch {step / self._steps_per_epoch:.1f}, step {step}, loss {self._loss:.4f}"
                + self._clock.in_words(step),
            )
        return records

    def say(self, line: str) -> None:
        """For a person, on the terminal alone."""
        if self._terminal:
            self._terminal.say(line)

    def _tell_skipped(self, record: Record) -> None:
        if record.get("skipped"):
            self.say(f"Step {record['step']} was skipped: its loss or gradient is not finite.")

    def _put(self, records: list[Record]) -> None:
        for output in self._outputs:
            output.write(records)


class Clock:
    """Speed of the steps between `start` and `stop`, and the time that is left with all else."""

    def __init__(self, batch_size: int, total_steps: int):
        self._batch_size, self._total_steps = batch_size, total_steps
        self._born = time.perf_counter()
        self._first: tuple[int, float] | None = None  # step and time of the first start
        self._mark: tuple[int, float] | None = None  # ... up to which is counted
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0

    @property
    def age(self) -> float:
        return time.perf_counter() - self._born

    @property
    def has_run(self) -> bool:
        return self._first is not None

    @property
    def is_running(self) -> bool:
        return self._mark is not None

    @property
    def images_per_second(self) -> float:
        return self._steps * self._batch_size / self._seconds if self._steps else math.nan

    def start(self, step: int) -> None:
        """Counts from here, where `step` has just been computed."""
        self._mark = (step, time.perf_counter())
        self._first = self._first or self._mark

    def lap(self, step: int) -> None:
        """Counts up to here, where `step` has just been computed; if running."""
        if self._mark is None:
            return
        now = time.perf_counter()
        self._steps += step - self._mark[0]
        self._seconds += now - self._mark[1]
        self._mark = (step, now)

    def waited(self, seconds: float) -> None:
        """Notes a part of the time that is counted in which nothing could be computed."""
        if self.is_running:
            self._waited += seconds

    def stop(self) -> None:
        self._mark = None

    def facts(self) -> dict[str, float]:
        """{"images_per_second", "waiting", the share of time in which data were waited for}."""
        if not self._steps:
            return {}
        waiting = min(self._waited / self._seconds, 1.0)
        return {"images_per_second": self.images_per_second, "waiting": waiting}

    def in_words(self, step: int) -> str:
        """`, 5,310 images/s, 3 % waiting for data, 0:01:10 left`."""
        words = ""
        if facts := self.facts():
            words += f", {facts['images_per_second']:,.0f} images/s"
            if facts["waiting"] >= 0.01:
                words += f", {100 * facts['waiting']:.0f} % of the time waiting for data"
        if self._first and step > self._first[0]:
            per_step = (time.perf_counter() - self._first[1]) / (step - self._first[0])
            left = round(per_step * (self._total_steps - step))
            words += f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        return words


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


Output = MetricsFile | TensorBoard


def _record(kind: str, step: int, values: Mapping[str, Any]) -> Record:
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


def gates_in_words(gates: Mapping[str, Mapping[str, float]]) -> str:
    """`gates: mean 0.49, spread 0.08, 1 % saturated, most in stage3/block2/se (5 %)`."""
    means = [np.mean([block[k] for block in gates.values()]) for k in GATE_FACTS]
    most = max(gates, key=lambda path: gates[path]["saturated"])
    words = f"gates: mean {means[0]:.2f}, spread {means[1]:.2f}, {100 * means[2]:.0f} % saturated"
    if (share := gates[most]["saturated"]) >= 0.005:
        words += f", most in {most} ({100 * share:.0f} %)"
    return words


def _device_memory() -> dict[str, float]:
    """{"memory_gib", the most that was in use on the first device}, where it can be known."""
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {} if peak is None else {"memory_gib": peak / 2**30}


def _in_words(scores: Mapping[str, Any]) -> str:
    """`loss 0.0813, accuracy 97.22 %`."""
    return ", ".join(
        f"{name} {100 * value:.2f} %" if name.endswith("accuracy") else f"{name} {value:.4f}"
        for name, value in scores.items()
    )
