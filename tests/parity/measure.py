"""How far we are from the originals, in units of each tensor's greatest value."""

import json
from typing import Any

import jax
import numpy as np

from senet_jax import create_model
from senet_jax.convert import from_timm, to_timm
from senet_jax.models.inception import Inception
from tests.convert import ours, seeded
from tests.convert.twins import (
    CLASSES,
    GOLDEN,
    TRAINING_BATCH,
    Twin,
    with_dtype,
)
from tests.parity import reference

SIZES = (64, 65, 97)
INCEPTION_SIZES = (96, 97, 139)  # windows without padding use up smaller images
NAMES = tuple(sorted(set(json.loads((GOLDEN / "timm_names.json").read_text())) - {"made by"}))
MOST_BLOCKS = 50


def shortened(model: Any) -> tuple[int, ...] | None:
    """Stage sizes for residual networks with more than 50 blocks: 8 at most; None: as it is."""
    sizes = getattr(model, "stage_sizes", ())
    return None if sum(sizes) <= MOST_BLOCKS else tuple(min(size, 8) for size in sizes)


def sizes_of(name: str) -> tuple[int, ...]:
    return INCEPTION_SIZES if isinstance(create_model(name), Inception) else SIZES


def outputs(name: str) -> dict[int, dict[str, float]]:
    """By size: the error of the logits and of every level, at seeded weights and statistics.

    Refuses if the weights are not the same to the bit after the way here and back.
    """
    model, theirs = create_model(name), {}
    if sizes := shortened(model):
        model, theirs = model.clone(stage_sizes=sizes), dict(layers=sizes)
    theirs = reference.make(name, **theirs)
    state = reference.state_dict(theirs)
    variables = from_timm(state, model)
    check_round_trip(state, to_timm(variables, model))
    errors = {}
    for size in sizes_of(name):
        images = seeded.images(2, size)
        expected, expected_levels = reference.evaluate(theirs, images)
        logits, levels = ours.evaluate(model, variables, images)
        errors[size] = {"logits": ours.relative_error(logits, expected)} | {
            info.name: ours.relative_error(level, wanted)
            for info, level, wanted in zip(model.feature_info, levels, expected_levels, strict=True)
        }
        jax.clear_caches()  # the compiled programs of the deepest take a gigabyte
    return errors


def check_round_trip(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = after[name].dtype == value.dtype and after[name].tobytes() == value.tobytes()
        assert same and after[name].shape == value.shape, name


def step(twin: Twin, dtype: str) -> dict[str, float]:
    """Errors of a training step's loss, gradients and running statistics (see `Twin`)."""
    theirs = reference.make(twin.name, **twin.theirs)
    state = {name: value.copy() for name, value in reference.state_dict(theirs).items()}
    model = with_dtype(twin.model(), dtype)
    images = seeded.images(TRAINING_BATCH, twin.training_size).astype(dtype)
    labels = seeded.labels(TRAINING_BATCH, CLASSES)
    wanted = reference.train_step(theirs.to(reference.torch_dtype(dtype)), images, labels)
    jax.config.update("jax_enable_x64", dtype == "float64")
    found = jax.device_get(ours.train_step(model, from_timm(state, model), images, labels))
    tensors = to_timm({"params": found["params"], "batch_stats": found["batch_stats"]}, model)
    jax.config.update("jax_enable_x64", False)
    for name, n in wanted["counts"].items():
        key = f"{name}.running_var"
        tensors[key] = ours.unbiased(state[key].astype(dtype), tensors[key], n)

    def error(group: str, share: float = 0.0) -> float:
        """The worst, in units of each tensor's greatest value or of a share of the group's."""
        least = share * max(np.abs(value).max() for value in wanted[group].values())
        return max(
            ours.relative_error(tensors[name], value, least)
            for name, value in wanted[group].items()
        )

    return dict(
        loss=ours.relative_error(found["loss"], wanted["loss"]),
        images=ours.relative_error(found["images"], wanted["images"]),
        gradients=error("gradients", 1e-3),
        statistics=error("statistics"),
    )


def worst(errors: dict[Any, float]) -> float:
    return max(errors.values())
