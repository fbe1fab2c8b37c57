"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899), on the device.

An image is mixed with its neighbour in the batch, 0 with 1, 2 with 3, and so on: batches come in
random order, and neighbours lie on one device, so the result does not depend on how many there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class MixOptions:
    """How images are mixed.

    Attributes:
      mixup, cutmix: the parameter of the symmetric beta distribution from which the own share is
        drawn; 0: not this one. Of both, one is chosen by chance.
      probability: how often an image is mixed at all.
      end: the step from which on nothing is mixed: a network may end on whole images.
    """

    mixup: float
    cutmix: float
    probability: float
    end: int

    @classmethod
    def from_config(
        cls, group: Mapping[str, Any], steps: int, steps_per_epoch: int
    ) -> "MixOptions | None":
        """From `config.data.mix`, for a run of so many steps; None if nothing is to be mixed."""
        if not group["mixup"] and not group["cutmix"]:
            return None
        end = steps - round(group["off_epochs"] * steps_per_epoch)
        return cls(group["mixup"], group["cutmix"], group["probability"], end)


def mix(
    images: jax.Array, targets: jax.Array, keys: jax.Array, step: jax.Array, options: MixOptions
) -> tuple[jax.Array, jax.Array]:
    """Every image, and its target, with a share of its neighbour's.

    Args:
      images: float [b, H, W, C], b even.
      targets: float [b, classes].
      keys: one for each image [b].
      step: of the run.
    """
    _, h, w, _ = images.shape
    draw = partial(_own_share, shape=(h, w), options=options)
    share = jnp.where(step < options.end, jax.vmap(draw)(keys), 1.0)  # [b, H, W]
    images = _with_neighbours(images, share[..., None])
    return images, _with_neighbours(targets, jnp.mean(share, axis=(1, 2))[:, None])


def _own_share(key: jax.Array, shape: tuple[int, int], options: MixOptions) -> jax.Array:
    """How much of each pixel [H, W] stays the image's own: mixup's is even, CutMix's 0 in a box."""
    keys = jax.random.split(key, 5)
    both = options.mixup and options.cutmix
    takes_cutmix = jax.random.bernoulli(keys[0], 0.5 if both else 1.0)
    share = jnp.ones(shape)
    if options.mixup:
        share = share * jax.random.beta(keys[1], options.mixup, options.mixup)
    if options.cutmix:
        own = jax.random.beta(keys[2], options.cutmix, options.cutmix)
        share = jnp.where(takes_cutmix, 1.0 - _box(keys[3], shape, 1.0 - own), share)
    return jnp.where(jax.random.bernoulli(keys[4], options.probability), share, 1.0)


def _box(key: jax.Array, shape: tuple[int, int], area: jax.Array) -> jax.Array:
    """1.0 in a box [H, W] of the image's form around a random pixel, which covers this share of the
    image but for what lies outside of it."""
    limits = jnp.array(shape)
    centre = jax.random.randint(key, (2,), 0, limits)
    half = jnp.sqrt(area) * limits / 2
    first, end = jnp.round(centre - half), jnp.round(centre + half)
    rows, columns = (jnp.arange(n) for n in shape)
    inside = [(line >= first[i]) & (line < end[i]) for i, line in enumerate((rows, columns))]
    return (inside[0][:, None] & inside[1][None, :]).astype(jnp.float32)


def _with_neighbours(x: jax.Array, share: jax.Array) -> jax.Array:
    pairs = x.reshape(-1, 2, *x.shape[1:])
    return share * x + (1 - share) * pairs[:, ::-1].reshape(x.shape)
