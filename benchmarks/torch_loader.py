"""PyTorch's DataLoader with Pillow, in the process that asks: one core's share of the work."""

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from senet_jax.bench import Run

torch.set_num_threads(1)


class Files(Dataset):
    """Image files with what is done to each."""

    def __init__(self, files: list[Path], change: Callable[[Image.Image], torch.Tensor]):
        self.files, self.change = files, change

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[i]) as image:
            return self.change(image.convert("RGB")), i % 2


def crops(files: list[Path], batch: int, size: int) -> Run:
    """As torchvision trains on ImageNet: RandomResizedCrop (8 to 100 % of the area), flip, floats
    normalised."""
    random = np.random.default_rng(0)
    mean = torch.tensor((0.485, 0.456, 0.406))[:, None, None]
    std = torch.tensor((0.229, 0.224, 0.225))[:, None, None]

    def change(image: Image.Image) -> torch.Tensor:
        box = _window(image.width, image.height, random)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return (pixels.float() / 255 - mean) / std

    return _reading(Files(files, change), batch)


def whole(files: list[Path], batch: int) -> Run:
    """Decoded and stacked, uint8: all else is left to the device."""
    return _reading(Files(files, lambda image: torch.from_numpy(np.array(image))), batch)


def _window(width: int, height: int, random: np.random.Generator) -> tuple[float, ...]:
    for _ in range(10):
        area = random.uniform(0.08, 1) * width * height
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = random.uniform(0, width - w), random.uniform(0, height - h)
            return left, top, left + w, top + h
    return 0, 0, width, height


def _reading(files: Files, batch: int) -> Run:
    loader = DataLoader(files, batch, shuffle=True, drop_last=True)

    def endless() -> Iterator[object]:
        for _ in itertools.count():
            yield from loader

    batches = endless()

    def run(steps: int) -> None:
        for _ in itertools.islice(batches, steps):
            pass

    return run
