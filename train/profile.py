"""A trace of some steps, to be looked at in TensorBoard's profiler or in Perfetto."""

from pathlib import Path
from typing import Any

import jax


class Trace:
    """A context: leaving it ends a trace that is still running.

    Args:
      directory: gets the trace.
      steps: those that are traced, counted from 1; none for an empty range.
    """

    def __init__(self, directory: Path, steps: range):
        self._directory, self._steps = directory, steps
        self._first: int | None = None  # that was traced
        self._is_over = False
        self._step, self._state = 0, None

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop(self._step)
        if self._steps and self._first is None:
            print(f"No step of {self._steps[0]} to {self._steps[-1]} was taken: nothing is traced.")

    def before(self, step: int, state: Any) -> None:
        """Called before each step is begun, with what the last one gave: starts or stops where it
        is due, once that has been computed."""
        self._state = state
        if step in self._steps and self._first is None:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self._directory))
            self._first = step
        elif self._first is not None and step not in self._steps:
            self._stop(step - 1)
        self._step = step

    def _stop(self, last: int) -> None:
        if self._first is None or self._is_over:
            return
        self._is_over = True
        jax.block_until_ready(self._state)
        jax.profiler.stop_trace()
        print(f"Traced steps {self._first} to {last}: {self._directory}")
