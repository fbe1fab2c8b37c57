"""A trace of some steps, to be looked at in TensorBoard's profiler or in Perfetto."""

from pathlib import Path

import jax


class Trace:
    """A context: leaving it ends a trace that is still running.

    Args:
      directory: gets the trace.
      steps: those that are traced, counted from 1; none for an empty range.
    """

    def __init__(self, directory: Path, steps: range):
        self._directory, self._steps = directory, steps
        self._is_running = False

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop()

    def before(self, step: int) -> None:
        """Called before each step is begun: starts or stops where it is due."""
        if step in self._steps and not self._is_running:
            jax.profiler.start_trace(str(self._directory))
            self._is_running = True
        elif step not in self._steps:
            self._stop()

    def _stop(self) -> None:
        if self._is_running:
            self._is_running = False
            jax.effects_barrier()
            jax.profiler.stop_trace()
            print(f"Traced steps {self._steps[0]} to {self._steps[-1]}: {self._directory}")
