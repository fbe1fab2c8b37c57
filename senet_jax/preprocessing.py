"""Images as a network wants them: resized, cropped, normalised.

    preprocess = senet_jax.preprocess_for("seresnet50.a1_in1k")
    model.apply(variables, preprocess(["cat.jpg", "dog.png"]), train=False)

The steps are timm's for evaluation: the short side is resized to size / crop, antialiased as Pillow
does it (or both sides are, which timm calls "squash"), the middle is cut out, and values from 0 to
1 are normalised by the mean and the standard deviation of what the network was trained on.
"""

import dataclasses
import logging
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from senet_jax.loading import describe
from senet_jax.models.inputs import BICUBIC, CIFAR10, IMAGENET_MEAN, IMAGENET_STD, Input
from senet_jax.models.pretrained import BY_HAND, PRETRAINED
from senet_jax.models.registry import VARIANTS
from senet_jax.sources import Source, find_source

logger = logging.getLogger("senet_jax")

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's name for so many channels
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "nearest", "box", "hamming")
CROP_MODES = ("center", "squash")
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L")  # of 16 bits a value


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """How a network's images are prepared: call it with images, it returns a batch.

    Attributes:
      size: height and width of the result, pixels.
      mean, std: per channel, of values from 0 to 1; their number is the number of channels.
      crop: the share of the resized image that the cut keeps: the short side is first resized to
        size / crop.
      interpolation: "bilinear", "bicubic", "lanczos", "nearest", "box" or "hamming".
      crop_mode: "center", or "squash": both sides are resized to size / crop, and the ratio of the
        sides is lost.

    Example:
      >>> preprocess = Preprocess((2, 2), mean=(0.5,), std=(0.25,), crop=1.0)
      >>> preprocess(np.full((1, 4, 4, 1), 255, np.uint8)).ravel()
      array([2., 2., 2., 2.], dtype=float32)
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 0.875
    interpolation: str = "bicubic"
    crop_mode: str = "center"

    def __post_init__(self):
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"Unknown interpolation {self.interpolation!r}: expected one of"
                f" {', '.join(INTERPOLATIONS)}."
            )
        if min(self.std) <= 0:
            raise ValueError(f"std={self.std}, expected numbers greater than zero.")
        if self.crop_mode not in CROP_MODES:
            raise ValueError(
                f"Unknown crop_mode {self.crop_mode!r}: expected {' or '.join(CROP_MODES)}."
            )
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}, expected a share, more than 0 and up to 1.")
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} values and std {len(self.std)}, expected one of each"
                " for every channel."
            )

    def __call__(self, images: Any) -> np.ndarray:
        """Prepares images.

        Args:
          images: one or several (a list, or an array with a leading axis): file names, Pillow
            images, or uint8 arrays `[H, W]` or `[H, W, C]`. Files are turned upright (EXIF) and
            brought to the network's channels: grey is repeated, colours are mixed, alpha is
            dropped, 16 bits become 8.

        Returns:
          float32 `[N, H, W, C]`.

        Raises:
          ValueError: a file is no image, an array is not uint8 or has other channels.
          FileNotFoundError: there is no such file.
        """
        if isinstance(images, jax.Array):
            images = np.asarray(images)
        if isinstance(images, np.ndarray) and images.ndim == 4:
            images = list(images)
        elif not isinstance(images, list | tuple):
            images = [images]
        return np.stack([self._prepared(image) for image in images])

    def with_channels(self, channels: int) -> "Preprocess":
        """The same for a network whose first convolution was adapted to other images: the mean over
        the channels for one, the channels in turn for several, as `senet_jax.load` adapts kernels.
        """
        if channels == len(self.mean):
            return self

        def for_channels(values: tuple[float, ...]) -> tuple[float, ...]:
            if channels == 1:
                return (sum(values) / len(values),)
            return tuple(values[i % len(values)] for i in range(channels))

        return dataclasses.replace(self, mean=for_channels(self.mean), std=for_channels(self.std))

    def _prepared(self, image: Any) -> np.ndarray:
        channels = len(self.mean)
        pixels = image if isinstance(image, np.ndarray) else read_image(image, channels)
        pixels = _with_channels(pixels, channels)
        pixels = centre_crop(self._resized(pixels), self.size)
        mean, std = (np.asarray(values, np.float32) for values in (self.mean, self.std))
        return (pixels.astype(np.float32) / 255 - mean) / std

    def _resized(self, pixels: np.ndarray) -> np.ndarray:
        """Every channel by itself, so that their number does not matter."""
        image = _pillow().Image
        if self.crop_mode == "squash":
            height, width = squashed_shape(self.size, self.crop)
        else:
            height, width = resized_shape(pixels.shape[:2], self.size, self.crop)
        method = image.Resampling[self.interpolation.upper()]
        channels = [
            image.fromarray(np.ascontiguousarray(channel)).resize((width, height), method)
            for channel in np.moveaxis(pixels, -1, 0)
        ]
        return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def preprocess_for(
    source: str | os.PathLike,
    name: str | None = None,
    *,
    in_chans: int | None = None,
    test_size: bool = False,
) -> Preprocess:
    """How the images of a trained network are prepared, without loading it.

    A training run, a `config.json` and timm's tags say it themselves. A file of weights alone does
    not: then it is what the default tag of its name says (name it with its own tag if it has
    another), or else the usual for ImageNet or CIFAR-10, and a line by the logger "senet_jax".

    Args:
      source, name: as for `senet_jax.load`.
      in_chans: as for `senet_jax.load`; by default the channels of the source.
      test_size: at the larger size at which published weights do better, if they have one.

    Raises:
      FileNotFoundError, ValueError: as `senet_jax.load`.
    """
    found = find_source(source, name)
    if found.kind == "workdir":
        preprocess = _of_run(describe(found.directory))
    elif found.config:
        preprocess = _of_config(found.config.get("pretrained_cfg") or {}, test_size)
    else:
        preprocess = _of_input(_published_input(found), test_size)
    return preprocess if in_chans is None else preprocess.with_channels(in_chans)


def _of_run(description: Mapping[str, Any]) -> Preprocess:
    """Nothing is cut off: the trainer's images have the network's size already."""
    height, width, _ = description["image_shape"]
    mean, std = tuple(description["mean"]), tuple(description["std"])
    return Preprocess((height, width), mean, std, crop=1.0)


def _of_config(config: Mapping[str, Any], test_size: bool) -> Preprocess:
    """From timm's `pretrained_cfg`; what is missing there, or null, is as in timm."""
    config = {key: value for key, value in config.items() if value is not None}
    crop_mode = config.get("crop_mode", "center")
    if crop_mode not in CROP_MODES:
        raise ValueError(
            f"The config.json asks for crop_mode {crop_mode!r}, expected"
            f" {' or '.join(map(repr, CROP_MODES))}: prepare the images yourself."
        )
    prefix = "test_" if test_size and config.get("test_input_size") else ""
    shape = config.get(f"{prefix}input_size", (3, 224, 224))
    if len(shape) != 3:
        raise ValueError(f"The config.json has input_size {shape}, expected [channels, H, W].")
    _, height, width = shape
    return Preprocess(
        (height, width),
        tuple(config.get("mean", IMAGENET_MEAN)),
        tuple(config.get("std", IMAGENET_STD)),
        config.get(f"{prefix}crop_pct") or config.get("crop_pct", 0.875),
        config.get("interpolation", "bicubic"),
        crop_mode,
    )


def _of_input(images: Input, test_size: bool) -> Preprocess:
    size, crop = images.size, images.crop
    if test_size and images.test_size is not None:
        size, crop = images.test_size, images.test_crop or images.crop
    return Preprocess(
        (size, size), images.mean, images.std, crop, images.interpolation, images.crop_mode
    )


def _published_input(found: Source) -> Input:
    tags = PRETRAINED.get(found.name or "", {})
    if tags:
        return tags[found.tag or next(iter(tags))].input
    if found.name in BY_HAND:
        return BY_HAND[found.name].input
    size = VARIANTS[found.name or ""].image_size
    usual = CIFAR10 if size == CIFAR10.size else BICUBIC._replace(size=size)
    logger.warning(
        "Nothing says how images for %s are prepared: taken as usual, %s.", found.path, usual
    )
    return usual


def squashed_shape(size: tuple[int, int], crop: float) -> tuple[int, int]:
    """Height and width before the cut: those of the result / crop, rounded down."""
    return math.floor(size[0] / crop), math.floor(size[1] / crop)


def resized_shape(shape: tuple[int, ...], size: tuple[int, int], crop: float) -> tuple[int, int]:
    """Height and width before the cut: the short side is size / crop, rounded down, and the ratio
    of the sides is kept (rounded as torchvision does, or timm where the result is no square).
    """
    height, width = shape
    target = squashed_shape(size, crop)
    if target[0] != target[1]:
        ratio = min(height / target[0], width / target[1])
        return round(height / ratio), round(width / ratio)
    short = target[0]
    if height <= width:
        return short, int(short * width / height)
    return int(short * height / width), short


def centre_crop(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of pixels `[H, W, C]`, which are no smaller than `size`; as torchvision rounds."""
    top, left = (round((have - want) / 2) for have, want in zip(pixels.shape, size, strict=False))
    return pixels[top : top + size[0], left : left + size[1]]


def read_image(image: Any, channels: int) -> np.ndarray:
    """A file or a Pillow image as uint8 `[H, W, channels]`, upright.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no image that can be read, or does not turn into so many channels.
    """
    pillow = _pillow()
    upright = pillow.ImageOps.exif_transpose
    if isinstance(image, pillow.Image.Image):
        return _pixels(upright(image), channels, "The image")
    if not isinstance(image, str | os.PathLike):
        raise ValueError(
            f"An image is a {type(image).__name__}, expected a file name, a Pillow image or a uint8"
            " array."
        )
    try:
        with pillow.Image.open(image) as opened:
            return _pixels(upright(opened), channels, os.fspath(image))
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no image {os.fspath(image)}.") from None
    except UnreadableImage:
        raise
    except pillow.UnidentifiedImageError:
        raise UnreadableImage(
            f"{os.fspath(image)} cannot be read as an image (no format that Pillow knows)."
        ) from None
    except Exception as error:  # Pillow raises many kinds for damaged files
        reason = " ".join(str(error).split())
        raise UnreadableImage(
            f"{os.fspath(image)} cannot be read as an image ({type(error).__name__}: {reason})."
        ) from error


class UnreadableImage(ValueError):
    """A file that is no image, or not one that can be used."""


def _pixels(image: Any, channels: int, what: str) -> np.ndarray:
    if channels not in MODES:
        raise UnreadableImage(
            f"{what} cannot have {channels} channels: give the network uint8 arrays [H, W,"
            f" {channels}]."
        )
    if image.mode in WIDE_MODES:
        image = _narrow(image, what)
    elif image.mode == "F":
        raise UnreadableImage(f"{what} has pixels of 32-bit floats, expected 8 or 16 bits.")
    return _channels_last(np.asarray(_converted(image, MODES[channels])))


def _narrow(image: Any, what: str) -> Any:
    """16 bits as 8: Pillow's own conversion would cut off all above 255."""
    values = np.asarray(image).astype(np.int64)
    if np.min(values) < 0 or np.max(values) > 65535:
        raise UnreadableImage(f"{what} has pixels of 32 bits, expected 8 or 16.")
    return _pillow().Image.fromarray(np.round(values / 257).astype(np.uint8))


def _converted(image: Any, mode: str) -> Any:
    """Grey of a palette by way of its colours; with alpha where the mode has it."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.dtype != np.uint8:
        raise ValueError(
            f"An image is an array of {pixels.dtype}, expected uint8 from 0 to 255: what is"
            " prepared already goes to the model as it is."
        )
    pixels = _channels_last(pixels)
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise ValueError(f"An image is an array of shape {pixels.shape}, expected [H, W, C].")
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] in MODES and channels in MODES:
        flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels  # as Pillow has grey
        return _pixels(_pillow().Image.fromarray(flat), channels, "The image")
    raise ValueError(f"An image is an array of shape {pixels.shape}, expected [H, W, {channels}].")


def _channels_last(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _pillow() -> Any:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise ImportError(
            "Preparing images needs Pillow: pip install 'senet_jax[images]'."
        ) from error
    return PIL
