"""Attention taken out where it gates all images alike: the gates' means become weights."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from senet_jax.pruning.layers import Layer, layers_of
from senet_jax.pruning.statistics import Statistics, images_and_labels, watch

Variables = dict[str, Any]


class Ungrafting(NamedTuple):
    """What it would cost to take the attention out of one block.

    Attributes:
      block: "stage1/block1".
      spread: of its gates over the images, root mean square over the channels.
      accuracy_lost: by its gates' means in their place; 0.01 is one point, and less than 0 a gain.
    """

    block: str
    spread: float
    accuracy_lost: float


def ungraft(
    model: Any, variables: Mapping[str, Any], statistics: Statistics, blocks: Iterable[str]
) -> tuple[nn.Module, Variables]:
    """The network without the attention of some blocks, whose mean gates go into the norm before
    them (`ResNet`, placement "standard" and "3x3") or the convolution after them (`MobileNet`).

    Exact where the gates are the same for all images.

    Args:
      model: a `ResNet` or `MobileNet`.
      variables: its variables.
      statistics: from `measure`.
      blocks: "stage1/block1", ...

    Returns:
      The model, with these blocks in its field `without_attention`, and its variables.

    Raises:
      ValueError: a block is not there, or has no gates that weights can take over.
    """
    if isinstance(blocks, str):
        raise ValueError(f"blocks={blocks!r} is a string, expected names of blocks: [{blocks!r}].")
    blocks = list(dict.fromkeys(blocks))
    layers = foldable_layers(model)
    if unknown := [block for block in blocks if block not in layers]:
        raise ValueError(
            f"There are no gates to fold in {', '.join(unknown)}: expected some of"
            f" {', '.join(layers)}."
        )
    _check_measured(statistics, blocks)
    params = dict(variables["params"])
    for block in blocks:
        stage, name = block.split("/")
        inside = dict(params[stage][name])
        fold, gate = layers[block].fold, statistics[block].gate
        assert gate is not None
        inside[fold] = {leaf: _times(v, gate) for leaf, v in inside[fold].items()}
        del inside[layers[block].attention]
        params[stage] = {**params[stage], name: inside}
    without = (*model.without_attention, *blocks)
    return model.clone(without_attention=without), {**variables, "params": params}


def ungrafting_losses(
    model: nn.Module,
    variables: Mapping[str, Any],
    statistics: Statistics,
    batches: Iterable[tuple[jax.Array, jax.Array]],
) -> list[Ungrafting]:
    """The accuracy that each block's attention is worth, one block at a time, in the network's
    order.

    Args:
      model, variables, statistics: as of `ungraft`.
      batches: images `[N, H, W, C]` and labels `[N]`, other than those that were measured.

    Raises:
      ValueError: there are no images, labels are missing or none of the network's classes, or
        there are no gates that weights can take over.
    """
    layers = foldable_layers(model)
    _check_measured(statistics, layers)
    means = {block: jnp.asarray(statistics[block].gate, jnp.float32) for block in layers}
    shown = {k: variables[k] for k in ("params", "batch_stats")}
    correct, count = np.zeros(len(layers) + 1), 0
    for batch in batches:
        images, labels = images_and_labels(batch, model)
        if labels is None:
            raise ValueError(
                "A batch is of images alone, expected pairs (images, labels): without labels there"
                " is no accuracy to lose."
            )
        count += len(images)
        for i, block in enumerate([None, *layers]):
            frozen = {b: b == block for b in layers}
            correct[i] += int(_correct(model, shown, images, labels, means, frozen))
    if not count:
        raise ValueError("There are no images to compare on: batches was empty.")
    lost = (correct[0] - correct[1:]) / count
    return [
        Ungrafting(block, _spread(statistics, block), float(each))
        for block, each in zip(layers, lost, strict=True)
    ]


@partial(jax.jit, static_argnums=0)
def _correct(model, variables, images, labels, means, frozen):
    """How many images are classified correctly with the gates' means in the frozen blocks."""

    def change(block, gates):
        if block not in means:
            return gates
        return jnp.where(frozen[block], means[block][None].astype(gates.dtype), gates)

    logits, _ = watch(model, variables, images, change)
    return jnp.sum(jnp.argmax(logits, axis=-1) == labels)


def foldable_layers(model: nn.Module) -> dict[str, Layer]:
    """Those with gates that weights can take over.

    Raises:
      ValueError: there are none.
    """
    layers = {block: layer for block, layer in layers_of(model).items() if layer.fold}
    if not layers:
        raise ValueError(
            "No block of this network has gates that weights can take over: expected one factor for"
            " each channel of an image, at the place 'standard' or '3x3', in mobile networks"
            " 'depthwise'."
        )
    return layers


def _check_measured(statistics: Statistics, blocks: Iterable[str]) -> None:
    if missing := [b for b in blocks if b not in statistics or statistics[b].gate is None]:
        raise ValueError(
            f"The gates of {', '.join(missing)} were not measured: give"
            " statistics=measure(model, variables, batches)."
        )


def _times(value: Any, gate: np.ndarray) -> Any:
    """A norm's scale or bias `[C]`, or a kernel `[h, w, C, features]`, times the gates."""
    factor = gate if value.ndim == 1 else gate[None, None, :, None]
    return jnp.asarray(np.asarray(value, np.float64) * factor, value.dtype)


def _spread(statistics: Statistics, block: str) -> float:
    deviation = statistics[block].spread
    assert deviation is not None
    return float(np.sqrt(np.mean(np.square(deviation))))
