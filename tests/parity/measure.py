"""How far we are from the originals, in units of each tensor's greatest value."""

import json
from typing import Any

import jax
import numpy as np

from senet_jax import create_model
from senet_jax.convert import from_timm, to_timm
from tests.convert import ours, seeded
from tests.convert.twins import CLASSES, GOLDEN, TRAINING_BATCH, TRAINING_SIZE, Twin
from tests.parity import reference

SIZES = (64, 65, 97)
NAMES = tuple(sorted(set(json.loads((GOLDEN / "timm_names.json").read_text())) - {"made by"}))
MOST_BLOCKS = 50


def stage_sizes(name: str) -> tuple[int, ...]:
    """The network's own, but at most 8 blocks a stage where there are more than 50 in all."""
    sizes = create_model(name).stage_sizes
    return sizes if sum(sizes) <= MOST_BLOCKS else tuple(min(size, 8) for size in sizes)


def outputs(name: str) -> dict[int, dict[str, float]]:
    """By size: the error of the logits and of every level, at seeded weights and statistics.

    Refuses if the weights are not the same to the bit after the way here and back.
    """
    sizes = stage_sizes(name)
    theirs = reference.make(name, layers=sizes)
    model = create_model(name, stage_sizes=sizes)
    state = reference.state_dict(theirs)
    variables = from_timm(state, model)
    check_round_trip(state, to_timm(variables, model))
    errors = {}
    for size in SIZES:
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
    attention = twin.model().attention.clone(param_dtype=dtype)
    model = twin.model(attention=attention, dtype=dtype, param_dtype=dtype)
    images = seeded.images(TRAINING_BATCH, TRAINING_SIZE).astype(dtype)
    labels = seeded.labels(TRAINING_BATCH, CLASSES)
    wanted = reference.train_step(theirs.to(reference.torch_dtype(dtype)), images, labels)
    jax.config.update("jax_enable_x64", dtype == "float64")
    found = jax.device_get(ours.train_step(model, from_timm(state, model), images, labels))
    tensors = to_timm({"params": found["params"], "batch_stats": found["batch_stats"]}, model)
    jax.config.update("jax_enable_x64", False)
    for name, n in wanted["counts"].items():
        key = f"{name}.running_var"
        tensors[key] = ours.unbiased(state[key].astype(dtype), tensors[key], n)
    error = lambda group: max(
        ours.relative_error(tensors[name], value) for name, value in wanted[group].items()
    )
    return dict(
        loss=ours.relative_error(found["loss"], wanted["loss"]),
        images=ours.relative_error(found["images"], wanted["images"]),
        gradients=error("gradients"),
        statistics=error("statistics"),
    )


def worst(errors: dict[Any, float]) -> float:
    return max(errors.values())
