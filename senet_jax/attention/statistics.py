"""Statistics of gates by class, block and channel, over data sets of any size in one pass.

Means and squared deviations are merged as Chan, Golub and LeVeque do (The American Statistician
37(3), 1983): no sum of squares that cancels, and in whatever order parts of a data set are merged,
the whole comes out. Memory is that of the statistics, however many images there are.
"""

from collections.abc import Iterable, Mapping
from functools import partial, reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from senet_jax.attention.batches import check_batch
from senet_jax.attention.gates import attention_weights, network_order

SHUT, OPEN = 0.05, 0.95  # beyond, a sigmoid's slope is less than a fifth of its largest


@struct.dataclass
class GateStatistics:
    """One block's gates over the images of each class; a pytree.

    Attributes:
      count: `[classes]`, images.
      mean: `[classes, C]`; 0 for a class without images.
      squares: `[classes, C]`, sums of the squared deviations from the mean.
      shut, open: `[classes, C]`, shares of the images whose gate is below 0.05, above 0.95.
    """

    count: Any
    mean: Any
    squares: Any
    shut: Any
    open: Any

    @property
    def std(self) -> Any:
        """`[classes, C]`, the standard deviation within each class (of n, not n - 1, images)."""
        return (self.squares / _at_least_one(self.count)[:, None]) ** 0.5

    @property
    def known_mean(self) -> np.ndarray:
        """`[classes, C]`, the mean, and nan for a class without images."""
        known = np.asarray(self.count)[:, None] > 0
        return np.where(known, np.asarray(self.mean, np.float64), np.nan)

    def over_classes(self) -> "GateStatistics":
        """Of all images together, as one class."""
        one_by_one = [
            jax.tree.map(lambda x, c=c: x[c : c + 1], self) for c in range(len(self.count))
        ]
        return reduce(merge_block, one_by_one)


Statistics = dict[str, GateStatistics]  # by the block's path, in the order of the network


def of_batch(
    gates: Mapping[str, jax.Array],
    labels: jax.Array,
    num_classes: int,
    mask: jax.Array | None = None,
) -> Statistics:
    """Statistics of a batch's gates, float32; usable inside `jit`, and with a batch that is split
    over devices.

    Args:
      gates: from `attention_weights`; maps are averaged over their positions.
      labels: whole numbers `[N]`, 0 .. num_classes - 1.
      num_classes: how many classes there are.
      mask: `[N]`, 0 for padding, which counts for nothing, be it NaN. None: all are images.

    Raises:
      ValueError: there are not as many gates as labels.
    """
    labels = jnp.asarray(labels)
    for path, values in gates.items():
        if values.shape[:1] != labels.shape:
            raise ValueError(
                f"The gates of {path} have shape {values.shape}, expected [N, ..., C] with labels"
                f" [N], not {labels.shape}."
            )
    weights = jnp.ones(labels.shape, jnp.float32) if mask is None else jnp.asarray(mask)
    of_class = labels[None] == jnp.arange(num_classes)[:, None]
    member = (of_class & (weights > 0)[None]).astype(jnp.float32)
    count = member.sum(axis=1)  # [classes]
    share = member / _at_least_one(count)[:, None]
    # a product in full precision: the default is bf16 on TPU, TF32 on GPU
    dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

    def block(values):
        g = by_channel(values)
        g = jnp.where((weights > 0)[:, None], g, 0)
        mean = dot(share, g)
        # Of the label's own mean: one deviation for each image, not one for each class. Labels of
        # padding may be anything.
        deviation = g - mean[jnp.clip(labels, 0, num_classes - 1)]
        return GateStatistics(
            count=count,
            mean=mean,
            squares=dot(member, jnp.square(deviation)),
            shut=dot(share, (g < SHUT).astype(jnp.float32)),
            open=dot(share, (g > OPEN).astype(jnp.float32)),
        )

    return {path: block(values) for path, values in gates.items()}


def merge(one: Mapping[str, GateStatistics], other: Mapping[str, GateStatistics]) -> Statistics:
    """Statistics of the images of both together: of two batches, shards, devices or hosts.

    In float64 where either is, as NumPy does it; traced arrays work, too.

    Raises:
      ValueError: they are of other blocks, classes or channels.
    """
    shapes = [{path: np.shape(s.mean) for path, s in side.items()} for side in (one, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "The statistics are of different networks or numbers of classes: expected the same"
            f" blocks and shapes, not {shapes[0]} and {shapes[1]}."
        )
    return {path: merge_block(block, other[path]) for path, block in one.items()}


def merge_block(one: GateStatistics, other: GateStatistics) -> GateStatistics:
    """`merge` of a single block's."""
    total = one.count + other.count
    share = (other.count / _at_least_one(total))[:, None]  # of the second's images
    step = other.mean - one.mean
    return GateStatistics(
        count=total,
        mean=one.mean + step * share,
        squares=one.squares + other.squares + step**2 * one.count[:, None] * share,
        shut=one.shut + (other.shut - one.shut) * share,
        open=one.open + (other.open - one.open) * share,
    )


def class_statistics(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Iterable[tuple[Any, ...]],
    num_classes: int,
) -> Statistics:
    """Statistics of the gates of every block over a data set, by class.

    Batches of one shape are compiled once. On several devices, give batches that are split over
    them and variables that are whole on each; on several hosts, each its own batches, and `merge`
    the results.

    Args:
      model, variables: as for `attention_weights`.
      batches: (images, labels), or (images, labels, mask) where a batch is padded; images as the
        model takes them, labels whole numbers `[N]`, the mask 0 for padding.
      num_classes: how many classes there are; 1, with labels 0, looks at all images together.

    Returns:
      Statistics in float64 by block, in the order of the network; empty for a plain network.

    Raises:
      TypeError: images are uint8: the network takes normalised ones; or labels are not
        whole numbers.
      ValueError: there are no batches or classes, labels are none of the classes, or a batch has
        other arrays than these.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes}, expected 1 or more.")
    total: Statistics | None = None
    shown = {k: variables[k] for k in variables if k != "intermediates"}
    for batch in batches:
        images, labels, mask = check_batch(batch, num_classes)
        found = jax.device_get(_of_images(model, num_classes, shown, images, labels, mask))
        found = jax.tree.map(lambda x: np.asarray(x, np.float64), found)
        total = found if total is None else merge(total, found)
    if total is None:
        raise ValueError("There are no batches, so no attention to look at: is the split empty?")
    return {path: total[path] for path in sorted(total, key=network_order)}  # jit sorts by letters


def check_measured(blocks: Iterable[str], statistics: Mapping[str, GateStatistics]) -> None:
    """Raises ValueError where a block has no statistics."""
    if missing := [path for path in blocks if path not in statistics]:
        raise ValueError(
            f"The gates of {', '.join(missing)} were not measured: give"
            " statistics=class_statistics(model, variables, batches, num_classes)."
        )


@partial(jax.jit, static_argnums=(0, 1))
def _of_images(model, num_classes, variables, images, labels, mask):
    return of_batch(attention_weights(model, variables, images), labels, num_classes, mask)


def by_channel(values: jax.Array) -> jax.Array:
    """`[N, ..., C]` -> `[N, C]`, float32."""
    values = values.astype(jnp.float32)
    return values.reshape(len(values), -1, values.shape[-1]).mean(axis=1)


def _at_least_one(count: Any) -> Any:
    return count + (count == 0)  # of NumPy and of JAX alike
