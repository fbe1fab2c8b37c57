"""CIFAR-10 and CIFAR-100 as their authors give them out: archives of pickles or of plain bytes.

Both versions hold the same images, 32x32 in three planes (https://www.cs.toronto.edu/~kriz/cifar.html).
Pickles are read without running anything that they ask for: NumPy's arrays, and nothing else.
"""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from train.errors import WrongInput

ADDRESS = "https://www.cs.toronto.edu/~kriz/"
PIXELS = 3 * 32 * 32

Examples = tuple[np.ndarray, np.ndarray]  # images uint8 [n, 32, 32, 3], labels int64 [n]


class Damaged(ValueError):
    """A file is not what its name promises; the message says why."""


@dataclass(frozen=True)
class Version:
    """One of the forms in which a data set is given out.

    Attributes:
      archive, md5: the archive's name and checksum.
      folder: what it unpacks to.
      splits: the files of "train" and "test".
      names: the file of the classes' names.
      read, read_names: from the bytes of such files.
    """

    archive: str
    md5: str
    folder: str
    splits: dict[str, tuple[str, ...]]
    names: str
    read: Callable[[bytes], Examples]
    read_names: Callable[[bytes], list[str]]


@dataclass(frozen=True)
class Official:
    """What is known of a data set: classes, images by split, and the versions to find it in."""

    classes: int
    sizes: dict[str, int]
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class Cifar:
    """A data set as read: images uint8 [n, 32, 32, 3] and labels int64 [n] by split."""

    splits: dict[str, Examples]
    class_names: list[str]


def load(official: Official, source: Path) -> Cifar:
    """Reads and checks a data set.

    Args:
      source: an archive, the folder that it unpacks to, or a folder that has one of them.

    Raises:
      WrongInput: nothing is there, or it is not the whole data set.
    """
    version, place = _find(official, source)
    files = _files(version, place)
    splits = {split: _split(official, version, split, files, place) for split in version.splits}
    names = _understood(place / version.names, version.read_names, files[version.names])
    if len(names) != official.classes:
        raise WrongInput(
            f"{place / version.names} names {len(names)} classes, expected {official.classes}."
        )
    return Cifar(splits, names)


def _find(official: Official, source: Path) -> tuple[Version, Path]:
    """The version that is there, and its archive or unpacked folder."""
    for version in official.versions:
        for place in (source / version.folder, source / version.archive, source):
            if place.is_dir() and (place / version.names).is_file():
                return version, place
            if place.is_file() and place.name == version.archive:
                return version, place
    archives = " or ".join(version.archive for version in official.versions)
    if source.is_file():
        raise WrongInput(f"{source} is none of the official archives, expected {archives}.")
    raise WrongInput(
        f"There is no {archives} in {source}, nor what they unpack to. Download one of them from"
        f" {ADDRESS} and put it there, or say where it is (--config.data.source=/path/to/it)."
    )


def _files(version: Version, place: Path) -> dict[str, bytes]:
    """The contents of the version's files, by name."""
    wanted = {version.names, *(name for names in version.splits.values() for name in names)}
    if place.is_dir():
        found = {name: (place / name).read_bytes() for name in wanted if (place / name).is_file()}
    else:
        found = dict(_members(version, place, wanted))
    if missing := sorted(wanted - found.keys()):
        raise WrongInput(
            f"{place} has no file {missing[0]}: unpack {version.archive} again, or give the archive"
            " itself as config.data.source."
        )
    return found


def _members(version: Version, archive: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with archive.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != version.md5:
        raise WrongInput(
            f"{archive} is damaged or not the official one: its MD5 is {md5}, expected"
            f" {version.md5}. Download it again from {ADDRESS}{version.archive}."
        )
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            if name in wanted and (content := tar.extractfile(member)):
                yield name, content.read()


def _split(
    official: Official, version: Version, split: str, files: dict[str, bytes], place: Path
) -> Examples:
    parts = [_understood(place / name, version.read, files[name]) for name in version.splits[split]]
    for name, (_, labels) in zip(version.splits[split], parts, strict=True):
        if outside := labels[(labels < 0) | (labels >= official.classes)].tolist():
            raise WrongInput(
                f"{place / name} has an image with the label {outside[0]}, expected 0 to"
                f" {official.classes - 1}."
            )
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if len(labels) != official.sizes[split]:
        raise WrongInput(
            f"{place} has {len(labels):,} images in {', '.join(version.splits[split])}, expected"
            f" {official.sizes[split]:,}: download it again from {ADDRESS}{version.archive}."
        )
    return images, labels


def _understood(file: Path, read: Callable[[bytes], Any], content: bytes) -> Any:
    try:
        return read(content)
    except Damaged as error:
        raise WrongInput(f"{file} cannot be read: {error}. Unpack or download it again.") from error


class _Arrays(pickle.Unpickler):
    """Allows lists, dicts, numbers, text and NumPy arrays. A pickle could else run any program."""

    allowed = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise Damaged(f"it asks for {module}.{name}, which no archive of CIFAR does")
        return self.allowed[module, name]


def _unpickled(content: bytes) -> dict[bytes, Any]:
    """What Python 2 has written; text stays bytes."""
    try:
        result = _Arrays(io.BytesIO(content), encoding="bytes").load()
    except Damaged:
        raise
    except Exception as error:  # damaged pickles raise nearly anything
        raise Damaged(f"it is no whole pickle ({type(error).__name__}: {error})") from error
    if not isinstance(result, dict):
        raise Damaged(f"it holds a {type(result).__name__}, expected a dict")
    return result


def _read_pickle(content: bytes, labels: bytes) -> Examples:
    batch = _unpickled(content)
    if missing := [key.decode() for key in (b"data", labels) if key not in batch]:
        raise Damaged(f"it has no {missing[0]!r}")
    planes, numbers = np.asarray(batch[b"data"]), np.asarray(batch[labels], np.int64)
    if planes.dtype != np.uint8 or planes.shape != (len(numbers), PIXELS):
        raise Damaged(
            f"its data are {planes.dtype}{list(planes.shape)}, expected uint8"
            f"{[len(numbers), PIXELS]}"
        )
    return _channels_last(planes), numbers


def _read_pickled_names(content: bytes, key: bytes) -> list[str]:
    names = _unpickled(content).get(key)
    if not isinstance(names, list):
        raise Damaged(f"it has no list {key.decode()!r}")
    return [name.decode() for name in names]


def _read_binary(content: bytes, labels: int) -> Examples:
    """Records of `labels` bytes, of which the last counts, and an image."""
    size = labels + PIXELS
    if len(content) % size:
        raise Damaged(f"its {len(content):,} bytes are no whole number of images of {size:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return _channels_last(records[:, labels:]), records[:, labels - 1].astype(np.int64)


def _read_lines(content: bytes) -> list[str]:
    return content.decode().split()


def _channels_last(planes: np.ndarray) -> np.ndarray:
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))

CIFAR10 = Official(
    classes=10,
    sizes={"train": 50_000, "test": 10_000},
    versions=(
        Version(
            archive="cifar-10-python.tar.gz",
            md5="c58f30108f718f92721af3b95e74349a",
            folder="cifar-10-batches-py",
            splits={"train": _BATCHES, "test": ("test_batch",)},
            names="batches.meta",
            read=partial(_read_pickle, labels=b"labels"),
            read_names=partial(_read_pickled_names, key=b"label_names"),
        ),
        Version(
            archive="cifar-10-binary.tar.gz",
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            folder="cifar-10-batches-bin",
            splits={"train": tuple(f"{b}.bin" for b in _BATCHES), "test": ("test_batch.bin",)},
            names="batches.meta.txt",
            read=partial(_read_binary, labels=1),
            read_names=_read_lines,
        ),
    ),
)

CIFAR100 = Official(
    classes=100,
    sizes={"train": 50_000, "test": 10_000},
    versions=(
        Version(
            archive="cifar-100-python.tar.gz",
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            folder="cifar-100-python",
            splits={"train": ("train",), "test": ("test",)},
            names="meta",
            read=partial(_read_pickle, labels=b"fine_labels"),
            read_names=partial(_read_pickled_names, key=b"fine_label_names"),
        ),
        Version(
            archive="cifar-100-binary.tar.gz",
            md5="03b5dce01913d631647c71ecec9e9cb8",
            folder="cifar-100-binary",
            splits={"train": ("train.bin",), "test": ("test.bin",)},
            names="fine_label_names.txt",
            read=partial(_read_binary, labels=2),  # the coarse one, the fine one
            read_names=_read_lines,
        ),
    ),
)

OFFICIAL = {"cifar10": CIFAR10, "cifar100": CIFAR100}
