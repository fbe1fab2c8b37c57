"""Augmentation on the device: uint8 images in, augmented float32 images in 0..1 out.

What happens to an example follows from its own key alone, so it is the same on any number of
devices and in any company. Each kind of change draws from a key of its own: switching one on or off
leaves the others as they were. What is off is not traced and costs nothing.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.rand_augment import rand_augment
from train.resampling import bilinear


@dataclass(frozen=True)
class AugmentOptions:
    """How far images are changed at random. All at 0 or False: not at all.

    Attributes:
      shift: pixels, up to which an image moves along each axis (fractions of pixels included).
      rotate: degrees, up to which it turns about its centre, either way.
      scale: fraction, by which its size changes: 0.1 is a factor in 0.9..1.1.
      shear: degrees, up to which its vertical lines lean, either way.
      flip: left and right swapped for half of the images.
      crop_area: least and most share of the image that a random crop shows; the ratio of its
        sides is up to 4:3 off the image's (arXiv 1409.4842).
      crop_padding: pixels of zeros added on each side before a crop of the old size (4 for CIFAR).
      cutout: side of a square set to zero around a random pixel (arXiv 1708.04552), in pixels.
      erase: share of the images in which noise covers a rectangle (arXiv 1708.04896): 2 to 33 % of
        the image, its sides up to 3.3:1.
      random_ops: changes by RandAugment, see `train.rand_augment`.
      magnitude: of these, 0 to 10.
      size: (height, width) of the result; None for that of the images.
    """

    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    crop_area: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    crop_padding: int = 0
    cutout: int = 0
    erase: float = 0.0
    random_ops: int = 0
    magnitude: float = 9.0
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        limits = {"scale": 1.0, "shear": 90.0}  # beyond, an image has no size or no height
        for name in ("shift", "rotate", "scale", "shear", "crop_padding", "cutout", "random_ops"):
            value, limit = getattr(self, name), limits.get(name, np.inf)
            if not 0 <= value < limit:
                bound = "at least 0" + (f" and below {limit:g}" if limit < np.inf else "")
                raise ValueError(f"augment.{name} is {value}, expected {bound}.")
        for name, most in (("erase", 1), ("magnitude", 10)):
            if not 0 <= (value := getattr(self, name)) <= most:
                raise ValueError(f"augment.{name} is {value}, expected 0 to {most}.")
        for name in ("crop_padding", "cutout", "random_ops"):
            if (value := getattr(self, name)) != int(value):
                raise ValueError(f"augment.{name} is {value}, expected a whole number.")
        if len(self.crop_area) != 2 or not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError(
                f"augment.crop_area is {self.crop_area}, expected two shares of the image, more"
                " than 0 and up to 1, the smaller one first: (0.35, 1.0)."
            )

    @classmethod
    def from_config(
        cls, group: Mapping[str, Any], size: tuple[int, int] | None = None
    ) -> "AugmentOptions":
        """From `config.data.augment`, which has exactly these fields but for `size`."""
        return cls(**{**dict(group), "crop_area": tuple(group["crop_area"])}, size=size)

    @property
    def crops(self) -> bool:
        return self.crop_area != (1, 1)

    @property
    def warps(self) -> bool:
        return bool(self.shift or self.rotate or self.scale or self.shear)


def augment(images: jax.Array, keys: jax.Array, options: AugmentOptions) -> jax.Array:
    """Images changed at random, each by its own key.

    Args:
      images: uint8 [N, H, W, C].
      keys: typed keys [N].
      options: static; what is off leaves no trace in the compiled program.

    Returns:
      float32 [N, *size, C] in 0..1; with all options off `to_unit(images)`.
    """
    if images.dtype != jnp.uint8 or images.ndim != 4:
        raise ValueError(
            f"images are {images.dtype} {images.shape}, expected uint8 [N, H, W, C]: augment before"
            f" anything is normalised."
        )
    if options.size == images.shape[1:3]:
        options = replace(options, size=None)
    x = to_unit(images)
    for stream, (is_on, change) in enumerate(_changes(options)):
        if is_on:
            x = jax.vmap(change)(x, jax.vmap(jax.random.fold_in, (0, None))(keys, stream))
    return x


def to_unit(images: jax.Array) -> jax.Array:
    """uint8 0..255 as float32 0..1, for evaluation: what `augment` gives with all options off.

    A product, not a quotient: XLA turns a division by 255 into just this one under jit and not
    outside of it, and so the last bits would depend on where it is called.
    """
    return images.astype(jnp.float32) * np.float32(1 / 255)


def normalise(images: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """(images - mean) / std per channel: float32 0..1 [N, H, W, C] -> float32 [N, H, W, C]."""
    centre, spread = (np.asarray(values, np.float32)[None, None, None] for values in (mean, std))
    return (images - centre) / spread


Change = Callable[[jax.Array, jax.Array], jax.Array]  # image [H, W, C], key -> image


def _changes(options: AugmentOptions) -> list[tuple[bool, Change]]:
    """(is it on, what it does), in the order of doing. A place in the list is a random stream."""
    return [
        (options.crop_padding > 0, functools.partial(_pad_and_crop, padding=options.crop_padding)),
        (options.flip, _flip),
        (
            options.warps or options.crops or options.size is not None,
            functools.partial(_random_warp, options=options),
        ),
        (options.cutout > 0, functools.partial(_cutout, size=options.cutout)),
        (
            options.random_ops > 0,
            functools.partial(rand_augment, count=options.random_ops, magnitude=options.magnitude),
        ),
        (options.erase > 0, functools.partial(_erase, probability=options.erase)),
    ]


def _pad_and_crop(image: jax.Array, key: jax.Array, *, padding: int) -> jax.Array:
    padded = jnp.pad(image, [(padding, padding), (padding, padding), (0, 0)])
    top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def _flip(image: jax.Array, key: jax.Array) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def _cutout(image: jax.Array, key: jax.Array, *, size: int) -> jax.Array:
    h, w, _ = image.shape
    y, x = jax.random.randint(key, (2,), 0, jnp.array([h, w]))
    top, left = y - size // 2, x - size // 2
    rows, columns = jnp.arange(h)[:, None], jnp.arange(w)[None, :]
    inside = (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)
    return jnp.where(inside[:, :, None], 0.0, image)


def _erase(image: jax.Array, key: jax.Array, *, probability: float) -> jax.Array:
    keys = jax.random.split(key, 5)
    h, w, _ = image.shape
    share = jax.random.uniform(keys[0], minval=0.02, maxval=1 / 3)
    lean = jax.random.uniform(keys[1], minval=-1.0, maxval=1.0) * np.log(3.3) / 2
    sides = jnp.sqrt(share * h * w) * jnp.exp(jnp.stack([lean, -lean]))
    sides = jnp.minimum(jnp.round(sides), np.array([h, w]))
    corner = jnp.floor(jax.random.uniform(keys[2], (2,)) * (np.array([h, w]) - sides + 1))
    rows, columns = jnp.arange(h)[:, None], jnp.arange(w)[None, :]
    inside = (rows >= corner[0]) & (rows < corner[0] + sides[0])
    inside &= (columns >= corner[1]) & (columns < corner[1] + sides[1])
    inside &= jax.random.bernoulli(keys[3], probability)
    return jnp.where(inside[:, :, None], jax.random.uniform(keys[4], image.shape), image)


def _random_warp(image: jax.Array, key: jax.Array, *, options: AugmentOptions) -> jax.Array:
    limits = [options.shift, options.shift, options.rotate, options.scale, options.shear]
    u = jax.random.uniform(key, (5,), minval=-1.0, maxval=1.0) * jnp.array(limits, jnp.float32)
    h, w, _ = image.shape
    window = None
    if options.crops or options.size is not None:
        window = _random_window(jax.random.fold_in(key, len(limits)), h, w, options.crop_area)
    return warp(
        image,
        shift=u[:2],
        rotate=jnp.deg2rad(u[2]),
        scale=1.0 + u[3],
        shear=jnp.deg2rad(u[4]),
        window=window,
        size=options.size or (h, w),
    )


def _random_window(
    key: jax.Array, h: int, w: int, area: tuple[float, float]
) -> tuple[jax.Array, jax.Array]:
    """Corner [2] and sides [2], in pixels, of a rectangle inside an image of h x w pixels."""
    u = jax.random.uniform(key, (4,))
    share = area[0] + (area[1] - area[0]) * u[0]
    lean = (2 * u[1] - 1) * np.log(4 / 3) / 2 * (area[0] < 1)  # the whole is the whole
    whole = jnp.array([h, w], jnp.float32)
    sides = jnp.minimum(whole * jnp.sqrt(share) * jnp.exp(jnp.stack([-lean, lean])), whole)
    return u[2:] * (whole - sides), sides


def warp(
    image: jax.Array,
    *,
    shift: jax.Array,
    rotate: jax.Array,
    scale: jax.Array,
    shear: jax.Array,
    window: tuple[jax.Array, jax.Array] | None = None,
    size: tuple[int, int] | None = None,
) -> jax.Array:
    """The image sheared, scaled, turned about its centre, and moved; zeros come in from outside.

    With a window only that part of the result, in another size: one resampling for both.

    Args:
      image: float32 [H, W, C].
      shift: [2], pixels down and to the right.
      rotate: radians, counter-clockwise as one looks at it.
      scale: factor; more than 1 enlarges.
      shear: radians by which vertical lines lean.
      window: corner [2] and sides [2] of a rectangle, in pixels; None for the whole.
      size: (height, width) of what is shown of a window.

    Each pixel looks up where it came from, and takes the four pixels around that place bilinearly.
    """
    h, w, _ = image.shape
    centre = np.array([h - 1, w - 1], np.float32) / 2
    y, x = jnp.arange(h), jnp.arange(w)
    if window is not None:
        y, x = (_places(*line) for line in zip(*window, size or (h, w), (h, w), strict=True))
    y, x = y - centre[0] - shift[0], x - centre[1] - shift[1]
    cos, sin, tan = jnp.cos(rotate) / scale, jnp.sin(rotate) / scale, jnp.tan(shear)
    source_y = cos * y[:, None] + sin * x[None, :]
    source_x = cos * x[None, :] - sin * y[:, None] + tan * source_y
    return bilinear(image, source_y + centre[0], source_x + centre[1])


def _places(corner: jax.Array, side: jax.Array, count: int, limit: int) -> jax.Array:
    """Where the centres of `count` pixels [count] lie that share a side of a window; those beyond
    the outermost of `limit` pixels' centres are pulled to it, so that no border darkens."""
    places = corner + (jnp.arange(count) + 0.5) * (side / count) - 0.5
    return jnp.clip(places, 0, limit - 1)
