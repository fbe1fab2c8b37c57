"""What a run does when its numbers are not finite any more: says where that began."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from train.errors import Diverged
from train.state import State
from train.step import Batch, Recipe, forward, gradients_of, training_examples

ADVICE = (
    "What helps most often: a lower --config.schedule.learning_rate, a longer"
    " --config.schedule.warmup_epochs, --config.optimizer.clip_norm=1, or"
    " --config.model.dtype=float32."
)


class Watch:
    """Counts the steps that were skipped one after the other."""

    def __init__(self, limit: int):
        self._limit = limit
        self._first: int | None = None  # of those skipped just now

    def see(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Notes the metrics of the last steps; raises `Diverged` if so many have been skipped in a
        row, and the last one with them."""
        for record in records:
            self._first = (self._first or record["step"]) if record.get("skipped") else None
        if self._first and records[-1]["step"] - self._first + 1 >= self._limit:
            raise Diverged(self._first, records[-1]["step"])


def account(end: Diverged, recipe: Recipe, state: State, batch: Batch) -> str:
    """What is said of a run that has ended so.

    Args:
      state: after the last step.
      batch: of the last step, as read by this process.
    """
    plain: dict[str, Any] = {}
    if hasattr(recipe.model, "remat"):  # what is seen inside would escape its tracing
        plain["remat"] = False
    norm = recipe.model.norm.clone(axis_name=None, groups=1)
    model = recipe.model.clone(norm=norm, **plain)
    alone = replace(recipe, axis_name=None, accumulate=1, model=model)
    state = jax.device_get(state)
    begun = culprit(alone, state.replace(step=state.step - 1), batch)
    return (
        f"Loss or gradient were not finite in steps {end.first} to {end.last}, none of which was"
        f" taken. The first value that is not, in step {end.last}: {begun}. {ADVICE} The state"
        f" before step {end.first} is saved."
    )


def culprit(recipe: Recipe, state: State, batch: Batch) -> str:
    """The first value of a step that is not finite, in the order of computing it.

    Args:
      batch: of one device's images, as `gradients_of` takes it.
    """
    paths: list[str] = []

    def look(state: State, batch: Batch) -> tuple[list[jax.Array], Any, jax.Array]:
        paths.clear()  # jit may trace twice
        flags: list[jax.Array] = []
        images, targets, key = training_examples(recipe, state, batch)
        with _outputs_seen(paths, flags):
            logits, _ = forward(recipe, state.params, state.batch_stats, images, key)
        gradients = gradients_of(recipe, state, batch, 0)[0]
        loss = _finite(recipe.loss(logits, targets))
        return flags, jax.tree.map(_finite, gradients), loss

    if broken := _names(jax.tree.map(_finite, state.variables)):
        return f"the variables themselves: {broken}"
    flags, gradients, loss = jax.device_get(jax.jit(look)(state, batch))
    for path, finite in zip(paths, flags, strict=True):
        if not finite:
            return f"the output of {path}"
    if not loss:
        return "the loss, of finite logits"
    broken = _names(gradients)
    return f"the gradient of {broken}" if broken else "nothing, when this step was done again alone"


@contextmanager
def _outputs_seen(paths: list[str], flags: list[jax.Array]) -> Iterator[None]:
    """While open, every module that has computed leaves its path, and whether all is finite."""

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        out = call(*args, **kwargs)
        if context.method_name == "__call__":
            paths.append("/".join(context.module.path) or "the network")
            flags.append(_finite(out))
        return out

    with nn.intercept_methods(intercept):
        yield


def _finite(tree: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def _names(finite: Any) -> str:
    """Up to three of the leaves that are not finite."""
    found = [
        "/".join(part.key for part in path)
        for path, is_finite in jax.tree_util.tree_leaves_with_path(finite)
        if not is_finite
    ]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(found[:3]) + more
