"""ImageNet as a TFDS builder: squares in shards, of which each is written once and stays.

An interrupted preparation goes on at the shard where it stopped. TFDS' own builders start over, and
sort all examples on disk, for which a run that draws them by number has no use.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder
from tensorflow_datasets.core.file_adapters import ADAPTER_FOR_FORMAT

from train.data.divide import stratified
from train.data.imagenet_files import Kit, class_photos, find, read_kit, validation_photos
from train.data.images import Contents
from train.data.squares import Photo, example, in_threads, reader, skip, square_features
from train.errors import WrongInput

Photos = Callable[[], Iterable[Photo]]
Note = dict[str, Any]

NOTE = ".note"  # after a shard's name: what it holds
LOCK = "lock"
SHARD = 1000  # images of the test split in a shard; training images have one for every class
CLASSES = 1000


@dataclass(frozen=True)
class Plan:
    """Where the archives are, and how they are stored.

    Attributes:
      source: the folder of the archives.
      sizes: pixels, the side of the squares, by split: "train", "validation" if `fraction`, "test".
      fraction: of the training images, taken for validation.
      seed: which ones these are.
      skip_unreadable: leave out what cannot be read instead of refusing all.
      classes: 1,000.
    """

    source: Path
    sizes: dict[str, int]
    fraction: float
    seed: int
    skip_unreadable: bool
    classes: int = CLASSES

    def key(self) -> str:
        """Another one for what is stored in another way. Not for another source: all are alike."""
        sizes = "-".join(f"{split}-{size}" for split, size in self.sizes.items())
        return f"{sizes}-validation-{self.fraction}-seed-{self.seed}"


class ImageNet(FileReaderBuilder):
    """Images of ImageNet: "image" uint8 [S, S, 3], "label", "file", its place in the archives."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Squares of one size."}  # noqa: RUF012

    def __init__(self, plan: Plan, **options: Any):
        self.plan = plan  # first: the base class asks for the features
        super().__init__(**options)

    def __getstate__(self) -> dict[str, Any]:  # of the base class, with the plan: for workers
        return super().__getstate__() | {"plan": self.plan}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ImageNet.__init__(self, state["plan"], **state["_original_state"])

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="ImageNet, ILSVRC 2012.",
            homepage="https://image-net.org/",
            features=square_features(
                tfds.features.ClassLabel(num_classes=self.plan.classes), channels=3
            ),
            supervised_keys=("image", "label"),
            # Of the training images' values, scaled to 0..1, what each split holds, and a sentence
            # for each file left out; filled in when the data are prepared.
            metadata=tfds.core.MetadataDict({"mean": [], "std": [], "digest": {}, "skipped": []}),
        )

    def image_shape(self, split: str) -> tuple[int, int, int]:
        size = self.plan.sizes[split]
        return size, size, 3

    def _download_and_prepare(self, dl_manager, download_config=None):
        raise NotImplementedError("What it would do is done by `download_and_prepare`.")

    def download_and_prepare(self) -> None:
        """Writes what is not there yet, beside the place where it belongs until all is there."""
        if self.data_path.exists():
            return
        unfinished = Path(f"{self.data_dir}.unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        with _alone(unfinished):
            if not self.data_path.exists():  # another process may have been first
                self._write(unfinished)
                (unfinished / LOCK).unlink()
                unfinished.rename(self.data_dir)
        self.info.read_from_directory(self.data_dir)

    def _write(self, folder: Path) -> None:
        from tqdm import tqdm

        find(self.plan.source)
        kit = read_kit(self.plan.source)
        if len(kit.wnids) != self.plan.classes:
            raise WrongInput(
                f"The development kit in {self.plan.source} names {len(kit.wnids):,} classes,"
                f" expected {self.plan.classes:,}."
            )
        self.info.features["label"].names = list(kit.names)
        work = [
            (split, shards, i)
            for split, shards in _shards(self.plan, kit).items()
            for i in range(len(shards))
        ]
        notes: dict[str, list[Note]] = {split: [] for split in self.plan.sizes}
        for split, shards, i in tqdm(work, "Preparing ImageNet", unit=" shards", disable=None):
            file = folder / f"{self.name}-{split}.array_record-{i:05}-of-{len(shards):05}"
            notes[split].append(self._written(file, split, shards[i]))
        self._describe(folder, notes)
        for note in folder.glob(f"*{NOTE}"):
            note.unlink()

    def _written(self, file: Path, split: str, photos: Photos) -> Note:
        """What a shard holds, which is written unless it is there: its note comes last."""
        note = Path(f"{file}{NOTE}")
        if note.exists():
            return json.loads(note.read_text())
        contents, skipped = Contents(), []
        read = reader(self.plan.sizes[split], 3, lossy=split == "train")

        def examples() -> Iterator[tuple[str, bytes]]:
            for photo, square in in_threads(read, photos()):
                if isinstance(square, Exception):
                    skipped.append(skip(square, self.plan.skip_unreadable))
                    continue
                contents.add(photo.place, square.pixels, photo.label)
                yield photo.place, self.info.features.serialize_example(example(photo, square))

        ADAPTER_FOR_FORMAT[tfds.core.FileFormat.ARRAY_RECORD].write_examples(file, examples())
        done = {"contents": contents.summary(), "skipped": skipped, "bytes": file.stat().st_size}
        beside = Path(f"{note}.tmp")
        beside.write_text(json.dumps(done))
        beside.rename(note)
        return done

    def _describe(self, folder: Path, notes: dict[str, list[Note]]) -> None:
        """TFDS' own files, by which it finds the shards."""
        metadata, infos = self.info.metadata, []
        for split, parts in notes.items():
            contents = Contents()
            for part in parts:
                contents.add_all(part["contents"])
            metadata["digest"] = {**metadata["digest"], split: contents.digest()}
            metadata["skipped"] = [*metadata["skipped"], *(s for p in parts for s in p["skipped"])]
            if split == "train":
                metadata["mean"], metadata["std"] = contents.mean_and_std()
            lengths = [part["contents"]["count"] for part in parts]
            size = sum(part["bytes"] for part in parts)
            infos.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size))
        self.info.set_splits(tfds.core.SplitDict(infos))
        self.info.write_to_directory(folder)


def _shards(plan: Plan, kit: Kit) -> dict[str, list[Photos]]:
    """The photos of every shard, by split."""
    labels, count = range(len(kit.wnids)), len(kit.validation)
    shards: dict[str, list[Photos]] = {
        "train": [partial(_class_photos, plan, kit, label, False) for label in labels],
        "test": [
            partial(validation_photos, plan.source, kit, start, min(start + SHARD, count))
            for start in range(0, count, SHARD)
        ],
    }
    if plan.fraction:
        shards["validation"] = [partial(_class_photos, plan, kit, i, True) for i in labels]
    return shards


def _class_photos(plan: Plan, kit: Kit, label: int, validation: bool) -> Iterator[Photo]:
    """Those of a class that are for validation, or those that are not."""
    chosen = np.zeros(kit.sizes[label], bool)
    if plan.fraction:
        chosen = stratified(np.full(kit.sizes[label], label), plan.fraction, (plan.seed, label))
    for i, photo in enumerate(class_photos(plan.source, kit, label)):
        if i >= len(chosen) or chosen[i] == validation:  # too many are refused at their end
            yield photo


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process prepares the same."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
