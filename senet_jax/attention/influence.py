"""Whether the gates mean anything: what becomes of the output when they are others."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from senet_jax.attention.batches import arrays_of, check_any, check_labels
from senet_jax.attention.changed import changeable_blocks, changed_gates, count_classes
from senet_jax.attention.gates import network_order
from senet_jax.attention.statistics import Statistics, check_measured

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Curves(NamedTuple):
    """Accuracies with some of the channels alone, for each of the shares.

    Attributes:
      shares: of the channels of each image, 0 to 1.
      deletion: the widest open ones are shut; falls early if the gates find what matters.
      insertion: all but the widest open ones are shut; rises early.
      random_deletion, random_insertion: as many, in an order drawn anew for each image.
    """

    shares: tuple[float, ...]
    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray


def logit_sensitivity(
    model: nn.Module, variables: Mapping[str, Any], images: jax.Array, classes: jax.Array
) -> dict[str, jax.Array]:
    """The gradient of a class's logit by the gates, for each image its own.

    Args:
      model, variables, images: as for `attention_weights`.
      classes: whole numbers `[N]`, whose logits are looked at.

    Returns:
      `[N, C]` by path, in the order of the network, of the blocks that `changed_gates` knows.
      Positive: the logit grows where the gate opens further.

    Raises:
      TypeError, ValueError: there are no gates that can be changed, or classes are none of the
        model's.
    """
    blocks = changeable_blocks(model, variables, images)
    check_labels("Classes", classes, len(images), count_classes(model, variables, images))
    zeros = {path: jnp.zeros(gates.shape, gates.dtype) for path, gates in blocks.items()}
    found = _slopes(model, variables, images, jnp.asarray(classes), zeros)
    return {path: found[path] for path in sorted(found, key=network_order)}


@partial(jax.jit, static_argnums=0)
def _slopes(model, variables, images, classes, zeros):
    def chosen(added):
        logits, _ = changed_gates(model, variables, images, lambda path, gates: gates + added[path])
        return jnp.sum(logits[jnp.arange(len(classes)), classes])

    return jax.grad(chosen)(zeros)


def ablation_curves(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Iterable[tuple[Any, ...]],
    blocks: Sequence[str] | None = None,
    *,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
) -> Curves:
    """Accuracy with a growing share of the channels shut, by their gates and at random.

    Args:
      model, variables, batches: as for `class_statistics`; the classes are the model's.
      blocks: where channels are shut, all at once; paths. None: in every block.
      shares: of the channels, ascending.
      seed: of the random orders.

    Raises:
      ValueError: a block is not there, a share is none, or there are no images.
    """
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares={tuple(shares)}, expected some from 0 to 1.")
    key = jax.random.key(seed)
    correct, count = np.zeros((4, len(shares))), 0
    for number, batch in enumerate(batches):
        images, labels, mask = _checked(model, variables, batch)
        known = changeable_blocks(model, variables, images)
        if unknown := [block for block in blocks or () if block not in known]:
            raise ValueError(
                f"There are no gates to change in {', '.join(unknown)}: expected some of"
                f" {', '.join(known)}."
            )
        chosen = {path: blocks is None or path in blocks for path in known}
        count += int(np.sum(np.asarray(mask) > 0))
        drawn = jax.random.fold_in(key, number)
        for i, share in enumerate(shares):
            for j, (by_gate, keep) in enumerate(WAYS):
                ablated = chosen, drawn, share, by_gate, keep
                correct[j, i] += int(
                    _correct_without(model, variables, images, labels, mask, ablated)
                )
    check_any(count)
    return Curves(tuple(shares), *(correct / count))


WAYS = ((True, False), (True, True), (False, False), (False, True))  # (by gate, keep the first)


@partial(jax.jit, static_argnums=0)
def _correct_without(model, variables, images, labels, mask, ablated):
    chosen, key, share, by_gate, keep = ablated

    def change(path, gates):
        # a key for each block, the same in every call: its place among the sorted paths
        own = jax.random.fold_in(key, sorted(chosen).index(path))
        order = jnp.where(by_gate, -gates, jax.random.uniform(own, gates.shape))
        rank = jnp.argsort(jnp.argsort(order, axis=-1), axis=-1)
        first = rank < jnp.round(share * gates.shape[-1])
        stays = jnp.where(keep, first, ~first)
        return jnp.where(chosen[path] & ~stays, 0, gates)

    return _correct(model, variables, images, labels, mask, change)


def accuracy_with_mean_gates(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Iterable[tuple[Any, ...]],
    statistics: Statistics,
) -> tuple[float, dict[str, float]]:
    """Accuracy as it is, and with one block's gates at their means over all images, block by block.

    Where it stays, the block gates all images alike, and constants would do.

    Args:
      model, variables, batches: as for `class_statistics`; the classes are the model's.
      statistics: from `class_statistics`, of this network.

    Raises:
      ValueError: there are no images, or a block has no statistics.
    """
    means = {path: np.asarray(s.over_classes().mean)[0] for path, s in statistics.items()}
    totals: dict[str | None, int] = {}
    count = 0
    for images, labels, mask in (_checked(model, variables, batch) for batch in batches):
        known = changeable_blocks(model, variables, images)
        check_measured(known, statistics)
        given = {path: jnp.asarray(means[path], jnp.float32) for path in known}
        count += int(np.sum(np.asarray(mask) > 0))
        for block in [None, *known]:
            frozen = {path: path == block for path in known}
            right = _correct_frozen(model, variables, images, labels, mask, given, frozen)
            totals[block] = totals.get(block, 0) + int(right)
    check_any(count)
    paths = sorted((path for path in totals if path), key=network_order)
    return totals[None] / count, {path: totals[path] / count for path in paths}


@partial(jax.jit, static_argnums=0)
def _correct_frozen(model, variables, images, labels, mask, means, frozen):
    def change(path, gates):
        return jnp.where(frozen[path], means[path][None].astype(gates.dtype), gates)

    return _correct(model, variables, images, labels, mask, change)


def _correct(model, variables, images, labels, mask, change):
    logits, _ = changed_gates(model, variables, images, change)
    return jnp.sum((jnp.argmax(logits, axis=-1) == labels) & (mask > 0))


def _checked(
    model: nn.Module, variables: Mapping[str, Any], batch: tuple[Any, ...]
) -> tuple[Any, Any, Any]:
    """Images, labels of the model's classes, and mask."""
    images, labels, mask = arrays_of(batch)
    classes = count_classes(model, variables, images)
    check_labels("Labels", labels, len(images), classes, mask)
    return images, labels, mask
