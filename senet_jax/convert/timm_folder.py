"""A folder that timm opens by itself: `timm.create_model("local-dir:FOLDER", pretrained=True)`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from senet_jax.convert.tables import ConversionError, module_there, tensors_of
from senet_jax.convert.timm import family_of, table_of, to_timm
from senet_jax.layers import SEBlock
from senet_jax.models.registry import VARIANTS, create_model
from senet_jax.models.single_blocks import USUAL
from senet_jax.models.spec import options_of

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# options that leave the network's function at inference as it is (of the norm all but epsilon)
FREE = {"num_classes", "zero_init_last", "dropout", "norm", "dtype", "param_dtype"}


def export_timm(
    model: Any,
    name: str,
    variables: Mapping[str, Any],
    directory: str | Path,
    *,
    image_size: int | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    crop_pct: float = 0.875,
    crop_mode: str = "center",
    interpolation: str = "bicubic",
    class_names: Sequence[str] | None = None,
) -> Path:
    """Writes `model.safetensors` and `config.json`, with which timm opens the folder.

    Args:
      model: the network, `create_model(name)` or the same with other `num_classes`; another
        `stage_sizes`, and in modern networks another `cardinality`, `base_width` or, with a deep
        stem, `width`, are passed on to timm as its own arguments. What `senet_jax.pruning` has cut
        is noted in the same place: `senet_jax.load` then reads the folder, and timm, which has no
        such networks, refuses it as unexpected arguments.
      name: timm's name of the architecture, for example "seresnet50".
      variables: `{"params": ..., "batch_stats": ...}` of the model.
      directory: made if it isn't there; files of these two names in it are written anew.
      image_size: height and width that the network was trained at, pixels; by default the zoo's.
      mean, std: of every channel, for values in 0..1.
      crop_pct: share of the resized short side that the centre crop keeps.
      crop_mode: "center", or "squash" where both sides are resized, see `Preprocess`.
      interpolation: of the resizing, timm's word: "bilinear" or "bicubic".
      class_names: one for every class.

    Returns:
      The directory.

    Raises:
      ConversionError: timm has no such network, or the variables are not the model's.
      ValueError: no such name; mean, std or class names of another number.
    """
    arguments = _model_arguments(model, name)
    weights = to_timm(variables, model)
    table = table_of(model)
    first, _ = module_there("stem/conv1", table)
    channels, classes = weights[f"{first}.weight"].shape[1], model.num_classes
    _check_lengths(mean, std, channels, class_names, classes)
    size = image_size or VARIANTS[name].image_size
    classifier, _ = module_there("head/fc", table)
    features = weights.get(f"{classifier}.weight")
    config: dict[str, Any] = {
        "architecture": name,
        "num_classes": classes,
        "num_features": (
            model.feature_info[-1].channels if features is None else features.shape[1]
        ),
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [channels, size, size],
            "fixed_input_size": False,
            "interpolation": interpolation,
            "crop_pct": crop_pct,
            "crop_mode": crop_mode,
            "mean": [float(m) for m in mean],
            "std": [float(s) for s in std],
            "num_classes": classes,
            "pool_size": None,
            "first_conv": first,
            "classifier": classifier,
        },
    }
    if arguments:
        config["model_args"] = arguments
    if class_names is not None:
        config["label_names"] = list(class_names)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _write_safetensors(weights, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return directory


def _model_arguments(model: Any, name: str) -> dict[str, Any]:
    """What timm must be told besides the name to build this network.

    Raises:
      ConversionError: timm has no such network, or another one under this name.
    """
    table_of(model)
    options, published = options_of(model), options_of(create_model(name))
    changed = {field for field in published if options.get(field) != published[field]} - FREE
    if options["norm"].epsilon != published["norm"].epsilon:
        changed.add("norm")
    if "attention" in changed and _same_blocks(model, published["attention"]):
        changed.remove("attention")
    can_be_told = family_of(model).arguments(model)
    cut = {field: {field: options[field]} for field in changed & USUAL.keys()}
    if changed - can_be_told.keys() - cut.keys():
        told = f", of which timm can be told {', '.join(can_be_told)}" if can_be_told else ""
        raise ConversionError(
            f"The model is not timm's {name}: it differs in {', '.join(sorted(changed))}{told}."
            f" Expected create_model({name!r})."
        )
    arguments: dict[str, Any] = {}
    for field in sorted(changed):
        arguments |= (can_be_told | cut)[field]
    if options["dropout"] != published["dropout"]:
        arguments["drop_rate"] = options["dropout"]
    return arguments


def _same_blocks(model: Any, attention: Any) -> bool:
    """Whether another SE block as template would make the same network, as C // 16 does mostly."""
    if not isinstance(model.attention, SEBlock) or not isinstance(attention, SEBlock):
        return False
    if any(getattr(model.attention, f) != getattr(attention, f) for f in ("act", "gate")):
        return False  # (timm's table has refused the blocks that start as the identity)
    table, other = table_of(model), model.clone(attention=attention)
    shapes = [
        {name: tensor.shape for name, tensor in tensors_of(m, table, channels=3).items()}
        for m in (model, other)
    ]
    return shapes[0] == shapes[1]


def _check_lengths(
    mean: Sequence[float],
    std: Sequence[float],
    channels: int,
    class_names: Sequence[str] | None,
    classes: int,
) -> None:
    if not len(mean) == len(std) == channels:
        raise ValueError(
            f"mean={tuple(mean)} and std={tuple(std)}, expected {channels} values each: the network"
            f" takes images of {channels} channels."
        )
    if class_names is not None and len(class_names) != classes:
        raise ValueError(f"{len(class_names)} class names, expected {classes}: one for each class.")


def _write_safetensors(weights: Mapping[str, np.ndarray], path: Path) -> None:
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise ImportError(
            "Writing .safetensors needs a package: pip install 'senet_jax[weights]'."
        ) from error
    save_file(dict(weights), path, metadata={"format": "pt"})  # "pt": what reads it expects torch's
