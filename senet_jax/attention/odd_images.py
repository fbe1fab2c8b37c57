"""Images whose gates are unlike those of their class: likely mislabelled, or odd."""

import heapq
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from senet_jax.attention.batches import check_any, check_batch
from senet_jax.attention.gates import attention_weights
from senet_jax.attention.statistics import (
    GateStatistics,
    Statistics,
    by_channel,
    check_measured,
)

LEAST_STD = 1e-3  # a gate that never moves would make rounding look odd


class OddImage(NamedTuple):
    """An image by its place in the data set.

    Attributes:
      number: its place among the images, without padding, from 0.
      label: its class.
      deviation: from its class's profile, see `profile_deviation`.
    """

    number: int
    label: int
    deviation: float


def profile_deviation(
    gates: Mapping[str, jax.Array], labels: jax.Array, statistics: Mapping[str, GateStatistics]
) -> jax.Array:
    """How far images' gates are from their class's profile: `[N]`, float32, in standard deviations.

    The root mean square, over the channels of a block and then over the blocks, of
    `(g - mean of the class) / deviation within classes`: about 1 for a usual image. Usable inside
    `jit`.

    Args:
      gates: from `attention_weights`.
      labels: whole numbers `[N]`.
      statistics: of `class_statistics`.

    Raises:
      ValueError: a block has no statistics.
    """
    check_measured(gates, statistics)
    total: Any = 0.0
    for path, values in gates.items():
        s = statistics[path]
        within = jnp.sqrt(jnp.sum(s.squares, axis=0) / jnp.maximum(jnp.sum(s.count), 1))
        deviation = by_channel(values) - jnp.asarray(s.mean, jnp.float32)[labels]
        total += jnp.mean(jnp.square(deviation / jnp.maximum(within, LEAST_STD)[None]), axis=-1)
    return jnp.sqrt(total / len(gates))


def odd_images(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Iterable[tuple[Any, ...]],
    statistics: Statistics,
    keep: int = 20,
) -> list[OddImage]:
    """The images that are farthest from their class's profile, the farthest first.

    Args:
      model, variables, batches: as for `class_statistics`, again from the start and in one order.
      statistics: what it returned.
      keep: how many images, of which alone is something remembered.

    Raises:
      TypeError, ValueError: the network has no attention or other blocks than the statistics, or
        `class_statistics` would refuse the batches.
    """
    if not statistics:
        raise ValueError("The network has no attention by which images could be odd.")
    classes = len(next(iter(statistics.values())).count)
    found: list[OddImage] = []
    seen = 0
    for images, labels, mask in (check_batch(batch, classes) for batch in batches):
        far = np.asarray(_deviation(model, variables, images, labels, statistics))
        here = np.flatnonzero(np.asarray(mask) > 0)
        new = [
            OddImage(seen + place, int(labels[i]), float(far[i])) for place, i in enumerate(here)
        ]
        found = heapq.nlargest(keep, [*found, *new], key=lambda image: image.deviation)
        seen += len(here)
    check_any(seen)
    return found


@partial(jax.jit, static_argnums=0)
def _deviation(model, variables, images, labels, statistics):
    return profile_deviation(attention_weights(model, variables, images), labels, statistics)
