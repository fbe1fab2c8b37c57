"""Data sets of TFDS' own catalogue, which TFDS has prepared before: `tfds:oxford_flowers102`.

TensorFlow is needed to prepare most of them, not to read them: ArrayRecord and Parquet are read by
TFDS, TFRecord by ourselves.
"""

import hashlib
import importlib.util
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from train.data.divide import stratified
from train.data.example import image_and_label, raw_source
from train.data.squares import Photo, Plan, square_sizes
from train.data.tfrecord import records
from train.errors import WrongInput

NAMES = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}


def make_plan(directory: Path, name: str, data: Any) -> Plan:
    """What `config.data` asks for of the data set `name`, prepared below `directory`.

    Raises:
      WrongInput: it is not prepared there, or is not of images with one label each.
    """
    builder = _prepared(directory, name)
    _check_features(builder)
    splits = _splits(builder, name)
    validation = None  # or which of the training images these are: bool [n]
    if "validation" not in splits and data.validation_fraction:
        labels = np.array(
            [image_and_label(record)[1] for record in _records(builder, splits["train"])]
        )
        validation = stratified(labels, data.validation_fraction, data.split_seed)
        splits["validation"] = splits["train"]
    if splits.keys() == {"train"}:
        raise WrongInput(
            f"{name} has training images only, and config.data.validation_fraction is 0: nothing"
            " would be evaluated. Give a fraction of them (--config.data.validation_fraction=0.1)."
        )
    sizes = square_sizes(splits, data)
    return Plan(
        key=_key(builder, validation, splits, sizes, data.skip_unreadable),
        description=f"The images of {builder.info.full_name}.",
        class_names=tuple(builder.info.features["label"].names),
        sizes=sizes,
        photos=partial(_photos, builder, splits, validation),
        channels=1 if builder.info.features["image"].shape[-1] == 1 else 3,
        skip_unreadable=data.skip_unreadable,
    )


def _photos(
    builder: Any, splits: dict[str, str], validation: np.ndarray | None, split: str
) -> Iterator[Photo]:
    """As they are stored; each is named by its split there and its number."""
    own, count = splits[split], builder.info.features["label"].num_classes
    for i, record in enumerate(_records(builder, own)):
        place, (image, label) = f"{own}/{i}", image_and_label(record)
        if not 0 <= label < count:
            raise WrongInput(
                f"{place} of {builder.info.full_name} has the label {label}, expected 0 to"
                f" {count - 1}: prepare that data set again."
            )
        if validation is None or own != "train" or validation[i] == (split == "validation"):
            yield Photo(place, label, image)


def _key(builder: Any, validation: np.ndarray | None, *options: Any) -> str:
    digest = hashlib.sha256(repr((builder.info.full_name, options)).encode())
    digest.update(b"" if validation is None else validation.tobytes())
    for file in sorted(Path(builder.data_path).iterdir()):
        stat = file.stat()
        digest.update(repr((file.name, stat.st_size, stat.st_mtime_ns)).encode())
    return digest.hexdigest()[:16]


def _prepared(directory: Path, name: str) -> Any:
    try:
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=directory)
    except tfds.core.DatasetNotFoundError:
        missing = importlib.util.find_spec("tensorflow") is None
        hint = ", which is not installed here (pip install tensorflow)" if missing else ""
        raise WrongInput(
            f"There is no data set {name} in {directory}. Prepare it once, here or on another"
            f" machine; that needs TensorFlow{hint}: python -c 'import tensorflow_datasets as tfds;"
            f' tfds.builder("{name}", data_dir="{directory}",'
            ' file_format="array_record").download_and_prepare()\''
        ) from None


def _check_features(builder: Any) -> None:
    features = builder.info.features
    wanted = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    for key, kind in wanted.items():
        if key not in features or not isinstance(features[key], kind):
            raise WrongInput(
                f"{builder.info.full_name} has {', '.join(sorted(features))}, expected an image"
                " called 'image' and one class called 'label': write such images into folders and"
                " train on these (--config.data.name=folder)."
            )


def _splits(builder: Any, name: str) -> dict[str, str]:
    """Those that are there and have labels: TFDS gives -1 to the images of a secret test."""
    there = builder.info.splits
    found = {
        split: own
        for split, names in NAMES.items()
        for own in itertools.islice((own for own in names if own in there), 1)
        if split == "train" or image_and_label(next(iter(_records(builder, own))))[1] != -1
    }
    if "train" not in found:
        raise WrongInput(f"{name} has the splits {', '.join(there)}, expected one called 'train'.")
    return found


def _records(builder: Any, split: str) -> Iterator[bytes]:
    """Serialised tf.train.Example, in the order of the files."""
    info = builder.info
    if info.file_format.value != "tfrecord":
        yield from raw_source(builder, split)
        return
    count = 0
    for file in info.splits[split].filepaths:
        for record in records(Path(file)):
            count += 1
            yield record
    if count != info.splits[split].num_examples:
        raise WrongInput(
            f"{builder.data_path} has {count:,} images of the split {split}, expected"
            f" {info.splits[split].num_examples:,}: prepare the data set again."
        )
