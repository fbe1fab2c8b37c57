"""How much the channels of a block matter, by five scores."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from senet_jax.pruning.layers import Layer, channels_of, cuttable_layers
from senet_jax.pruning.statistics import BlockStatistics, Statistics, of_block

Params = Mapping[str, Any]


def _gate(layer: Layer, params: Params, statistics: BlockStatistics) -> np.ndarray:
    return _measured(statistics.gate, "gate")


def _gate_consumer(layer: Layer, params: Params, statistics: BlockStatistics) -> np.ndarray:
    """g * size * |W|. A factor can go from the gate to the norm before it or to the weights that
    read the channel, without changing the function: of the product alone it can not be said.
    """
    score = _measured(statistics.gate, "gate") * _measured(statistics.size, "size")
    if not layer.consumer:  # the shortcut's sum: a weight of 1
        return score
    kernel = np.asarray(params[layer.consumer]["kernel"], np.float64)
    return score * np.sqrt(np.square(kernel).sum(axis=(0, 1, 3)))


def _taylor(layer: Layer, params: Params, statistics: BlockStatistics) -> np.ndarray:
    return _measured(statistics.taylor, "effect on the loss", "pairs (images, labels)")


def _slimming(layer: Layer, params: Params, statistics: BlockStatistics) -> np.ndarray:
    """Network slimming's (arXiv 1708.06519)."""
    return np.abs(np.asarray(params[layer.norms[-1]]["scale"], np.float64))


OF_GATES: dict[str, Callable[..., np.ndarray]] = {
    "gate": _gate,
    "gate_consumer": _gate_consumer,
    "taylor": _taylor,
}
SCORES = (*OF_GATES, "slimming", "random")


def scores(
    name: str,
    model: nn.Module,
    variables: Mapping[str, Any],
    statistics: Statistics | None = None,
    *,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Scores `[C]` of every block that can be cut, divided by the block's mean: only so do they
    compare between blocks, as a factor common to a block's channels is free where batch norm
    follows.

    Args:
      name: "gate", the mean gate; "gate_consumer", this times the size of what is gated times the
        norm of the weights that read the channel, which no rescaling of these three changes;
        "taylor", the mean of |g dL/dg|; "slimming", the batch norm's |scale|; or "random".
      model: a `ResNet` or `MobileNet`.
      variables: its variables.
      statistics: from `measure`; the last two need none.
      seed: of "random".

    Raises:
      ValueError: no such score; the network has no gates, or they were not measured; no channel of
        it can be cut.
    """
    found = {}
    for block, layer in ranked_layers(name, model).items():
        channels = channels_of(variables, block, layer)
        if name == "random":
            rng = np.random.default_rng([seed, zlib.crc32(block.encode())])
            values = rng.uniform(size=channels)
        else:
            stage, number = block.split("/")
            measured = of_block(statistics or {}, block, channels)
            function = OF_GATES.get(name, _slimming)
            values = function(layer, variables["params"][stage][number], measured)
        found[block] = values / (values.mean() or 1.0)
    return found


def ranked_layers(name: str, model: nn.Module) -> dict[str, Layer]:
    """The layers that a score ranks.

    Raises:
      ValueError: as `scores`, but for what was not measured.
    """
    if name not in SCORES:
        raise ValueError(f"Unknown score {name!r}: expected {', '.join(map(repr, SCORES))}.")
    layers = cuttable_layers(model)
    if name not in OF_GATES:
        return layers
    gated = {block: layer for block, layer in layers.items() if layer.gates}
    if not gated:
        raise ValueError(
            f"The score {name!r} is of gates and no block has any that stand where channels can be"
            " cut ('3x3' or 'standard', in mobile networks 'depthwise'): choose 'slimming' or"
            " 'random'."
        )
    return gated


def _measured(
    values: np.ndarray | None, what: str, batches: str = "images of the training data"
) -> np.ndarray:
    if values is None:
        raise ValueError(
            f"The gates' {what} was not measured: give statistics=measure(model, variables,"
            f" batches), with {batches} as batches."
        )
    return values
