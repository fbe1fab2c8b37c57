"""Names for VGG: timm's (vgg.py) and torchvision's.

Both count convolutions, norms, activations and pools through; torchvision's head has dense layers.
"""

from collections.abc import Iterable
from typing import Any

from senet_jax.convert.tables import (
    BIASED_CONV,
    DENSE,
    NORM,
    OIHW,
    Axes,
    Row,
    Table,
    refuse,
)
from senet_jax.models.vgg import HEAD_SIZE

# a kernel [7, 7, C, O] as a dense layer's, over features that torch has flattened as [C, 7, 7]
FLAT = Axes(
    lambda k: OIHW.there(k).reshape(k.shape[-1], -1),
    lambda w: OIHW.here(w.reshape(len(w), -1, HEAD_SIZE, HEAD_SIZE)),
)
ONE = Axes(lambda k: k[0, 0].T, lambda w: w.T[None, None])  # the same of a 1x1 convolution

TIMM_HEAD: Table = (
    Row("head/hidden1", "pre_logits.fc1", BIASED_CONV),
    Row("head/hidden2", "pre_logits.fc2", BIASED_CONV),
    Row("head/fc", "head.fc", DENSE),
)
TORCHVISION_HEAD: Table = (
    Row("head/hidden1", "classifier.0", {**BIASED_CONV, ("params", "kernel"): ("weight", FLAT)}),
    Row("head/hidden2", "classifier.3", {**BIASED_CONV, ("params", "kernel"): ("weight", ONE)}),
    Row("head/fc", "classifier.6", DENSE),
)


def table(model: Any) -> Table:
    """The names that timm gives to a VGG network's modules; it has none with SE."""
    return (*_convolutions(model, "timm"), *TIMM_HEAD)


def torchvision_table(model: Any) -> Table:
    """The names that torchvision gives to them. Its networks compute the same at images of 224
    pixels; of larger ones they pool the features to 7x7 before the head.
    """
    return (*_convolutions(model, "torchvision"), *TORCHVISION_HEAD)


def is_torchvision(names: Iterable[str]) -> bool:
    """Whether a state dict with these names is torchvision's."""
    return "classifier.6.weight" in names


def _convolutions(model: Any, source: str) -> Table:
    refuse([] if model.attention is None else ["attention"], source)
    rows, there = [], 0
    runs = (info.name for info in model.feature_info[:-1])
    for run, size in zip(runs, model.stage_sizes, strict=True):
        for i in range(1, size + 1):
            rows.append(Row(f"{run}/conv{i}", f"features.{there}", BIASED_CONV))
            if model.batch_norm:
                rows.append(Row(f"{run}/bn{i}", f"features.{there + 1}", NORM))
            there += 3 if model.batch_norm else 2  # and the activation
        there += 1  # the pool
    return tuple(rows)
