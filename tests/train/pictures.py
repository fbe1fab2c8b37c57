"""Folders of small pictures to train on, of any layout."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")


def draw(file: Path, shape: tuple[int, int] = (12, 10)) -> np.ndarray:
    """Writes noise that follows from the file's name, as PNG; returns it, uint8 [H, W, 3]."""
    random = np.random.default_rng(zlib.crc32("/".join(file.parts[-3:]).encode()))
    pixels = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return pixels


def fill(folder: Path, count: int, classes: tuple[str, ...] = CLASSES) -> Path:
    """<folder>/<class>/0.png, 1.png, ...: `count` of them in each."""
    for name in classes:
        for i in range(count):
            draw(folder / name / f"{i}.png")
    return folder
