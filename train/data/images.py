"""What the builders share: images as files in memory, and what is noted of all that are stored."""

import hashlib
import io
from typing import Any

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
    """A third of PNG's space and time to read, with an error of one to two grey levels."""
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

    Attributes:
      count: the number of images.
    """

    def __init__(self, channels: int = 3) -> None:
        self.count = 0
        self._values = np.zeros((channels, 256), np.int64)  # how often each: exact in any order
        self._digest = hashlib.sha256()

    def add(self, key: object, pixels: Pixels, label: int) -> None:
        """Notes an image, uint8 [H, W, C]."""
        self.count += 1
        for channel, values in zip(np.moveaxis(pixels, -1, 0), self._values, strict=True):
            values += np.bincount(channel.ravel(), minlength=256)
        self._digest.update(repr((key, label, pixels.shape)).encode())
        self._digest.update(pixels.tobytes())

    def add_all(self, part: dict[str, Any]) -> None:
        """Notes what another one, of a part, has noted (`summary`)."""
        self.count += part["count"]
        self._values += np.asarray(part["values"], np.int64)
        self._digest.update(part["digest"].encode())

    def summary(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        values = self._values.tolist()
        return {"count": self.count, "values": values, "digest": self.digest()}

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """Of values 0..1."""
        values, share = np.arange(256) / 255, self._values / self._values.sum(1, keepdims=True)
        mean = share @ values
        std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))
        return mean.tolist(), np.maximum(std, 1 / 255).tolist()  # images of one colour have none

    def digest(self) -> str:
        """Another one for other images, labels or keys, or another order."""
        return self._digest.hexdigest()
