"""What the gates and the channels of a network do over a data set."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from senet_jax import fused
from senet_jax.pruning.layers import channels_of, layers_of

Change = Callable[[str, jax.Array], jax.Array]


class BlockStatistics(NamedTuple):
    """Statistics of a block's channels over all images, each `[C]`, float64; None where the block
    has nothing of the kind.

    Attributes:
      gate: the mean gate.
      spread: its standard deviation.
      taylor: the mean of |g dL/dg|, where labels were given.
      squeeze: the mean of what the attention is told of the channel.
      size: root of the mean square of what is gated.
      output: the mean of what the next convolution reads.
      map_size: height and width of that.
    """

    gate: np.ndarray | None = None
    spread: np.ndarray | None = None
    taylor: np.ndarray | None = None
    squeeze: np.ndarray | None = None
    size: np.ndarray | None = None
    output: np.ndarray | None = None
    map_size: tuple[int, int] | None = None


Statistics = Mapping[str, BlockStatistics]


def measure(
    model: nn.Module, variables: Mapping[str, Any], batches: Iterable[Any]
) -> dict[str, BlockStatistics]:
    """Statistics by block, at inference.

    Args:
      model: a `ResNet` or `MobileNet`.
      variables: its variables.
      batches: float images `[N, H, W, C]`, prepared as for `model.apply`; or pairs of these and
        labels `[N]`, for which the gates' effect on the cross entropy is measured, too. Batches of
        one shape are compiled once.

    Raises:
      ValueError: there are no images, labels are none of the network's classes, or something of
        what is measured is not finite.
    """
    layers = layers_of(model)
    shown = {k: variables[k] for k in ("params", "batch_stats")}
    totals: dict[str, dict[str, np.ndarray]] = {block: {} for block in layers}
    map_sizes: dict[str, tuple[int, int]] = {}
    count = 0
    for batch in batches:
        images, labels = images_and_labels(batch, model)
        count += len(images)
        for block, of_images in jax.device_get(_observe(model, shown, images, labels)).items():
            if "map_size" in of_images:
                height, width = of_images.pop("map_size")
                map_sizes[block] = (int(height), int(width))
            for name, values in _sums(of_images).items():
                totals[block][name] = totals[block].get(name, 0) + values
    if not count:
        raise ValueError("There are no images to measure: batches was empty.")
    means = {block: _means(sums, count) for block, sums in totals.items()}
    _check_finite(means)
    return {
        block: BlockStatistics(**of_channels, map_size=map_sizes.get(block))
        for block, of_channels in means.items()
    }


def images_and_labels(batch: Any, model: Any) -> tuple[Any, Any]:
    """A batch of `measure`, labels None where it has none.

    Raises:
      ValueError: the labels are not one of the network's classes for each image.
    """
    if not isinstance(batch, tuple | list):
        return batch, None
    images, labels = batch
    given = np.asarray(labels)
    if given.shape != (len(images),) or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(
            f"Labels are {given.dtype}{list(given.shape)}, expected a whole number for each of the"
            f" {len(images)} images."
        )
    if given.size and not 0 <= given.min() <= given.max() < model.num_classes:
        raise ValueError(
            f"Labels are {given.min()} to {given.max()}, and the network has the classes 0 to"
            f" {model.num_classes - 1}."
        )
    return images, labels


def of_block(statistics: Statistics, block: str, channels: int) -> BlockStatistics:
    """A block's statistics, empty if it was not measured.

    Raises:
      ValueError: they are of a network with another number of channels there.
    """
    found = statistics.get(block, BlockStatistics())
    for values in (found.gate, found.output):
        if values is not None and len(values) != channels:
            raise ValueError(
                f"The statistics of {block} are of {len(values)} channels, and the network has"
                f" {channels} there: measure(model, variables, batches) again, of this network."
            )
    return found


def watch(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    change: Change = lambda block, gates: gates,
) -> tuple[jax.Array, dict[str, dict[str, jax.Array]]]:
    """A network's logits, and what it has in each block (`[N, C]`: "gate", "squeeze", "square",
    "output", and "map_size").

    Args:
      change: what the network is to take for its gates `[N, C]` of a block.
    """
    layers = layers_of(model)
    seen: dict[str, dict[str, Any]] = {block: {} for block in layers}
    attentions = {f"{block}/{layer.attention}": block for block, layer in layers.items()}
    consumers = {f"{block}/{layer.consumer}": block for block, layer in layers.items()}

    def look(call, args, kwargs, context):
        path, method = "/".join(context.module.path), context.method_name
        if path in consumers and method == "__call__":
            x = args[0]
            seen[consumers[path]]["output"] = fused.squeeze(x)
            seen[consumers[path]]["map_size"] = jnp.asarray(x.shape[1:3])
        if path not in attentions:
            return call(*args, **kwargs)
        block = attentions[path]
        if method == "__call__":
            u = fused.finish(args[0], act=None).astype(jnp.float32)
            seen[block]["squeeze"] = fused.squeeze(args[0])
            seen[block]["square"] = fused.squeeze(jnp.square(u))
        answer = call(*args, **kwargs)
        if method in GATES and layers[block].gates:
            gates, *shift = answer if isinstance(answer, tuple) else (answer,)
            seen[block]["gate"] = gates
            gates = change(block, gates)
            return (gates, *shift) if isinstance(answer, tuple) else gates
        return answer

    with nn.intercept_methods(look):
        logits: Any = model.apply(variables, images, train=False)
    return logits, seen


GATES = ("gates", "gates_and_shift")  # the methods of SEBlock and of ChannelAttention


@partial(jax.jit, static_argnums=0)
def _observe(model, variables, images, labels):
    if labels is None:
        return watch(model, variables, images)[1]
    layers = {block: layer for block, layer in layers_of(model).items() if layer.gates}
    factors = {
        block: jnp.ones((len(images), channels_of(variables, block, layer)))
        for block, layer in layers.items()
    }

    def loss(factors):
        logits, seen = watch(model, variables, images, lambda block, gates: gates * factors[block])
        return -jnp.sum(jax.nn.log_softmax(logits)[jnp.arange(len(images)), labels]), seen

    # the derivative by a factor of g at 1 is g dL/dg, for every image its own
    slopes, seen = jax.grad(loss, has_aux=True)(factors)
    for block, slope in slopes.items():
        seen[block]["taylor"] = jnp.abs(slope)
    return seen


def _sums(of_images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sums over the images, of the gates' squares as well."""
    values = {name: np.asarray(v, np.float64) for name, v in of_images.items()}
    if "gate" in values:
        values["gate_square"] = np.square(values["gate"])
    return {name: v.sum(axis=0) for name, v in values.items()}


def _check_finite(means: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    for block, of_channels in means.items():
        if wrong := [name for name, v in of_channels.items() if not np.isfinite(v).all()]:
            raise ValueError(
                f"What was measured of {block} is not finite ({', '.join(wrong)}): look for NaN in"
                " the images and the variables."
            )


def _means(sums: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    means = {name: v / count for name, v in sums.items()}
    if "gate" in means:
        variance = means.pop("gate_square") - np.square(means["gate"])
        means["spread"] = np.sqrt(np.maximum(variance, 0))
    if "square" in means:
        means["size"] = np.sqrt(means.pop("square"))
    return means
