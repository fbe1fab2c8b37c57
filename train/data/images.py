"""What the builders share: images as files in memory, and what is noted of all that are stored."""

import hashlib
import io

import numpy as np

Pixels = np.ndarray  # uint8 [H, W] or [H, W, C]


def to_png(pixels: Pixels) -> io.BytesIO:
    """Lossless; and TFDS stores a file as it is, while arrays it would encode with TensorFlow."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_flat(pixels)).save(file, format="PNG", compress_level=1)
    file.seek(0)
    return file


def to_jpeg(pixels: Pixels) -> io.BytesIO:
    """A third of the space of PNG, read in half the time; an error of about a grey level."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_flat(pixels)).save(file, format="JPEG", quality=95, subsampling=0)
    file.seek(0)
    return file


def _flat(pixels: Pixels) -> Pixels:
    """Grey without its axis of channels, as Pillow has it."""
    return pixels[..., 0] if pixels.shape[2:] == (1,) else pixels


class Contents:
    """What a split holds: mean and deviation by channel, and a digest, of images one by one.

    The digest is of pixels, labels and keys, so it is the same wherever the images came from, and
    another one as soon as training would see something else.
    """

    def __init__(self, channels: int = 3) -> None:
        self._counts = np.zeros((channels, 256), np.int64)  # of each value: exact in any order
        self._digest = hashlib.sha256()

    def add(self, key: object, pixels: Pixels, label: int) -> None:
        """Notes an image, uint8 [H, W, C]."""
        for channel, counts in zip(np.moveaxis(pixels, -1, 0), self._counts, strict=True):
            counts += np.bincount(channel.ravel(), minlength=256)
        self._digest.update(repr((key, label, pixels.shape)).encode())
        self._digest.update(pixels.tobytes())

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """Of values 0..1."""
        values, share = np.arange(256) / 255, self._counts / self._counts.sum(1, keepdims=True)
        mean = share @ values
        std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))
        return mean.tolist(), np.maximum(std, 1 / 255).tolist()  # images of one colour have none

    def digest(self) -> str:
        """Another one for other images, labels or keys, or another order."""
        return self._digest.hexdigest()
