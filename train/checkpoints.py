"""Checkpoints: the last ones and the best, written in the background, read whatever happened.

Their layout, and reading without the trainer, are `senet_jax.loading`'s.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from senet_jax import loading
from senet_jax.checksums import checksums
from senet_jax.loading import Scores
from train.disk import not_saved
from train.distributed import peers, together
from train.errors import refusals
from train.state import State, Variables
from train.workdir import write_json

READ_TIMEOUT = 600.0  # s between processes, for all of them to have read a checkpoint


def restore(workdir: Path, like: State) -> State | None:
    """The newest state that can be read, or None if nothing was saved yet.

    What cannot be read, or isn't what was saved, is moved to <workdir>/damaged, with a warning, so
    that the steps after the one that is restored can be saved again. Of several processes, all
    restore the same step: what one of them cannot read, none does.

    Args:
      like: shapes, dtypes and places to restore to.

    Raises:
      WrongInput: there are checkpoints and none can be read: starting over would overwrite them.
    """
    directory = loading.checkpoint_directory(workdir)
    steps = _steps_of_first(directory)[::-1]
    if not steps:
        return None

    def read(step: int) -> State:
        with together(f"reading checkpoint {step}", READ_TIMEOUT):
            loading.read_description(directory, step)
            loading.read_scores(directory, step)
            # Not a Checkpointer: it waits for the other processes, and one may have failed.
            with closing(ocp.StandardCheckpointHandler()) as handler:
                arguments = ocp.args.StandardRestore(like)
                state = handler.restore(directory / str(step) / "state", args=arguments)
        with together(f"verifying checkpoint {step}", READ_TIMEOUT):
            loading.verify_arrays(directory, step, state)
        return state

    with refusals():
        step, state, damaged = loading.first_readable(directory, steps, read)
    with together("moving damaged checkpoints aside", READ_TIMEOUT):
        if jax.process_index() == 0:
            _clear(workdir, steps, step, damaged)
    return state


class Checkpoints:
    """Writes a run's checkpoints while it trains. A context: leaving it waits for the last save.

    Keeps the last ones and the best (by `loading.preference`).

    Args:
      description: what `loading.read_description` returns, without the format.
      keep: how many of the last.
    """

    def __init__(self, workdir: Path, description: dict[str, Any], keep: int = 2):
        self._workdir, self._saving = workdir, 0  # the step that is being saved
        self.directory = loading.checkpoint_directory(workdir)
        self._description = {"format": loading.CHECKPOINT_FORMAT, **description}
        policies = ocp.checkpoint_managers
        # Not max_to_keep: with best_fn it deletes the newest checkpoint when it isn't the best.
        policy = policies.AnyPreservationPolicy(
            [
                policies.LatestN(keep),
                policies.BestN(
                    get_metric_fn=loading.preference, n=1, keep_checkpoints_without_metrics=False
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=loading.preference,  # makes Orbax write the scores
            cleanup_tmp_directories=True,  # what a kill while saving has left
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)
        self._scored = {
            step
            for step in loading.saved_steps(self.directory)
            if loading.read_scores(self.directory, step) is not None
        }

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._failures_told():
            self._manager.close()

    def has_scores(self, step: int) -> bool:
        """Whether this step was evaluated and saved."""
        return step in self._scored

    def best_step(self) -> int:
        """The evaluated step that is preferred to all others so far."""
        step = self._manager.best_step()
        assert step is not None
        return step

    def save(self, step: int, state: State, scores: Scores | None = None) -> None:
        """Begins to save a state, which may be donated at once; a step that is there already stays,
        and gets its scores.

        Raises:
          SaveFailed: the disk refuses; or it has refused the save before, in the background. The
            next save, or leaving the context, raises if it refuses this one.
        """
        self.wait()
        if step in self._manager.all_steps():
            if scores is not None:
                self._add_scores(step, scores)
            return
        described = self._description | {"checksums": checksums(state)}
        self._saving = step
        with self._failures_told(OSError):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(described)
                ),
                metrics=scores,
                force=True,
            )
        if scores is not None:
            self._scored.add(step)

    def wait(self) -> None:
        """Until all that was saved is on disk; raises `SaveFailed` if it isn't."""
        with self._failures_told():
            self._manager.wait_until_finished()

    def _add_scores(self, step: int, scores: Scores) -> None:
        """In place: writing the step again would leave a moment without it."""
        if step in self._scored:
            return
        with together(f"scores of {step}", READ_TIMEOUT):
            if jax.process_index() == 0:
                file = loading.scores_file(self.directory, step)
                file.parent.mkdir(exist_ok=True)
                write_json(file, scores)
        self._manager.reload()
        self._scored.add(step)

    @contextmanager
    def _failures_told(self, kind: type[Exception] = Exception) -> Iterator[None]:
        try:
            yield
        except kind as error:  # Orbax raises what its background threads have met
            raise not_saved(self._workdir, self._saving, error) from error


def save_network(workdir: Path, variables: Variables, description: dict[str, Any]) -> None:
    """Writes a network as the one checkpoint of a run that has not begun.

    Args:
      variables: {"params", "batch_stats"}.
      description: as `loading.describe` returns it.
    """
    params, batch_stats = variables["params"], variables["batch_stats"]
    zero = jnp.zeros((), jnp.int32)
    state = State(zero, jnp.uint32(0), params, batch_stats, opt_state={}, ema={})
    fresh = {k: v for k, v in description.items() if k != "format"}
    with Checkpoints(workdir, fresh) as checkpoints:
        checkpoints.save(0, state)


def best(workdir: Path) -> tuple[int, Scores, dict[str, Any]]:
    """The step that the validation split chose, its scores, and its variables (averages, if kept).

    Warns, and takes the next best, where the best one is damaged.
    """
    directory = loading.checkpoint_directory(workdir)

    def read(step: int) -> tuple[Scores, dict[str, Any]]:
        scores = loading.read_scores(directory, step)
        if scores is None:
            raise ValueError("the step was not evaluated")
        return scores, loading.read_variables(directory, step)

    steps = loading.steps_by_preference(directory)
    step, (scores, variables), damaged = loading.first_readable(directory, steps, read)
    if damaged:
        warnings.warn(f"{damaged} The next best is step {step}.", stacklevel=2)
    return step, scores, variables


def _steps_of_first(directory: Path) -> list[int]:
    """The saved steps that process 0 sees: a shared file system may be slow to tell the others."""
    steps = loading.saved_steps(directory)
    if others := peers():
        steps = json.loads(others.word_of_first("steps", json.dumps(steps), READ_TIMEOUT))
    return steps


def _clear(workdir: Path, steps: list[int], restored: int, damaged: str) -> None:
    """Moves what is damaged aside, of `steps` from the newest on, and tells which and what for."""
    for newer in steps[: steps.index(restored)]:
        _move_aside(workdir, newer)
    if damaged:
        lost = steps[0] - restored
        warnings.warn(
            f"{damaged} Going on from step {restored}: {lost} steps are done again. What is damaged"
            f" is now in {workdir / 'damaged'}.",
            stacklevel=3,
        )
    _drop_unreadable_scores(workdir)


def _move_aside(workdir: Path, step: int) -> None:
    target = workdir / "damaged" / str(step)
    while target.exists():
        target = target.with_name(target.name + "-again")
    target.parent.mkdir(exist_ok=True)
    (loading.checkpoint_directory(workdir) / str(step)).rename(target)


def _drop_unreadable_scores(workdir: Path) -> None:
    """Moves older checkpoints with damaged scores aside: Orbax refuses to start beside them."""
    directory = loading.checkpoint_directory(workdir)
    for step in loading.saved_steps(directory):
        try:
            loading.read_scores(directory, step)
        except ValueError:
            _move_aside(workdir, step)
            warnings.warn(
                f"{directory / str(step)} cannot be read and is now in {workdir / 'damaged'}: if it"
                f" was the best of the run, the best is now another.",
                stacklevel=4,
            )
