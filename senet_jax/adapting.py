"""Trained variables for a network with another head, or for images with other channels.

What is newly initialised or changed is told by the logger "senet_jax", as warnings; to silence it:
`logging.getLogger("senet_jax").setLevel("ERROR")`.
"""

import logging
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from senet_jax.models.spec import any_images

Variables = dict[str, Any]
Flat = dict[tuple[str, ...], Any]

FIRST = ("params", "stem", "conv1", "kernel")  # [h, w, channels of the images, features]
logger = logging.getLogger("senet_jax")


def adapt(
    variables: Mapping[str, Any], model: nn.Module, channels: int, key: jax.Array
) -> Variables:
    """Variables for `model` from those of the same network with another head or first convolution.

    Args:
      variables: `{"params": ..., "batch_stats": ...}`.
      model: what they are to fit; its head (`num_classes`) may be another.
      channels: of its images. The first kernel is adapted by timm's rule: for one channel the sum
        over red, green and blue; for others the channels in turn, times old / new.
      key: for the new head.

    Raises:
      ValueError: anything else does not fit; says what.
    """
    have: Flat = traverse_util.flatten_dict(dict(variables))
    images = any_images(channels)
    want: Flat = traverse_util.flatten_dict(jax.eval_shape(model.init, jax.random.key(0), images))
    if FIRST in have and have[FIRST].shape[2] != channels:
        have[FIRST] = adapt_kernel(have[FIRST], channels)
    new = [path for path in want if path not in have or have[path].shape != want[path].shape]
    dropped = [path for path in have if path not in want]
    if misfits := ["/".join(path[1:]) for path in new + dropped if path[1] != "head"]:
        raise ValueError(
            f"The weights are of another network: {', '.join(misfits[:10])} do not fit. Leave out"
            " the options that change its layers."
        )
    if new or dropped:
        _tell_head(have, want)
        have |= _initialised(model, images, key, new)
    return traverse_util.unflatten_dict({path: have[path] for path in want})


def image_channels(variables: Mapping[str, Any]) -> int:
    """The channels of the images that a network's first convolution takes."""
    return variables[FIRST[0]][FIRST[1]][FIRST[2]][FIRST[3]].shape[2]


def adapt_kernel(kernel: jax.Array, channels: int) -> jax.Array:
    """A first kernel `[h, w, 3, features]` for images with so many channels, by timm's rule.

    Raises:
      ValueError: the kernel is for other images than coloured ones.
    """
    had = kernel.shape[2]
    if had != 3:
        raise ValueError(
            f"The weights are for images with {had} channels, and only those for 3 can be adapted"
            f" to {channels}: leave in_chans out."
        )
    if channels == 1:
        logger.warning("The first convolution takes 1 channel: its kernel is the sum over 3.")
        return jnp.sum(kernel, axis=2, keepdims=True, dtype=kernel.dtype)
    logger.warning(
        "The first convolution takes %d channels: its kernel is that of 3 in turn, times 3/%d.",
        *(channels, channels),
    )
    turn = jnp.arange(channels) % had
    return (kernel[:, :, turn] * (had / channels)).astype(kernel.dtype)


def _initialised(model: nn.Module, images: Any, key: jax.Array, paths: list) -> Flat:
    """Some of a model's initial variables; no others are computed."""

    @jax.jit
    def init(key):
        fresh = traverse_util.flatten_dict(model.init(key, jnp.zeros(images.shape, images.dtype)))
        return [fresh[path] for path in paths]

    return dict(zip(paths, init(key), strict=True))


def _tell_head(have: Flat, want: Flat) -> None:
    head = ("params", "head", "fc", "kernel")
    old, new = (tree[head].shape[1] if head in tree else 0 for tree in (have, want))
    if new == 0:
        logger.warning("The classifier of the weights, for %d classes, is left out.", old)
    else:
        was = f" (the weights have {old})" if old else ""
        logger.warning("The classifier is newly initialised for %d classes%s.", new, was)
