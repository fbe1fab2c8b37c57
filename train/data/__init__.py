"""Data for training: `make_data(config)` gives batches, sizes, class names, mean and deviation."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.data.names import ARRAYS, BUILT, CATALOGUE, source_of
from train.data.pipeline import Batch, EvaluationBatches, TrainingBatches, read
from train.data.splits import Splits
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
    splits = read_splits(config)
    if process_index == 0:
        print("".join(f"{remark}\n" for remark in _remarks(splits)), end="")
    mean, std = _normalisation(config, splits)
    share = {"process_index": process_index, "process_count": process_count}
    there = splits.examples
    # what one split for both means is said by `_remarks`
    validation = there["validation" if "validation" in there else "test"]
    test = there["test" if "test" in there else "validation"]
    return Data(
        class_names=splits.class_names,
        image_shape=splits.image_shape,
        mean=mean,
        std=std,
        training_batches=TrainingBatches(
            there["train"],
            config.data.batch_size,
            seed=config.seed,
            repeats=config.data.repeats,
            **share,
        ),
        validation_batches=EvaluationBatches(validation, config.evaluation.batch_size, **share),
        test_batches=EvaluationBatches(test, config.evaluation.batch_size, **share),
        fingerprint=_fingerprint(splits),
        in_memory=config.data.in_memory or config.data.name == ARRAYS,
        workers=config.data.workers,
    )


def read_splits(config: Any) -> Splits:
    """The splits of the data that a config asks for, prepared if they were not.

    Raises:
      WrongInput: an unknown name; the data set's refusals.
    """
    directory = CHECKOUT / Path(config.data.dir).expanduser()
    check_name(config.data.name)
    if config.data.name == ARRAYS:
        from train.data.arrays import read_arrays

        return read_arrays(source_of(directory, config.data))
    from train.data.builders import read_builder

    return read_builder(config.data.name, directory, config.data)


def check_name(name: str) -> None:
    """Raises `WrongInput` if there is no data set of that name."""
    if name not in (ARRAYS, *BUILT) and not name.startswith(CATALOGUE):
        raise WrongInput(unknown("data set", name, [ARRAYS, *BUILT, f"{CATALOGUE}<name>"]))


def _remarks(splits: Splits) -> Iterator[str]:
    """What a person should know of a data set before reading results."""
    if skipped := splits.skipped:
        yield f"{len(skipped)} unreadable images are left out:"
        yield from (f"  {sentence}" for sentence in skipped[:TOLD])
        if len(skipped) > TOLD:
            yield f"  and {len(skipped) - TOLD} more."
    if "test" not in splits.examples:
        yield (
            "There are no test images: what is reported as test is of the validation images, by"
            " which the weights are chosen."
        )
    if "validation" not in splits.examples:
        yield (
            "There are no validation images: weights are chosen by the test images, and what is"
            " reported as test is of them too."
        )


def _fingerprint(splits: Splits) -> str:
    """Another one for other images, labels or splits, wherever they lie and whenever they came."""
    sizes = {name: len(split) for name, split in sorted(splits.examples.items())}
    contents = json.dumps([sizes, splits.class_names, splits.digest], sort_keys=True)
    return hashlib.sha256(contents.encode()).hexdigest()[:16]


def _normalisation(config: Any, splits: Splits) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation: those that initial weights were trained with, else the data's own."""
    if not config.model.init_from:
        return splits.mean, splits.std
    from senet_jax import preprocess_for

    usual = preprocess_for(
        config.model.init_from, config.model.name, in_chans=splits.image_shape[-1]
    )
    return usual.mean, usual.std
