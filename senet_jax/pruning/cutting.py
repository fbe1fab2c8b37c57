"""A smaller network that computes what the network computed without some of its channels.

What a channel leaves behind when it goes:

- Its output is replaced by the data set's mean of it, after gate and activation; the next batch
  norm's running mean takes that in. For a 1x1 convolution that is exact, and of a channel whose
  output is a constant nothing is lost. A 3x3 convolution reads less of the constant at the
  zero-padded borders: the mean over all positions is taken, so single positions differ. The
  shortcut's sum has no place for a constant: there the output is 0.
- Its squeeze is replaced by the data set's mean, which the bias of SE's first layer takes in.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from senet_jax.layers import SEBlock
from senet_jax.pruning.description import narrowed
from senet_jax.pruning.layers import Layer, channels_of, cuttable_layers, layers_of
from senet_jax.pruning.statistics import BlockStatistics, Statistics, of_block

Variables = dict[str, Any]
Flat = dict[tuple[str, ...], Any]  # of one block: ("params", "conv2", "kernel")


def cut(
    model: nn.Module,
    variables: Mapping[str, Any],
    plan: Mapping[str, Sequence[int]],
    statistics: Statistics,
    *,
    fold_constants: bool = True,
) -> tuple[nn.Module, Variables]:
    """The network with just the channels of a plan.

    Args:
      model: a `ResNet` or `MobileNet`, plain or with `SEBlock`s; it may have been cut before.
      variables: `{"params", "batch_stats"}` of it.
      plan: kept channels by block, ascending.
      statistics: of this network, from `measure`.
      fold_constants: False leaves nothing of the channels' outputs, as gates of 0 would.

    Returns:
      The model, of the same class and with the same names, and its variables. SE blocks without
      biases get some.

    Raises:
      ValueError: the plan names blocks or channels that are not there, or statistics are missing.
    """
    layers = _check(model, variables, plan)
    channels = {b: channels_of(variables, b, layers[b]) for b in plan}
    model, variables = _with_biases(model, variables)
    flat = traverse_util.flatten_dict(variables)
    for block, kept in plan.items():
        removed = np.setdiff1d(np.arange(channels[block]), kept)
        if not len(removed):
            continue
        measured = of_block(statistics, block, channels[block])
        inside = _of_block(flat, block)
        if fold_constants and layers[block].consumer:
            inside |= _folded(inside, layers[block], measured, removed)
        if layers[block].attention:
            inside |= _squeezed(inside, layers[block], measured, removed)
        inside |= _sliced(inside, layers[block], np.asarray(kept))
        stage, name = block.split("/")
        flat |= {(path[0], stage, name, *path[1:]): value for path, value in inside.items()}
    return narrowed(model, plan, channels), traverse_util.unflatten_dict(flat)


def _check(
    model: nn.Module, variables: Mapping[str, Any], plan: Mapping[str, Sequence[int]]
) -> dict[str, Layer]:
    layers = cuttable_layers(model)
    every = layers_of(model)
    if unknown := [block for block in plan if block not in layers]:
        reasons = [f"{b} ({every[b].refusal})" if b in every else b for b in unknown]
        raise ValueError(
            f"The plan names {', '.join(reasons)}, where no channel can be cut: expected some of"
            f" {', '.join(layers)}."
        )
    for block, kept in plan.items():
        channels = channels_of(variables, block, layers[block])
        if not len(kept) or list(kept) != sorted(set(kept) & set(range(channels))):
            raise ValueError(
                f"The plan keeps {list(kept)} of {block}, expected one or more of its channels 0 to"
                f" {channels - 1}, ascending."
            )
    return layers


def _folded(inside: Flat, layer: Layer, measured: BlockStatistics, removed: np.ndarray) -> Flat:
    """The next norm's mean without what the removed channels gave to it on average."""
    if measured.output is None or measured.map_size is None:
        raise ValueError(_missing("fold_constants=False leaves the removed channels' means out"))
    kernel = np.asarray(inside["params", layer.consumer, "kernel"], np.float64)[:, :, removed]
    rows, columns = (
        _coverage(size, taps) for size, taps in zip(measured.map_size, kernel.shape, strict=False)
    )
    lost = np.einsum("y,x,c,yxcf->f", rows, columns, measured.output[removed], kernel)
    path = ("batch_stats", layer.consumer_norm, "mean")
    return {path: _like(inside[path], np.asarray(inside[path], np.float64) - lost)}


def _coverage(size: int, taps: int) -> np.ndarray:
    """For each tap of a kernel, the share of positions at which it reads no padding."""
    return np.maximum(size - np.abs(np.arange(taps) - taps // 2), 0) / size


def _squeezed(inside: Flat, layer: Layer, measured: BlockStatistics, removed: np.ndarray) -> Flat:
    """The bias of SE's first layer with the removed squeezes' means."""
    if measured.squeeze is None:
        raise ValueError(_missing("their means stand for the removed channels' squeezes"))
    kernel = np.asarray(inside["params", layer.attention, "fc1", "kernel"], np.float64)
    path = ("params", layer.attention, "fc1", "bias")
    lost = measured.squeeze[removed] @ kernel[removed]
    return {path: _like(inside[path], np.asarray(inside[path], np.float64) + lost)}


def _sliced(inside: Flat, layer: Layer, kept: np.ndarray) -> Flat:
    """The block's arrays with the kept channels alone."""
    # a depthwise kernel is [h, w, 1, C]: cut at its outputs as any other
    axes: dict[tuple[str, ...], int] = {(conv, "kernel"): 3 for conv in layer.convs}
    for norm in layer.norms:
        axes |= {(norm, leaf): 0 for leaf in ("scale", "bias", "mean", "var")}
    if layer.consumer:
        axes[layer.consumer, "kernel"] = 2
    if layer.attention:
        fc1, fc2 = (layer.attention, "fc1"), (layer.attention, "fc2")
        axes |= {(*fc1, "kernel"): 0, (*fc2, "kernel"): 1, (*fc2, "bias"): 0}
    return {
        path: jnp.take(jnp.asarray(value), kept, axis=axes[path[1:]])
        for path, value in inside.items()
        if path[1:] in axes
    }


def _of_block(flat: Flat, block: str) -> Flat:
    stage, name = block.split("/")
    return {
        (path[0], *path[3:]): value for path, value in flat.items() if path[1:3] == (stage, name)
    }


def _with_biases(model: Any, variables: Mapping[str, Any]) -> tuple[nn.Module, Variables]:
    """Zeros as biases of SE blocks that have none: the means of lost squeezes need a place."""
    attentions = model.attention if isinstance(model.attention, tuple) else (model.attention,)
    bare = [a for a in attentions if isinstance(a, SEBlock) and not a.use_bias]
    if not bare:
        return model, dict(variables)
    biased = tuple(a.clone(use_bias=True) if a in bare else a for a in attentions)
    flat = traverse_util.flatten_dict(dict(variables))
    for path in [path for path in flat if path[-2:] in (("fc1", "kernel"), ("fc2", "kernel"))]:
        kernel = flat[path]
        flat.setdefault((*path[:-1], "bias"), jnp.zeros(kernel.shape[-1:], kernel.dtype))
    attention = biased if isinstance(model.attention, tuple) else biased[0]
    return model.clone(attention=attention), traverse_util.unflatten_dict(flat)


def _like(value: Any, new: np.ndarray) -> Any:
    return jnp.asarray(new, value.dtype)


def _missing(why: str) -> str:
    return f"A block of the plan was not measured, and {why}: give statistics=measure(...)."
