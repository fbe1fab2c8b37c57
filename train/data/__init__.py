"""Data for training: `make_data(config)` gives batches, sizes, class names, mean and deviation."""

import contextlib
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.data.example import raw_source
from train.data.pipeline import (
    Batch,
    EvaluationBatches,
    Examples,
    InMemory,
    Records,
    TrainingBatches,
    read,
)
from train.errors import WrongInput, unknown

__all__ = ["Data", "make_data"]

CHECKOUT = Path(__file__).parents[2]
TOLD = 5  # unreadable files that are named


@dataclass(frozen=True, eq=False)
class Data:
    """Three splits of a data set, ready to be read by one of `process_count` processes.

    Attributes:
      image_shape: (H, W, C) of what a model sees; training images may be larger, for random crops.
      mean, std: of the training images, or of those that initial weights were trained with, per
        channel, of values scaled to 0..1.
      train_size, validation_size, test_size: examples, over all processes.
      steps_per_epoch: the whole number of batches that is nearest to an epoch (batches run across
        the borders of epochs, so an epoch need not be one).
      fingerprint: of all images and labels, by which a run knows its data again.
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    training_batches: TrainingBatches
    validation_batches: EvaluationBatches
    test_batches: EvaluationBatches
    fingerprint: str
    in_memory: bool
    workers: int

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def train_size(self) -> int:
        return len(self.training_batches.examples)

    @property
    def validation_size(self) -> int:
        return len(self.validation_batches.examples)

    @property
    def test_size(self) -> int:
        return len(self.test_batches.examples)

    @property
    def steps_per_epoch(self) -> int:
        return max(1, round(self.train_size / self.training_batches.batch_size))

    def train(self, start: int = 0) -> Generator[tuple[int, Batch], None, None]:
        """Yields (k, batch k) for k = start, start + 1, ... without end.

        A batch is {"image": uint8 [b, H', W', C], "label": int32 [b], "position": int32 [b]}, this
        process's slice of the global batch; `position` counts inside the global one. Close the
        generator when done (contextlib.closing) to end its threads and processes at once.
        """
        ahead = not self.in_memory
        reading = read(self.training_batches, start, ahead=ahead, workers=self.workers)
        with contextlib.closing(reading) as batches:
            yield from zip(itertools.count(start), batches, strict=False)

    def validation(self) -> Generator[Batch, None, None]:
        """Yields {"image", "label", "mask"}: each example once over all processes, then padding."""
        return read(self.validation_batches, 0, ahead=not self.in_memory)

    def test(self) -> Generator[Batch, None, None]:
        """As `validation`, of the test split."""
        return read(self.test_batches, 0, ahead=not self.in_memory)


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

    source = _source(directory, data)
    plan = Plan(OFFICIAL[data.name], source, data.validation_fraction, data.split_seed)
    return Cifar(plan, data_dir=directory / "cifar" / plan.key(), file_format="array_record")


def _imagenet(directory: Path, data: Any) -> Any:
    from train.data.imagenet import ImageNet, Plan
    from train.data.squares import square_sizes

    splits = ("train", "validation", "test") if data.validation_fraction else ("train", "test")
    plan = Plan(
        source=_source(directory, data),
        sizes=square_sizes(splits, data),
        fraction=data.validation_fraction,
        seed=data.split_seed,
        skip_unreadable=data.skip_unreadable,
    )
    return ImageNet(plan, data_dir=directory / "imagenet" / plan.key(), file_format="array_record")


def _source(directory: Path, data: Any) -> Path:
    """Where archives are, which nobody downloads for a person."""
    return Path(data.source).expanduser().absolute() if data.source else directory / "downloads"


CATALOGUE = "tfds:"  # before the name of a data set that TFDS has prepared

# By config.data.name: from a directory and config.data to a TFDS builder that has "mean" and "std"
# as metadata.
BUILDERS: dict[str, Callable[[Path, Any], Any]] = {
    "cifar10": _cifar,
    "cifar100": _cifar,
    "digits": _digits,
    "folder": _folder,
    "imagenet": _imagenet,
}


def find_builder(name: str) -> Callable[[Path, Any], Any]:
    """One of `BUILDERS`, or that of TFDS' own data sets: "tfds:oxford_flowers102".

    Raises:
      WrongInput: an unknown name.
    """
    if name.startswith(CATALOGUE):
        return _catalogue
    if name not in BUILDERS:
        raise WrongInput(unknown("data set", name, [*BUILDERS, f"{CATALOGUE}<name>"]))
    return BUILDERS[name]


def make_data(config: Any, process_index: int = 0, process_count: int = 1) -> Data:
    """The data that a config asks for, prepared on the first call and reused after.

    Args:
      config: has `seed`, `data` (`name`, `dir`: relative to the checkout or absolute, `batch_size`,
        `in_memory`, `workers`, and what the data set itself asks for), `evaluation.batch_size` and
        `model`. Batch sizes are global.
      process_index, process_count: which slice of each batch is read here.

    Raises:
      WrongInput: an unknown name; the data set's refusals.
      ValueError: a batch that cannot be cut into one slice per process.
    """
    directory = CHECKOUT / Path(config.data.dir).expanduser()
    builder = find_builder(config.data.name)(directory, config.data)
    _prepare(builder)
    if process_index == 0:
        print("".join(f"{remark}\n" for remark in _remarks(builder)), end="")
    splits = {name: _examples(builder, name, config.data.in_memory) for name in builder.info.splits}
    validation = "validation" if "validation" in splits else "test"
    test = "test" if "test" in splits else "validation"  # what both mean is said by `_remarks`
    image_shape = _image_shape(builder, validation)
    mean, std = _normalisation(config, builder, image_shape[-1])
    share = {"process_index": process_index, "process_count": process_count}
    return Data(
        class_names=tuple(builder.info.features["label"].names),
        image_shape=image_shape,
        mean=mean,
        std=std,
        training_batches=TrainingBatches(
            splits["train"],
            config.data.batch_size,
            seed=config.seed,
            repeats=config.data.repeats,
            **share,
        ),
        validation_batches=EvaluationBatches(
            splits[validation], config.evaluation.batch_size, **share
        ),
        test_batches=EvaluationBatches(splits[test], config.evaluation.batch_size, **share),
        fingerprint=_fingerprint(builder),
        in_memory=config.data.in_memory,
        workers=config.data.workers,
    )


def _remarks(builder: Any) -> Iterator[str]:
    """What a person should know of a data set before reading results."""
    if skipped := builder.info.metadata.get("skipped"):
        yield f"{len(skipped)} unreadable images are left out:"
        yield from (f"  {sentence}" for sentence in skipped[:TOLD])
        if len(skipped) > TOLD:
            yield f"  and {len(skipped) - TOLD} more."
    if "test" not in builder.info.splits:
        yield (
            "There are no test images: what is reported as test is of the validation images, by"
            " which the weights are chosen."
        )
    if "validation" not in builder.info.splits:
        yield (
            "There are no validation images: weights are chosen by the test images, and what is"
            " reported as test is of them too."
        )


def _fingerprint(builder: Any) -> str:
    """Another one for other images, labels or splits, wherever they lie and whenever they came."""
    info = builder.info
    sizes = {name: split.num_examples for name, split in sorted(info.splits.items())}
    labels, digest = info.features["label"].names, info.metadata.get("digest")
    contents = json.dumps([sizes, labels, digest], sort_keys=True)
    return hashlib.sha256(contents.encode()).hexdigest()[:16]


def _normalisation(
    config: Any, builder: Any, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation: those that initial weights were trained with, else the data's own."""
    if not config.model.init_from:
        return tuple(builder.info.metadata["mean"]), tuple(builder.info.metadata["std"])
    from senet_jax import preprocess_for

    usual = preprocess_for(config.model.init_from, config.model.name, in_chans=channels)
    return usual.mean, usual.std


def _prepare(builder: Any) -> None:
    """Writes the data set unless it is there. TFDS writes beside the directory, then renames."""
    import tensorflow_datasets as tfds

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
    import numpy as np

    return InMemory(*records.gather(np.arange(len(records))))
