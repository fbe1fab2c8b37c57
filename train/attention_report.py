"""The learnt attention by class: what the blocks of a trained network do for each kind of image."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np

from senet_jax.attention import attention_weights
from senet_jax.plotting import plot_attention_by_class


def attention_by_class(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Iterable[Mapping[str, Any]],
    num_classes: int,
) -> dict[str, np.ndarray] | None:
    """The mean gate of every channel over the images of each class, block by block; of gates that
    differ by position, over these as well.

    Args:
      model, variables: as for `senet_jax.attention_weights`.
      batches: {"image": as the model takes them, "label": int [b], "mask": [b], 0 for padding}.

    Returns:
      float64 [classes, C] by the block's path, in the order of the network; nan for a class without
      images. None if the model has no attention.

    Raises:
      TypeError: images are uint8: the model was trained on normalised ones.
      ValueError: no batches.
    """
    sums: dict[str, np.ndarray] = {}
    counts = np.zeros(num_classes)
    for batch in batches:
        if batch["image"].dtype == np.uint8:
            raise TypeError(
                "images are uint8, expected what the model takes: normalise them first."
            )
        gates = attention_weights(model, variables, batch["image"])
        if not gates:
            return None
        labels, mask = np.asarray(batch["label"]), np.asarray(batch["mask"])
        member = (labels == np.arange(num_classes)[:, None]) * mask[None, :]  # [classes, b]
        counts += member.sum(axis=1)
        for path, values in gates.items():
            by_channel = np.asarray(values, np.float64).reshape(len(labels), -1, values.shape[-1])
            sums[path] = sums.get(path, 0) + member @ by_channel.mean(axis=1)
    if not sums:
        raise ValueError("There are no batches, so no attention to look at: is the split empty?")
    with np.errstate(invalid="ignore"):  # 0 / 0 is the nan that is promised
        return {path: total / counts[:, None] for path, total in sums.items()}


def write_attention_png(
    path: str | os.PathLike[str], gates: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> None:
    """Writes `plot_attention_by_class` of what `attention_by_class` returned."""
    plot_attention_by_class(gates, class_names).savefig(path, dpi=150)
