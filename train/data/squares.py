"""Photos of any size and kind as a TFDS builder: read once, stored as squares of one size.

Training images are stored with some more pixels than the network takes, for random crops; those of
validation and test have just the pixels that `senet_jax.preprocess_for(workdir)` makes of a photo:
it is evaluated as it is predicted.
"""

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from train.data.images import Contents, Pixels, to_jpeg, to_png
from train.errors import WrongInput

READ_AHEAD = 64  # images that threads may be ahead with: each is a whole photo in memory
LOSSY_FROM = 128  # pixels: smaller squares are read from PNG as fast, docs/data.md
JPEG_START = b"\xff\xd8"


class Photo(NamedTuple):
    """An image as it comes.

    Attributes:
      place: where it is, another one for every image of a split; told where it cannot be read.
      label: the number of its class.
      file: the image file, or its bytes.
    """

    place: str
    label: int
    file: Path | bytes


@dataclass(frozen=True)
class Plan:
    """Which photos are to be stored, and how.

    Attributes:
      key: another one as soon as a photo comes, goes or changes, or is stored in another way.
      description: what they are, in a sentence.
      class_names: by label.
      sizes: pixels, the side of the squares, by split.
      photos: from a split to its photos, in an order that stays the same.
      channels: 3, or 1 for grey.
      skip_unreadable: leave out what cannot be read instead of refusing all.
    """

    key: str
    description: str
    class_names: tuple[str, ...]
    sizes: dict[str, int]
    photos: Callable[[str], Iterable[Photo]]
    channels: int
    skip_unreadable: bool


class Square(NamedTuple):
    """A photo as stored: uint8 [S, S, C], and the file of it."""

    pixels: Pixels
    file: io.BytesIO


def square_sizes(splits: Iterable[str], data: Any) -> dict[str, int]:
    """Sides by split: `config.data.image_size`, and for training images with an eighth to spare,
    or what `config.data.stored_size` says."""
    stored = data.stored_size or round(data.image_size * 8 / 7)
    return {split: stored if split == "train" else data.image_size for split in splits}


class Squares(tfds.core.GeneratorBasedBuilder):
    """Photos of a plan: "image" uint8 [S, S, C], "label", "file", where it was."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Squares of one size."}  # noqa: RUF012

    def __init__(self, plan: Plan, **options: Any):
        self.plan = plan  # first: the base class asks for the features
        super().__init__(**options)

    def __getstate__(self) -> dict[str, Any]:  # of the base class, with the plan: for workers
        return super().__getstate__() | {"plan": self.plan}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Squares.__init__(self, state["plan"], **state["_original_state"])

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.plan.description,
            features=square_features(
                tfds.features.ClassLabel(names=list(self.plan.class_names)), self.plan.channels
            ),
            supervised_keys=("image", "label"),
            # Of the training images' values, scaled to 0..1, what each split holds, and a sentence
            # for each file left out; filled in when the data are prepared.
            metadata=tfds.core.MetadataDict({"mean": [], "std": [], "digest": {}, "skipped": []}),
        )

    def image_shape(self, split: str) -> tuple[int, int, int]:
        size = self.plan.sizes[split]
        return size, size, self.plan.channels

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.plan.sizes}

    def _generate_examples(self, split):
        plan = self.plan
        read = reader(plan.sizes[split], plan.channels, lossy=split == "train")
        contents, seen = Contents(plan.channels), set()
        for photo, square in in_threads(read, plan.photos(split)):
            if isinstance(square, Exception):
                self.info.metadata["skipped"] = [
                    *self.info.metadata["skipped"],
                    skip(square, plan.skip_unreadable),
                ]
                continue
            contents.add(photo.place, square.pixels, photo.label)
            seen.add(photo.label)
            yield photo.place, example(photo, square)
        check_classes(split, seen, plan.class_names)
        metadata = self.info.metadata
        metadata["digest"] = {**metadata["digest"], split: contents.digest()}
        if split == "train":
            metadata["mean"], metadata["std"] = contents.mean_and_std()


def square_features(label: tfds.features.ClassLabel, channels: int) -> tfds.features.FeaturesDict:
    """How a square is stored."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, channels)),
            "label": label,
            "file": tfds.features.Text(),
        }
    )


def example(photo: Photo, square: Square) -> Mapping[str, Any]:
    return {"image": square.file, "label": photo.label, "file": photo.place}


def skip(error: Exception, skip_unreadable: bool) -> str:
    """The sentence about a photo that is left out, or that sentence as `WrongInput`."""
    if not skip_unreadable:
        raise WrongInput(
            f"{error} Repair the file or remove it, or leave out all such files with"
            " --config.data.skip_unreadable=True."
        ) from error
    return str(error)


def check_classes(split: str, seen: set[int], class_names: tuple[str, ...]) -> None:
    """Raises `WrongInput` if a class cannot be learned, or nothing can be evaluated."""
    unseen = [name for label, name in enumerate(class_names) if label not in seen]
    if unseen and (split == "train" or not seen):
        raise WrongInput(f"Not one {split} image of class {unseen[0]} can be read: add some.")


def reader(size: int, channels: int, *, lossy: bool) -> Callable[[Photo], Square | Exception]:
    """From a photo to its square, or to what is wrong with it.

    Args:
      lossy: store as JPEG again what was JPEG, if it is large enough for that to be faster; all
        else is stored without loss.
    """
    from senet_jax.preprocessing import Preprocess, UnreadableImage

    to_square = Preprocess(
        (size, size), mean=(0.0,) * channels, std=(1 / 255,) * channels, crop=1.0
    )

    def read(photo: Photo) -> Square | Exception:
        try:
            pixels = np.rint(to_square(_readable(photo, channels))[0]).astype(np.uint8)
        except UnreadableImage as error:
            return error
        again = lossy and size >= LOSSY_FROM and _is_jpeg(photo)
        return Square(pixels, to_jpeg(pixels) if again else to_png(pixels))

    return read


def _is_jpeg(photo: Photo) -> bool:
    if isinstance(photo.file, bytes):
        return photo.file.startswith(JPEG_START)
    with photo.file.open("rb") as file:
        return file.read(len(JPEG_START)) == JPEG_START


def _readable(photo: Photo, channels: int) -> Path | Pixels:
    """What the library prepares: a file by its name, bytes as pixels.

    Raises:
      UnreadableImage: bytes that are no image, or not a whole one.
    """
    if isinstance(photo.file, Path):
        return photo.file
    from PIL import Image, UnidentifiedImageError

    from senet_jax.preprocessing import UnreadableImage, read_image

    try:
        with Image.open(io.BytesIO(photo.file)) as image:
            return read_image(image, channels)
    except UnreadableImage as error:
        raise UnreadableImage(f"{photo.place}: {error}") from error
    except UnidentifiedImageError:
        raise UnreadableImage(
            f"{photo.place} cannot be read as an image (no format that Pillow knows)."
        ) from None
    except Exception as error:  # Pillow raises many kinds for damaged files
        reason = " ".join(str(error).split())
        raise UnreadableImage(
            f"{photo.place} cannot be read as an image ({type(error).__name__}: {reason})."
        ) from error


def in_threads(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """(item, work(item)), some items ahead: Pillow lets other threads run while it decodes."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: deque = deque()
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > READ_AHEAD:
                yield _done(waiting)
        while waiting:
            yield _done(waiting)


def _done(waiting: deque) -> tuple[Any, Any]:
    item, result = waiting.popleft()
    return item, result.result()
