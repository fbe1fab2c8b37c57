"""What a network gets right and wrong over a split, each example counted once."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from senet_jax.preprocessing import Preprocess, centre_crop, resized_shape, squashed_shape
from train.augment import normalise, to_unit
from train.errors import WrongInput
from train.metrics import Sums, merge
from train.parallel import Devices
from train.state import Variables
from train.step import Batch

Batches = Generator[dict[str, np.ndarray], None, None]

TOP = 5
# jax.image.resize's names for those of Pillow's filters that it has; both antialias alike
METHODS = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic", "lanczos": "lanczos3"}


class Counts(NamedTuple):
    """Of one network at one size.

    Attributes:
      loss: cross-entropy summed over the examples, nats; labels are not smoothed.
      in_top: examples whose class is among the `top` likeliest.
      confusion: int64 [classes, classes]: examples by their class (rows) and the likeliest.
    """

    loss: float
    in_top: int
    top: int
    confusion: np.ndarray

    @property
    def examples(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return int(np.trace(self.confusion)) / self.examples

    def scores(self) -> dict[str, float]:
        """{"loss", "top1", "top5"}; of fewer than six classes "top4", ..., "top1"."""
        in_top = {f"top{self.top}": self.in_top / self.examples}
        return {"loss": self.loss / self.examples, "top1": self.accuracy} | in_top


def count(
    network: tuple[nn.Module, Variables],
    ways: Sequence[Preprocess],
    devices: Devices,
    batches: Batches,
    after_each: Callable[[], object] = lambda: None,
) -> list[Counts]:
    """Counts over all batches, for each way of preparing their images.

    Args:
      network: with a classifier; from `senet_jax.load`.
      batches: {"image": uint8 [b, H, W, C], "label": int32 [b], "mask": float32 [b], 0 for
        padding}; read once for all ways.

    Raises:
      WrongInput: images cannot be resized in this way on the device.
      ValueError: there are no batches.
    """
    model, variables = network
    top = largest_top(model.num_classes)
    step = devices.compile(partial(count_step, model, ways, top, devices.axis_name))
    sums = total(step, devices, devices.put_whole(variables), batches, after_each)
    return [
        Counts(float(loss), int(in_top), top, confusion.astype(np.int64))
        for loss, in_top, confusion in zip(
            sums["loss"], sums["in_top"], sums["confusion"], strict=True
        )
    ]


def total(
    step: Callable[..., Sums],
    devices: Devices,
    variables: Variables,
    batches: Batches,
    after_each: Callable[[], object],
) -> Mapping[str, Any]:
    """What a step sums over all batches of a split, on the host.

    Args:
      step: compiled by `devices`.
      variables: whole on every device.
      after_each: called after each batch; may raise, which ends the readers at once.

    Raises:
      ValueError: there are no batches.
    """
    sums: list[Sums] = []
    with closing(batches):
        for batch in batches:
            before, sums = sums, [merge(*sums, step(variables, devices.put(batch)))]
            jax.block_until_ready(before)  # else all batches that wait would be in its memory
            after_each()
    return jax.device_get(merge(*sums))


def count_step(
    model: nn.Module,
    ways: Sequence[Preprocess],
    top: int,
    axis_name: str | None,
    variables: Variables,
    batch: Batch,
) -> dict[str, jax.Array]:
    """Sums over the examples that the mask leaves: {"loss" float32 [ways], "in_top" int32 [ways],
    "confusion" int32 [ways, classes, classes]}."""
    label, mask = batch["label"], batch["mask"]
    counted = []
    for way in ways:
        logits: Any = model.apply(variables, prepared(batch["image"], way), train=False)
        likeliest = jax.lax.top_k(logits, top)[1]  # [b, top]; of equals the lower number first
        # a product of zeros and ones, which splits over devices and is exact in any precision
        true, guess = (jax.nn.one_hot(x, logits.shape[-1]) for x in (label, likeliest[:, 0]))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        in_top = jnp.any(likeliest == label[:, None], axis=1)
        counted.append(
            {
                # not 0 * nan: padding is no image, and may be anything to a network
                "loss": jnp.sum(jnp.where(mask > 0, losses, 0)),
                "in_top": jnp.sum(in_top * mask).astype(jnp.int32),
                "confusion": ((true * mask[:, None]).T @ guess).astype(jnp.int32),
            }
        )
    sums = {name: jnp.stack([one[name] for one in counted]) for name in counted[0]}
    return sums if axis_name is None else jax.lax.psum(sums, axis_name)


def prepared(images: jax.Array, way: Preprocess) -> jax.Array:
    """What `way` makes of stored images, on the device: uint8 [b, H, W, C] -> float32 [b, h, w, C].

    As on the host; a pixel may be rounded to the next level where the two sum in another order.

    Raises:
      WrongInput: it resizes by a filter that is not there on the device.
    """
    shape = shape_before_crop(way, images.shape[1:3])
    if shape != images.shape[1:3]:
        if way.interpolation not in METHODS:
            raise WrongInput(
                f"Images are resized by {way.interpolation!r} for this network, which the device"
                f" does not have: store them with {shape[0]} x {shape[1]} pixels."
            )
        images = _resized(images, shape, METHODS[way.interpolation])
    middle: Any = partial(centre_crop, size=way.size)
    return normalise(to_unit(jax.vmap(middle)(images)), way.mean, way.std)


def shape_before_crop(way: Preprocess, stored: tuple[int, ...]) -> tuple[int, int]:
    """Height and width to which stored images are resized before the middle is cut out."""
    if way.crop_mode == "squash":
        return squashed_shape(way.size, way.crop)
    return resized_shape(stored, way.size, way.crop)


def _resized(images: jax.Array, shape: tuple[int, int], method: str) -> jax.Array:
    """Rows first, then columns, each to whole numbers of 0..255: as Pillow does it."""
    x = images.astype(jnp.float32)
    for axis in (2, 1):
        to = (*x.shape[:axis], shape[axis - 1], *x.shape[axis + 1 :])
        x = jnp.clip(jnp.round(jax.image.resize(x, to, method)), 0, 255)
    return x


def largest_top(classes: int) -> int:
    """5, or less where all classes would be among the top five."""
    return max(1, min(TOP, classes - 1))
