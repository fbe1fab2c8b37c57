"""Images of the command line: found in folders, read in batches of one size."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from senet_jax.preprocessing import Preprocess

BATCH_SIZE = 32
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def image_files(paths: Iterable[str]) -> list[str]:
    """The files themselves, and all images below the folders, in the order of their names.

    Raises:
      FileNotFoundError: there is no such path, or no image in a folder.
    """
    files: list[str] = []
    for path in paths:
        if not os.path.exists(path):
            raise FileNotFoundError(f"There is no image {path}.")
        if not os.path.isdir(path):
            files.append(path)
            continue
        found = [file for file in Path(path).rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            raise FileNotFoundError(
                f"There are no images in {path}: expected {', '.join(IMAGE_SUFFIXES)}."
            )
        files += map(str, sorted(found))
    return files


class Batch(NamedTuple):
    """Images of one shape, `[BATCH_SIZE or fewer, H, W, C]`; the last one is filled up with zeros.

    Attributes:
      files: as many as there are images that are none of these zeros.
    """

    files: list[str]
    images: np.ndarray


def batches(files: list[str], preprocess: Preprocess) -> Iterator[Batch | Exception]:
    """All that can be read, in batches of one size so that one program does for all; and what was
    wrong with the others.
    """
    size = min(len(files), BATCH_SIZE)
    for start in range(0, len(files), size):
        images = np.zeros((size, *preprocess.size, len(preprocess.mean)), np.float32)
        readable: list[str] = []
        for file in files[start : start + size]:
            try:
                images[len(readable)] = preprocess(file)[0]
            except (ValueError, OSError) as error:
                yield error
            else:
                readable.append(file)
        if readable:
            yield Batch(readable, images)
