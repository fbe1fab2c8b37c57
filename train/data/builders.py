"""Data sets that are TFDS builders: prepared once as files, read example by example."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from train.data.example import raw_source
from train.data.names import CATALOGUE, source_of
from train.data.pipeline import Examples, InMemory, Records
from train.data.splits import Splits


def read_builder(name: str, directory: Path, data: Any) -> Splits:
    """The splits of a data set, prepared below the directory if they were not.

    Args:
      name: of `BUILDERS`, or that of one of TFDS' own: "tfds:oxford_flowers102".
      data: `config.data`.

    Raises:
      WrongInput: the data set's refusals.
    """
    make = _catalogue if name.startswith(CATALOGUE) else BUILDERS[name]
    builder = make(directory, data)
    _prepare(builder)
    info, metadata = builder.info, builder.info.metadata
    return Splits(
        examples={name: _examples(builder, name, data.in_memory) for name in info.splits},
        class_names=tuple(info.features["label"].names),
        image_shape=_image_shape(builder, "validation" if "validation" in info.splits else "test"),
        mean=tuple(metadata["mean"]),
        std=tuple(metadata["std"]),
        digest=metadata.get("digest"),
        skipped=tuple(metadata.get("skipped") or ()),
    )


def _digits(directory: Path, data: Any) -> Any:
    from train.data.digits import Digits

    return Digits(data_dir=directory, file_format="array_record")


def _folder(directory: Path, data: Any) -> Any:
    from train.data.folder import make_plan
    from train.data.squares import Squares

    plan = make_plan(data)
    return Squares(plan, data_dir=directory / "folders" / plan.key, file_format="array_record")


def _catalogue(directory: Path, data: Any) -> Any:
    from train.data.catalogue import make_plan
    from train.data.squares import Squares

    plan = make_plan(directory, data.name.removeprefix(CATALOGUE), data)
    return Squares(plan, data_dir=directory / "catalogue" / plan.key, file_format="array_record")


def _cifar(directory: Path, data: Any) -> Any:
    from train.data.cifar import Cifar, Plan
    from train.data.cifar_files import OFFICIAL

    source = source_of(directory, data)
    plan = Plan(OFFICIAL[data.name], source, data.validation_fraction, data.split_seed)
    return Cifar(plan, data_dir=directory / "cifar" / plan.key(), file_format="array_record")


def _imagenet(directory: Path, data: Any) -> Any:
    from train.data.imagenet import ImageNet, Plan
    from train.data.squares import square_sizes

    splits = ("train", "validation", "test") if data.validation_fraction else ("train", "test")
    plan = Plan(
        source=source_of(directory, data),
        sizes=square_sizes(splits, data),
        fraction=data.validation_fraction,
        seed=data.split_seed,
        skip_unreadable=data.skip_unreadable,
    )
    return ImageNet(plan, data_dir=directory / "imagenet" / plan.key(), file_format="array_record")


# By config.data.name: from a directory and config.data to a TFDS builder that has "mean" and "std"
# as metadata.
BUILDERS: dict[str, Callable[[Path, Any], Any]] = {
    "cifar10": _cifar,
    "cifar100": _cifar,
    "digits": _digits,
    "folder": _folder,
    "imagenet": _imagenet,
}


def _prepare(builder: Any) -> None:
    """Writes the data set unless it is there. TFDS writes beside the directory, then renames."""
    if builder.data_path.exists():
        return
    print(f"Preparing {builder.info.full_name} in {builder.data_path}")
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(
            io.StringIO()
        ):  # it announces downloads that it doesn't make
            builder.download_and_prepare()
    except OSError:
        if not builder.data_path.exists():
            raise
        # Another process was first; what it has written is what we would have written.
        builder.info.read_from_directory(builder.data_dir)


def _image_shape(builder: Any, split: str) -> tuple[int, int, int]:
    """That of all images of the data set, or else of a split's."""
    shape = builder.info.features["image"].shape
    return builder.image_shape(split) if None in shape else shape


def _examples(builder: Any, split: str, in_memory: bool) -> Examples:
    records = Records(raw_source(builder, split), _image_shape(builder, split))
    if not in_memory:
        return records
    return InMemory(*records.gather(np.arange(len(records))))
