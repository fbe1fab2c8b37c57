"""What a run tells while it runs: terminal, `metrics.jsonl`, TensorBoard.

Metrics stay on the device until a group of steps is due, so that reporting a step costs no wait.
Steps are counted as checkpoints are named: step s is the one that led to checkpoint s.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train.clock import Clock
from train.metrics import Sums, summarise
from train.outputs import MetricsFile, Record, TensorBoard, Terminal, record

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
      watch: called with the metrics of some steps once they are fetched; may raise.

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
        watch: Callable[[list[Record]], None] = lambda records: None,
    ):
        self._total_steps = total_steps
        self._steps_per_epoch = steps_per_epoch
        self._log_every = log_every
        self._watch = watch
        self._step = start_step
        self._pending: list[tuple[int, Sums]] = []
        self._loss: float | None = None  # the last one fetched
        self._clock = Clock(batch_size, total_steps)
        self._outputs: list[MetricsFile | TensorBoard] = []
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
            done = self.flush()
            for each in done:
                self._tell_skipped(each)
            self._watch(done)

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
        self._put([record("validation", step, scores)])
        if gates:
            flat = {f"{path}/{k}": value for path, g in gates.items() for k, value in g.items()}
            self._put([record("gates", step, flat)])
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
        self._put([record("test", self._step, scores)])

    def flush(self) -> list[Record]:
        """Fetches and writes what is pending, and returns it. Call it before saving a checkpoint:
        lines that are missing when a run is resumed from there never come back."""
        if not self._pending:
            return []
        steps = [step for step, _ in self._pending]
        fetched = jax.device_get([metrics for _, metrics in self._pending])
        self._pending = []
        records = [record("train", s, summarise(m)) for s, m in zip(steps, fetched, strict=True)]
        self._loss = records[-1]["loss"]
        self._clock.lap(steps[-1])
        self._put(records)
        if self._board:  # alone: a resumed run's file of metrics is the same, and its speed is not
            facts = self._clock.facts() | _device_memory()
            self._board.write([record("speed", steps[-1], facts)])
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
