"""A person's own folder of images: which of them are stored as squares, and how."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from train.data.layout import Files, Shares, find_splits
from train.data.squares import Photo, Plan, square_sizes


def make_plan(data: Any) -> Plan:
    """What `config.data` asks for: folder, image_size, stored_size, ...

    Raises:
      WrongInput: the folder is not as it should be, see `find_splits`.
    """
    root = Path(data.folder).expanduser().absolute()
    splits = find_splits(
        root, Shares(data.validation_fraction, data.test_fraction, data.split_seed)
    )
    sizes = square_sizes(splits, data)
    return Plan(
        key=_key(root, splits, sizes, data.skip_unreadable),
        description=f"The images of {root}.",
        class_names=tuple(splits["train"]),
        sizes=sizes,
        photos=partial(_photos, root, splits),
        channels=3,
        skip_unreadable=data.skip_unreadable,
    )


def _photos(root: Path, splits: dict[str, Files], split: str) -> Iterator[Photo]:
    """Each is named by its place in the folder."""
    for label, files in enumerate(splits[split].values()):
        for file in files:
            yield Photo(file.relative_to(root).as_posix(), label, file)


def _key(root: Path, splits: dict[str, Files], *options: Any) -> str:
    digest = hashlib.sha256(repr(options).encode())
    for split, classes in splits.items():
        for name, files in classes.items():
            for file in files:
                place, stat = str(file.relative_to(root)), file.stat()
                entry = (split, name, place, stat.st_size, stat.st_mtime_ns)
                digest.update(repr(entry).encode())
    return digest.hexdigest()[:16]
