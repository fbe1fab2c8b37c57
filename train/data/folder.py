"""A person's own folder of images as a TFDS builder: read once, stored as squares of one size.

Training images are stored with some more pixels than the network takes, for random crops; those of
validation and test have just the pixels that `senet_jax.preprocess_for(workdir)` makes of a photo:
it is evaluated as it is predicted.
"""

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from train.data.images import Contents, Pixels, to_png
from train.data.layout import Files, Shares, find_splits
from train.errors import WrongInput

READ_AHEAD = 64  # images that threads may be ahead with: each is a whole photo in memory

Read = tuple[Pixels, io.BytesIO] | Exception  # a square and its file, or what is wrong


@dataclass(frozen=True)
class Plan:
    """Which images are to be stored, and how.

    Attributes:
      root: the folder.
      splits: the files by split and class.
      sizes: pixels, the side of the squares, by split.
      skip_unreadable: leave out what cannot be read instead of refusing the folder.
    """

    root: Path
    splits: dict[str, Files]
    sizes: dict[str, int]
    skip_unreadable: bool

    def key(self) -> str:
        """Another one as soon as a file comes, goes or changes, or is stored in another way."""
        digest = hashlib.sha256(repr((self.sizes, self.skip_unreadable)).encode())
        for split, classes in self.splits.items():
            for name, files in classes.items():
                for file in files:
                    place, stat = str(file.relative_to(self.root)), file.stat()
                    entry = (split, name, place, stat.st_size, stat.st_mtime_ns)
                    digest.update(repr(entry).encode())
        return digest.hexdigest()[:16]


def make_plan(data: Any) -> Plan:
    """What `config.data` asks for: folder, image_size, stored_size, ...

    Raises:
      WrongInput: the folder is not as it should be, see `find_splits`.
    """
    root = Path(data.folder).expanduser().absolute()
    splits = find_splits(
        root, Shares(data.validation_fraction, data.test_fraction, data.split_seed)
    )
    sizes = dict.fromkeys(splits, data.image_size) | {"train": stored_size(data)}
    return Plan(root, splits, sizes, data.skip_unreadable)


def stored_size(data: Any) -> int:
    """The side of the stored training images; by default with an eighth to spare."""
    return data.stored_size or round(data.image_size * 8 / 7)


class Folder(tfds.core.GeneratorBasedBuilder):
    """Images of a folder: "image" uint8 [S, S, 3], "label", "file", its place in the folder."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {"1.0.0": "Squares, as PNG.", "1.1.0": "With a digest."}  # noqa: RUF012

    def __init__(self, plan: Plan, **options: Any):
        self.plan = plan  # first: the base class asks for the features
        super().__init__(**options)

    def __getstate__(self) -> dict[str, Any]:  # of the base class, with the plan: for workers
        return super().__getstate__() | {"plan": self.plan}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Folder.__init__(self, state["plan"], **state["_original_state"])

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"The images of {self.plan.root}.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(self.plan.splits["train"])),
                    "file": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            # Of the training images' values, scaled to 0..1, what each split holds, and a sentence
            # for each file left out; filled in when the data are prepared.
            metadata=tfds.core.MetadataDict({"mean": [], "std": [], "digest": {}, "skipped": []}),
        )

    def image_shape(self, split: str) -> tuple[int, int, int]:
        size = self.plan.sizes[split]
        return size, size, 3

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(name) for name in self.plan.splits}

    def _generate_examples(self, split):
        names = list(self.plan.splits[split])
        files = [(file, name) for name in names for file in self.plan.splits[split][name]]
        read = reader(self.plan.sizes[split])
        contents, seen = Contents(), set()
        for (file, name), square in zip(
            files, _in_threads(read, [file for file, _ in files]), strict=True
        ):
            if isinstance(square, Exception):
                self._skip(square)
                continue
            pixels, png = square
            seen.add(name)
            place, label = file.relative_to(self.plan.root).as_posix(), names.index(name)
            contents.add(place, pixels, label)
            yield place, {"image": png, "label": label, "file": place}
        unseen = [name for name in names if name not in seen]
        if unseen and (split == "train" or not seen):
            raise WrongInput(f"Not one {split} image of class {unseen[0]} can be read: add some.")
        metadata = self.info.metadata
        metadata["digest"] = {**metadata["digest"], split: contents.digest()}
        if split == "train":
            metadata["mean"], metadata["std"] = contents.mean_and_std()

    def _skip(self, error: Exception) -> None:
        if not self.plan.skip_unreadable:
            raise WrongInput(
                f"{error} Repair the file or remove it, or leave out all such files with"
                " --config.data.skip_unreadable=True."
            ) from error
        self.info.metadata["skipped"] = [*self.info.metadata["skipped"], str(error)]


def reader(size: int) -> Callable[[Path], Read]:
    """From a photo to its square, or to what is wrong with it."""
    from senet_jax.preprocessing import Preprocess, UnreadableImage

    to_square = Preprocess((size, size), mean=(0.0,) * 3, std=(1 / 255,) * 3, crop=1.0)

    def read(file: Path) -> Read:
        try:
            pixels = np.rint(to_square(file)[0]).astype(np.uint8)
        except UnreadableImage as error:
            return error
        return pixels, to_png(pixels)

    return read


def _in_threads(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """map(work, items), some items ahead: Pillow lets other threads run while it decodes."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: deque = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
