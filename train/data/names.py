"""Names of data sets: what --config.data.name may be."""

from pathlib import Path
from typing import Any

ARRAYS = "arrays"  # in a file of a person's own, or written by train.data.arrays
BUILT = ("cifar10", "cifar100", "digits", "folder", "imagenet")  # see train.data.builders
CATALOGUE = "tfds:"  # before the name of a data set that TFDS has prepared


def source_of(directory: Path, data: Any) -> Path:
    """Where archives are, which nobody downloads for a person."""
    return Path(data.source).expanduser().absolute() if data.source else directory / "downloads"
