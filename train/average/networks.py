"""Several checkpoints of a run as one network: the uniform mean of their variables.

Late checkpoints of a run lie around one valley of the loss, and their mean lies deeper in it than
any of them (arXiv 1803.05407). The mean of running statistics is not the statistics of the mean
network, so these can be measured anew (`fresh_statistics`).
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from senet_jax import create_model, loading
from train.data import Data
from train.errors import WrongInput
from train.parallel import Devices
from train.setup import make_recipe
from train.state import State, Variables
from train.step import train_step


def choose_steps(workdir: Path, last: int, steps: Sequence[int] | None = None) -> list[int]:
    """The checkpoints to average: those named, or else the last ones.

    Raises:
      WrongInput: they are not there.
    """
    there = loading.saved_steps(loading.checkpoint_directory(workdir))
    if not there:
        raise WrongInput(f"{workdir} has no checkpoints: expected the directory of a training run.")
    have = f"{workdir} has checkpoints of steps {', '.join(map(str, there))}"
    more = "a run keeps as many of the last as --config.evaluation.keep says, and the best."
    if steps is not None:
        if absent := [str(step) for step in steps if step not in there]:
            raise WrongInput(f"{have}, and none of step {', '.join(absent)}: {more}")
        return sorted(steps)
    if len(there) < last:
        raise WrongInput(f"{have}, and {last} were asked for (--last={last}): {more}")
    return there[-last:]


def averaged_variables(workdir: Path, steps: Iterable[int], kind: str) -> Variables:
    """The mean over checkpoints, as NumPy arrays of the variables' dtypes.

    Args:
      kind: "raw", or "ema", the moving averages.

    Raises:
      ValueError: one of them cannot be read, or the run kept no moving averages.
    """
    return uniform_mean(_read(workdir, step, kind) for step in steps)


def uniform_mean(trees: Iterable[Any]) -> Any:
    """The mean of trees of floating-point arrays, leaf by leaf, summed in float64, on the host."""
    on_host = [jax.device_get(tree) for tree in trees]
    return jax.tree.map(
        lambda *leaves: np.mean(leaves, axis=0, dtype=np.float64).astype(leaves[0].dtype), *on_host
    )


def fresh_statistics(
    config: ConfigDict,
    description: dict[str, Any],
    variables: Variables,
    data: Data,
    devices: Devices,
    batches: int,
) -> Any:
    """Batch norm's statistics of the network itself: means of those of single training batches.

    The batches are the first of a run by this config, augmented as there, so that the statistics
    are of what training would have seen.

    Args:
      description: of the run that the variables are from.

    Returns:
      "batch_stats", as NumPy arrays.
    """
    recipe = make_recipe(config, data, devices)
    saved = description["model"]
    model = create_model(saved["name"], **saved["options"])
    # without momentum the running statistics after a step are those of its batch alone
    norm = model.norm.clone(momentum=0.0, axis_name=devices.axis_name)
    recipe = replace(
        recipe,
        model=model.clone(norm=norm),
        optimizer=optax.set_to_zero(),
        mean=tuple(description["mean"]),
        std=tuple(description["std"]),
        ema_decay=0.0,
        penalty=None,
    )

    def statistics(state: State, batch: Any) -> Any:
        return train_step(recipe, state, batch)[0].batch_stats

    measure = devices.compile(statistics)
    start = State(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.uint32(config.seed),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=recipe.optimizer.init(variables["params"]),
        ema={},
    )
    state = devices.put_whole(start)
    with closing(data.train()) as reading:
        return uniform_mean(
            measure(state.replace(step=jnp.int32(step)), devices.put(batch))
            for step, batch in islice(reading, batches)
        )


def check_same_data(description: dict[str, Any], data: Data, workdir: Path) -> None:
    """Raises `WrongInput` if a run was trained on other images or classes than these."""
    ours = list(data.image_shape), list(data.class_names)
    theirs = description["image_shape"], description["class_names"]
    if ours != theirs:
        raise WrongInput(
            f"{workdir} was trained on images of shape {theirs[0]} in {len(theirs[1])} classes, and"
            f" --config has {ours[0]} in {len(ours[1])}, or of other names: give the config of that"
            " run, as its config.json has it."
        )


def _read(workdir: Path, step: int, kind: str) -> Variables:
    directory = loading.checkpoint_directory(workdir)

    def read(step: int) -> Variables:
        return loading.read_variables(directory, step, kind)

    return loading.first_readable(directory, [step], read)[1]
