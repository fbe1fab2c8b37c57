"""What a folder of images holds: which file is in which split and of which class.

    <folder>/train/<class>/..., <folder>/val/<class>/..., <folder>/test/<class>/...
    <folder>/<class>/...

val may be called validation or valid. Images may lie deeper than their class's folder; files that
are hidden or not named like an image are passed over.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from train.errors import WrongInput

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
)
NAMES = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
HINT = (
    "expected one sub-folder of images for every class, in the folder itself or in its sub-folders"
    " train, val and test (--config.data.folder)."
)

Files = dict[str, tuple[Path, ...]]  # by class


@dataclass(frozen=True)
class Shares:
    """How images are divided where folders do not say it.

    Attributes:
      validation: the fraction of the training images taken for validation.
      test: the fraction of all images taken for the test, where there is no folder train.
      seed: other ones for another seed. The same files always give the same splits.
    """

    validation: float
    test: float
    seed: int


def find_splits(folder: Path, shares: Shares) -> dict[str, Files]:
    """The files of "train", "validation" and, if there is one, "test", of the same classes.

    Raises:
      WrongInput: no such folder, no classes, a class without images or with too few to divide,
        splits of different classes.
    """
    if not folder.exists():
        raise WrongInput(f"There is no folder {folder}: {HINT}")
    if (folder / "train").is_dir() and _folders(folder / "train"):
        splits = {name: _classes(path) for name, path in _split_folders(folder)}
        _check_same_classes(folder, splits)
    else:  # a class may be called train, too
        splits = {"train": _classes(folder)}
        if shares.test:
            splits |= _divided(splits["train"], "test", shares.test, shares.seed)
    if "validation" not in splits:
        if not shares.validation:
            raise WrongInput(
                f"{folder} has no validation images and config.data.validation_fraction is 0:"
                " expected a sub-folder val, or a fraction of the training images."
            )
        splits |= _divided(splits["train"], "validation", shares.validation, shares.seed)
    return splits


def _split_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    for split, names in NAMES.items():
        there = [folder / name for name in names if (folder / name).exists()]
        if len(there) > 1:
            raise WrongInput(
                f"{there[0]} and {there[1]} are both there: expected one folder for {split}."
            )
        if there:
            yield split, there[0]


def _classes(folder: Path) -> Files:
    if not folder.is_dir():
        raise WrongInput(f"{folder} is a file, expected a folder: {HINT}")
    classes = {path.name: tuple(_images(path)) for path in _folders(folder)}
    if not classes:
        raise WrongInput(f"{folder} has no sub-folders, so no classes: {HINT}")
    if empty := [name for name, files in classes.items() if not files]:
        raise WrongInput(
            f"{folder / empty[0]} holds no images (files that end in"
            f" {', '.join(sorted(SUFFIXES))}): put some there, or remove the folder."
        )
    if len(classes) == 1:
        raise WrongInput(f"{folder} has one class only, {next(iter(classes))}: {HINT}")
    return classes


def _folders(folder: Path) -> list[Path]:
    paths = sorted(folder.iterdir(), key=lambda path: path.name)
    return [path for path in paths if path.is_dir() and not path.name.startswith(".")]


def _images(folder: Path) -> list[Path]:
    found = []
    for place, _, names in os.walk(folder, followlinks=True):
        found += [
            Path(place, name)
            for name in names
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return sorted(found)


def _check_same_classes(folder: Path, splits: dict[str, Files]) -> None:
    expected = splits["train"].keys()
    for name, files in splits.items():
        if differing := sorted(expected ^ files.keys()):
            where = "in train only" if differing[0] in expected else f"not in {folder / 'train'}"
            raise WrongInput(
                f"The {name} images of {folder} are of other classes than those in train:"
                f" {', '.join(differing)} differ, {differing[0]} is {where}. Expected sub-folders"
                " of the same names."
            )


def _divided(classes: Files, split: str, share: float, seed: int) -> dict[str, Files]:
    """{"train", split}: of each class its share, at least one image, drawn by the files' names."""
    kept, taken = {}, {}
    for name, files in classes.items():
        count = max(1, round(share * len(files)))
        if count >= len(files):
            raise WrongInput(
                f"{_parent(files)} has {len(files)} images left to train with, too few to take"
                f" {count} for {split}: add images, or give a smaller"
                f" --config.data.{split}_fraction."
            )
        line = sorted(files, key=lambda file: _draw(seed, split, name, file.name))
        kept[name], taken[name] = tuple(sorted(line[count:])), tuple(sorted(line[:count]))
    return {"train": kept, split: taken}


def _parent(files: tuple[Path, ...]) -> Path:
    return Path(os.path.commonpath([file.parent for file in files]))


def _draw(seed: int, *names: str) -> bytes:
    return hashlib.sha256("/".join([str(seed), *names]).encode()).digest()
