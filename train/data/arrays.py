"""Images that are arrays already, in one .npz file: NumPy is all that reading them needs.

    train_images   uint8 [n, H, W, C], C = 1 or 3      train_labels   whole numbers [n], from 0 on
    validation_images, validation_labels and test_images, test_labels: likewise, one of the two
        at least
    class_names    text [classes]; without it classes are called by their numbers

Any data set of the trainer can be written so, for a machine without TFDS and Grain:

    python -m train.data.arrays digits.npz --config=configs/digits.py
    python -m train --config=configs/digits.py --workdir=runs/digits \
        --config.data.name=arrays --config.data.source=digits.npz
"""

import argparse
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from train.data.images import Contents
from train.data.pipeline import InMemory
from train.data.splits import Splits
from train.errors import WrongInput

NAMES = ("train", "validation", "test")
SOURCE = "see docs/data.md, arrays (--config.data.source)."

Arrays = Mapping[str, np.ndarray]


def read_arrays(file: Path) -> Splits:
    """The splits of a file.

    Raises:
      WrongInput: no such file, or it is not as above.
    """
    arrays = _load(file)
    there = [name for name in NAMES if f"{name}_images" in arrays]
    if "train" not in there or len(there) == 1:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise WrongInput(
            f"{file} has {found}: expected train_images, and validation_images or test_images;"
            f" {SOURCE}"
        )
    examples = {name: _examples(file, name, arrays) for name in there}
    shapes = {split.image_shape for name, split in examples.items() if name != "train"}
    h, w, c = shape = shapes.pop()
    of_training = examples["train"].image_shape
    if shapes or of_training[-1] != c or min(np.subtract(of_training, shape)) < 0:
        told = ", ".join(f"{split.image_shape} to {name}" for name, split in examples.items())
        raise WrongInput(
            f"{file} has images of shapes {told}: expected one shape, but that those to train may"
            " be larger, to be cropped."
        )
    contents = {name: _contents(split) for name, split in examples.items()}
    mean, std = contents["train"].mean_and_std()
    return Splits(
        examples=dict(examples),
        class_names=_class_names(file, examples, arrays),
        image_shape=(h, w, c),
        mean=tuple(mean),
        std=tuple(std),
        digest="".join(found.digest() for found in contents.values()),
    )


def write_arrays(file: Path, splits: Splits) -> None:
    """Writes splits as such a file; all images of a split are held in memory."""
    arrays = {"class_names": np.array(splits.class_names)}
    for name, examples in splits.examples.items():
        images, labels = examples.gather(np.arange(len(examples)))
        arrays |= {f"{name}_images": images, f"{name}_labels": labels}
    with file.open("wb") as out:  # given a name, NumPy would add a suffix
        np.savez_compressed(out, **arrays)  # type: ignore[arg-type]


def main(arguments: list[str]) -> int:
    """Writes the data of a config; returns the exit code."""
    from train.command import exit_code
    from train.config import read_config
    from train.data import read_splits

    parser = argparse.ArgumentParser(
        prog="python -m train.data.arrays",
        description="Writes a data set as arrays, for machines that have neither TFDS nor Grain.",
        allow_abbrev=False,
    )
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]")
    options, overrides = parser.parse_known_args(arguments)

    def work() -> int:
        splits = read_splits(read_config(options.config, overrides))
        write_arrays(options.out, splits)
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.examples.items())
        print(f"{options.out}: {sizes}.")
        return 0

    return exit_code(work)


def _load(file: Path) -> Arrays:
    if not file.is_file():
        raise WrongInput(f"There is no file {file}: expected an .npz with your images; {SOURCE}")
    damaged = WrongInput(f"{file} is damaged, or no .npz of plain arrays: {SOURCE}")
    if not zipfile.is_zipfile(file):
        raise damaged
    try:
        with np.load(file) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged from error


def _examples(file: Path, name: str, arrays: Arrays) -> InMemory:
    images = arrays[f"{name}_images"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise WrongInput(
            f"{file}: {name}_images are {images.dtype} of shape {images.shape}, expected uint8"
            " [n, H, W, C] with 1 or 3 channels."
        )
    labels = arrays.get(f"{name}_labels")
    if labels is None or labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        told = "not there" if labels is None else f"{labels.dtype} of shape {labels.shape}"
        raise WrongInput(
            f"{file}: {name}_labels are {told}, expected a whole number for each of"
            f" {len(images)} images."
        )
    if not len(labels):
        raise WrongInput(f"{file} has no {name} images: leave the split out, or add some.")
    return InMemory(images, labels.astype(np.int32))


def _class_names(file: Path, examples: Mapping[str, InMemory], arrays: Arrays) -> tuple[str, ...]:
    largest = max(int(split.labels.max()) for split in examples.values())
    names = tuple(map(str, arrays.get("class_names", range(largest + 1))))
    least = min(int(split.labels.min()) for split in examples.values())
    if least < 0 or largest >= len(names):
        wrong = least if least < 0 else largest
        raise WrongInput(
            f"{file} has a label {wrong}, expected labels from 0 to {len(names) - 1}, one for each"
            " class."
        )
    return names


def _contents(split: InMemory) -> Contents:
    found = Contents(split.images.shape[-1])
    for number, (pixels, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
        found.add(number, pixels, label)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
