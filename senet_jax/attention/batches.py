"""Batches as functions over data sets take them: (images, labels), or (images, labels, mask)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_batch(batch: tuple[Any, ...], num_classes: int) -> tuple[Any, Any, Any]:
    """A batch's images, labels and mask (ones, where it has none).

    Raises:
      TypeError, ValueError: as `senet_jax.attention.class_statistics` says.
    """
    images, labels, mask = arrays_of(batch)
    check_labels("Labels", labels, len(images), num_classes, mask)
    return images, labels, mask


def arrays_of(batch: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """`check_batch` without a look at the labels."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        what = f"{len(batch)} arrays" if isinstance(batch, tuple | list) else type(batch).__name__
        raise ValueError(f"A batch is {what}, expected (images, labels) or (images, labels, mask).")
    images, labels, *rest = batch
    if images.dtype == np.uint8:
        raise TypeError("images are uint8, expected what the model takes: normalise them first.")
    mask = rest[0] if rest else np.ones(len(images), np.float32)
    if np.shape(mask) != (len(images),):
        raise ValueError(
            f"The mask has shape {np.shape(mask)}, expected [N] with N={len(images)}, a number for"
            " each image."
        )
    return images, labels, mask


def check_labels(name: str, labels: Any, images: int, num_classes: int, mask: Any = None) -> None:
    """Raises TypeError or ValueError where labels are none of the classes, one for each image.

    Args:
      name: what the message calls them, with a capital.
      mask: 0 for padding, whose labels may be anything.
    """
    dtype = labels.dtype if hasattr(labels, "dtype") else np.asarray(labels).dtype
    if not jnp.issubdtype(dtype, jnp.integer):
        raise TypeError(f"{name} are {dtype}, expected whole numbers: the classes' numbers.")
    if np.shape(labels) != (images,):
        raise ValueError(
            f"{name} have shape {np.shape(labels)}, expected [N] with N={images}, one for each"
            " image."
        )
    if isinstance(labels, jax.core.Tracer) or not getattr(labels, "is_fully_addressable", True):
        return  # has no values yet, or is in part another host's
    known = np.asarray(labels)
    known = known if mask is None else known[np.asarray(mask) > 0]
    if known.size and not 0 <= known.min() <= known.max() < num_classes:
        raise ValueError(
            f"{name} are {known.min()} to {known.max()}, expected 0 to {num_classes - 1} for"
            f" {num_classes} classes."
        )


def check_any(count: int) -> None:
    """Raises ValueError where there are no images, as of a generator that is used up."""
    if not count:
        raise ValueError(
            "There are no images to look at: batches was empty, or a generator that an earlier call"
            " has used up."
        )
