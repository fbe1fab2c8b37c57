"""Trained networks from where they are kept.

    model, variables = load("runs/digits")                  # a training run's directory
    model, variables = load("x.safetensors", "seresnet50")  # a file in timm's layout, or .pth
    model, variables = load("exported/")                    # a folder by export_timm, or by timm
    model, variables = load("x.caffemodel", "sebn_inception")  # the paper's own release, for Caffe
    model, variables = load("seresnet50.ra2_in1k")          # published weights, by timm's tag

What a training run leaves (`python -m train --workdir=...`), under <workdir>/checkpoints/<step>/:

    state/     arrays, by Orbax: params, batch_stats, ema (empty, or both of these averaged), ...
    config/    JSON: format, checksums (of each array, see `senet_jax.checksums`; checkpoints before
               they were introduced have none), model (name, options), class_names, mean, std,
               image_shape, config
    metrics/   JSON: scores on the validation split; missing where the step was not evaluated

`load` needs nothing of the trainer, of its config pages, or of the devices it ran on.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import flax.linen as nn
import jax
import numpy as np

from senet_jax.adapting import adapt, image_channels
from senet_jax.checksums import verify
from senet_jax.convert import from_moskomule, from_timm, read_weights
from senet_jax.convert.caffe import classes_of, from_caffe
from senet_jax.convert.caffe_file import SUFFIX as CAFFE_SUFFIX
from senet_jax.convert.caffe_file import read_caffemodel
from senet_jax.models import create_model
from senet_jax.sources import Source, fetch_source, find_source, model_options

CHECKPOINT_FORMAT = 1  # all up to this one are read; tests/golden has a checkpoint of each
# what timm, torchvision and moskomule call it, in one family or another
CLASSIFIERS = ("fc", "last_linear", "classifier", "classifier.6", "classif", "head.fc")

Variables = dict[str, Any]
Scores = dict[str, float]
T = TypeVar("T")


def load(
    source: str | os.PathLike,
    name: str | None = None,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    weights: Literal["ema", "raw"] | None = None,
    key: jax.Array | None = None,
    **options: Any,
) -> tuple[nn.Module, Variables]:
    """A trained network, from wherever its weights are.

    Args:
      source: one of
        - the directory of a training run (what it was given as --workdir): the checkpoint that the
          validation split chose, or else the last one; where that one is damaged, the next in
          line, with a warning;
        - a file of weights with timm's names, torchvision's of ResNets, RegNets and VGGs, or
          moskomule/senet.pytorch's:
          `.safetensors`, or what torch.save wrote (`.pth`, ...; torch is not needed and no code in
          the file is run);
        - the `.caffemodel` of SE-BN-Inception, from the paper's own release (neither Caffe nor
          protobuf is needed);
        - a folder with `model.safetensors` and `config.json`, as `export_timm` and timm write it
          (timm's prefix "local-dir:" may stand before it);
        - timm's tag of published weights, "seresnet50.ra2_in1k" ("seresnet50" means its default
          tag), or "hf-hub:owner/repository": fetched once from the Hugging Face hub.
      name: of the model, for a file without a `config.json` beside it; with the tag, if it has one.
      num_classes: by default those of the weights. Another number gets a new classifier, 0 none.
      in_chans: channels of the images, by default those of the weights. For others, the first
        convolution is adapted by timm's rule, see `senet_jax.adapting`.
      weights: of a training run, "ema", the moving averages, or "raw"; by default "ema" if the run
        kept averages.
      key: for a new classifier; by default `jax.random.key(0)`.
      **options: of `create_model`: `dtype="bfloat16"`, `fused=False`, ...

    Returns:
      The model and its variables, `{"params", "batch_stats"}`, on one device, for
      `model.apply(variables, images, train=False)` with images from `preprocess_for(source, name)`.
      What was newly initialised is told by the logger "senet_jax".

    Raises:
      FileNotFoundError: there is nothing there, no checkpoints in it, or the hub is out of reach.
      ValueError: the weights do not fit the network (a `ConversionError` names every tensor),
        cannot be read or are not published, or the run kept no averages.
    """
    if in_chans is not None and in_chans < 1:
        raise ValueError(f"in_chans={in_chans}, expected 1 channel or more.")
    found = find_source(source, name)
    if found.kind == "workdir":
        built, variables = _from_workdir(found, weights, options)
    else:
        if weights is not None:
            raise ValueError(
                f"weights={weights!r} chooses between what a training run kept, but {source} is"
                " none: leave it out."
            )
        built, variables = _from_file(found, options)
    model = built if num_classes is None else built.clone(num_classes=num_classes)
    channels = image_channels(variables) if in_chans is None else in_chans
    if model == built and channels == image_channels(variables) and not options:
        return model, variables
    return model, adapt(variables, model, channels, jax.random.key(0) if key is None else key)


def class_names_for(source: str | os.PathLike, name: str | None = None) -> tuple[str, ...] | None:
    """What the classes are called, in the order of the logits; None if the source doesn't say.

    A training run knows its classes, and so does a folder that was exported from one; ImageNet's
    weights come without names. Arguments and errors are those of `load`.
    """
    found = find_source(source, name)
    if found.kind == "workdir":
        names = describe(found.directory)["class_names"]
    else:
        names = found.config.get("label_names")
    return tuple(map(str, names)) if isinstance(names, list | tuple) and names else None


def model_name_for(source: str | os.PathLike, name: str | None = None) -> str:
    """What `create_model` calls the network of a source. Arguments and errors are `load`'s."""
    found = find_source(source, name)
    if found.kind == "workdir":
        return describe(found.directory)["model"]["name"]
    assert found.name is not None  # find_source raises
    return found.name


def describe(workdir: str | os.PathLike) -> dict[str, Any]:
    """What the checkpoint that `load` takes says of itself (see the top of this file)."""
    directory, steps = _checkpoints(workdir)
    return first_readable(directory, steps, lambda step: read_description(directory, step))[1]


def _from_file(found: Source, options: dict[str, Any]) -> tuple[nn.Module, Variables]:
    path = fetch_source(found)
    if path.suffix == CAFFE_SUFFIX:
        return _from_caffe(path, found, options)
    tensors = read_weights(path)
    assert found.name is not None  # find_source raises
    told = model_options(found) | dict(num_classes=_classes(tensors))
    model = create_model(found.name, **(told | options))
    if any(".se.fc.0." in tensor for tensor in tensors):
        return model, from_moskomule(tensors, model)
    return model, from_timm(tensors, model)


def _from_caffe(path: Path, found: Source, options: dict[str, Any]) -> tuple[nn.Module, Variables]:
    blobs = read_caffemodel(path)
    assert found.name is not None  # find_source raises
    model = create_model(found.name, **(dict(num_classes=classes_of(blobs)) | options))
    return model, from_caffe(blobs, model)


def _classes(tensors: Mapping[str, np.ndarray]) -> int:
    """The classes of a state dict; 0 if its classifier was left out."""
    for classifier in CLASSIFIERS:
        for tensor in (f"{classifier}.bias", f"{classifier}.weight"):
            if tensor in tensors:
                return len(tensors[tensor])
    return 0


def _from_workdir(
    found: Source, weights: str | None, options: dict[str, Any]
) -> tuple[nn.Module, Variables]:
    if weights not in (None, "ema", "raw"):
        raise ValueError(f"weights is {weights!r}, expected 'ema', 'raw' or None.")
    directory, steps = _checkpoints(found.directory)

    def read(step: int) -> tuple[dict[str, Any], Variables]:
        return read_description(directory, step), read_variables(directory, step, weights)

    step, (description, variables), damaged = first_readable(directory, steps, read)
    if damaged:
        warnings.warn(f"{damaged} Loaded step {step} instead.", stacklevel=3)
    saved = description["model"]
    if found.name not in (None, saved["name"]):
        raise ValueError(
            f"{found.path} holds {saved['name']}, not {found.name}: leave the name out."
        )
    return create_model(saved["name"], **(saved["options"] | options)), variables


def _checkpoints(workdir: str | os.PathLike) -> tuple[Path, list[int]]:
    """Where a run's checkpoints are, and the steps, best first."""
    directory = checkpoint_directory(workdir)
    steps = steps_by_preference(directory)
    if not steps:
        raise FileNotFoundError(
            f"There are no checkpoints in {workdir}: expected {directory}/<step>, as"
            f" `python -m train --workdir={workdir}` writes them."
        )
    return directory, steps


def checkpoint_directory(workdir: str | os.PathLike) -> Path:
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
    file = scores_file(directory, step)
    return json.loads(file.read_text()) if file.exists() else None


def scores_file(directory: Path, step: int) -> Path:
    """JSON of the validation scores of a step."""
    return directory / str(step) / "metrics" / "metrics"


def read_description(directory: Path, step: int) -> dict[str, Any]:
    """What a step says of itself (see the top of this file)."""
    description = json.loads((directory / str(step) / "config" / "metadata").read_text())
    if description["format"] > CHECKPOINT_FORMAT:
        raise NewerFormat(
            f"{directory / str(step)} has format {description['format']}, and this senet_jax reads"
            f" formats up to {CHECKPOINT_FORMAT}: use the version that wrote it, or a newer one."
        )
    return description


def read_variables(directory: Path, step: int, weights: str | None = None) -> Variables:
    """`{"params", "batch_stats"}` of a step, on one device; `weights` as in `load`.

    Raises:
      ValueError: they are not what was saved; and whatever Orbax raises for damage.
    """
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
    verify_arrays(directory, step, restored)
    return restored["ema"] if averaged else restored


def verify_arrays(directory: Path, step: int, arrays: Any) -> None:
    """Raises `ValueError` if arrays read from a step's state, or a part of it, are not what was
    saved there; where the step has checksums."""
    description = read_description(directory, step)
    if "checksums" in description:
        verify(arrays, description["checksums"])


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
