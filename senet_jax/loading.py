"""Trained networks from where they are kept.

What a training run leaves (`python -m train --workdir=...`), under <workdir>/checkpoints/<step>/:

    state/     arrays, by Orbax: params, batch_stats, ema (empty, or both of these averaged), ...
    config/    JSON: format, model (name, options), class_names, mean, std, image_shape, config
    metrics/   JSON: scores on the validation split; missing where the step was not evaluated

`load` needs nothing of the trainer, of its config pages, or of the devices it ran on.
"""

import json
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import flax.linen as nn
import jax

from senet_jax.models import create_model

CHECKPOINT_FORMAT = 1

Variables = dict[str, Any]
Scores = dict[str, float]
T = TypeVar("T")


def load(
    workdir: str | Path,
    *,
    weights: Literal["ema", "raw"] | None = None,
    num_classes: int | None = None,
) -> tuple[nn.Module, Variables]:
    """The network that a training run has learnt, from its working directory.

    It is the checkpoint that the validation split chose, or else the last one; where that one is
    damaged, the next in line, with a warning.

    Args:
      workdir: what the run was given as --workdir.
      weights: "ema", the moving averages, or "raw"; by default "ema" if the run kept averages.
      num_classes: checked against the checkpoint.

    Returns:
      The model and its variables, `{"params", "batch_stats"}`, on one device: the model takes
      images prepared as in training, `model.apply(variables, images, train=False)`.

    Raises:
      FileNotFoundError: no such directory, or no checkpoints in it.
      ValueError: no averages in the run, another number of classes, or nothing that can be read.
    """
    if weights not in (None, "ema", "raw"):
        raise ValueError(f"weights is {weights!r}, expected 'ema', 'raw' or None.")
    directory = checkpoint_directory(workdir)
    steps = steps_by_preference(directory)
    if not steps:
        raise FileNotFoundError(
            f"There are no checkpoints in {workdir}: expected {directory}/<step>, as"
            f" `python -m train --workdir={workdir}` writes them."
        )

    def read(step: int) -> tuple[dict[str, Any], Variables]:
        return read_description(directory, step), read_variables(directory, step, weights)

    step, (description, variables), damaged = first_readable(directory, steps, read)
    if damaged:
        warnings.warn(f"{damaged} Loaded step {step} instead.", stacklevel=2)
    saved = description["model"]
    if num_classes not in (None, saved["options"]["num_classes"]):
        raise ValueError(
            f"The checkpoint in {workdir} has {saved['options']['num_classes']} classes, not"
            f" {num_classes}: leave num_classes out, or load another run."
        )
    return create_model(saved["name"], **saved["options"]), variables


def checkpoint_directory(workdir: str | Path) -> Path:
    """Where a run keeps its checkpoints; absolute, as Orbax loses what goes to a relative path."""
    return Path(workdir).absolute() / "checkpoints"


def saved_steps(directory: Path) -> list[int]:
    """Steps that were saved completely, oldest first; those being written have other names."""
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def steps_by_preference(directory: Path) -> list[int]:
    """The saved steps, best first: by validation scores, then those without from the newest on."""

    def rank(step: int) -> tuple:
        try:
            scores = read_scores(directory, step)
        except ValueError:  # damaged
            scores = None
        return (scores is not None, preference(scores) if scores else (), step)

    return sorted(saved_steps(directory), key=rank, reverse=True)


def preference(scores: Scores) -> tuple[float, float]:
    """Greater is better: validation accuracy, then lower loss; of the averages, if any."""
    prefix = "ema_" if "ema_accuracy" in scores else ""
    loss = scores[prefix + "loss"]
    return scores[prefix + "accuracy"], -loss if loss == loss else float(
        "-inf"
    )  # not a number: last


def read_scores(directory: Path, step: int) -> Scores | None:
    """Validation scores of a step, None if it was not evaluated. Raises ValueError if damaged."""
    file = directory / str(step) / "metrics" / "metrics"
    return json.loads(file.read_text()) if file.exists() else None


def read_description(directory: Path, step: int) -> dict[str, Any]:
    """What a step says of itself (see the top of this file)."""
    description = json.loads((directory / str(step) / "config" / "metadata").read_text())
    if description["format"] != CHECKPOINT_FORMAT:
        raise NewerFormat(
            f"{directory / str(step)} has format {description['format']}, and this senet_jax reads"
            f" format {CHECKPOINT_FORMAT}: use the version that wrote it, or a newer one."
        )
    return description


def read_variables(directory: Path, step: int, weights: str | None = None) -> Variables:
    """`{"params", "batch_stats"}` of a step, on one device; `weights` as in `load`."""
    ocp = _orbax()
    path = directory / str(step) / "state"
    handler = ocp.PyTreeCheckpointHandler()
    tree = handler.metadata(path).tree
    if weights == "ema" and not tree["ema"]:
        raise NoAverages(
            "The run kept no moving averages (its ema_decay is 0): load it with weights='raw'."
        )
    averaged = bool(tree["ema"]) and weights != "raw"
    wanted = {key: tree[key] for key in (["ema"] if averaged else ["params", "batch_stats"])}
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), wanted)
    arguments = ocp.args.PyTreeRestore(
        wanted,
        restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
        partial_restore=True,
    )
    restored = handler.restore(path, args=arguments)
    return restored["ema"] if averaged else restored


def first_readable(
    directory: Path, steps: Iterable[int], read: Callable[[int], T]
) -> tuple[int, T, str]:
    """The first of `steps` that `read` can read.

    Returns:
      The step, what was read, and a sentence on the damaged ones before it ("" if there are none).

    Raises:
      ValueError: none can be read.
    """
    faults: list[str] = []
    for step in steps:
        try:
            value = read(step)
        except (NewerFormat, NoAverages):
            raise
        except (
            Exception
        ) as error:  # Orbax raises ValueError, KeyError, JSONDecodeError, ... for damage
            reason = " ".join(str(error).split())
            faults.append(
                f"{directory / str(step)} cannot be read ({type(error).__name__}: {reason[:200]})."
            )
        else:
            return step, value, " ".join(faults)
    raise ValueError(" ".join([*faults, "No checkpoint is left to read."]))


class NewerFormat(ValueError):
    """A checkpoint that is whole, but not of a format known here."""


class NoAverages(ValueError):
    """Averages were asked for, and the run kept none."""


def _orbax() -> Any:
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise ImportError(
            "Reading a working directory needs Orbax: pip install 'senet_jax[train]'."
        ) from error
    return orbax.checkpoint
