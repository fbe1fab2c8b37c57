"""ImageNet (ILSVRC 2012) as its authors give it out: two archives of images, a development kit.

The training archive has an archive for every class; validation images lie in one row, and the kit
says of which class each is, how the classes are called and how many images each has.
"""

import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from train.data.squares import Photo
from train.errors import WrongInput

TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
KIT = "ILSVRC2012_devkit_t12.tar.gz"
SYNSETS, ANSWERS = "meta.mat", "ILSVRC2012_validation_ground_truth.txt"  # in the kit
ADDRESS = "https://image-net.org/download-images"


@dataclass(frozen=True)
class Kit:
    """What the development kit says; labels number the classes in the order of their WordNet ids.

    Attributes:
      wnids: WordNet's id by label, e.g. "n01440764"; the classes' archives are named so.
      names: e.g. "tench", by label.
      sizes: training images by label.
      validation: labels of the validation images, in the order of their names.
    """

    wnids: tuple[str, ...]
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    validation: tuple[int, ...]


def find(source: Path) -> None:
    """Raises `WrongInput` unless the three archives are there."""
    missing = [name for name in (TRAIN, VALIDATION, KIT) if not (source / name).is_file()]
    if missing:
        raise WrongInput(
            f"There is no {missing[0]} in {source}: expected {TRAIN}, {VALIDATION} and {KIT} there."
            f" They are given out at {ADDRESS}, after registration; say where they are"
            " (--config.data.source=/path/to/them)."
        )


def read_kit(source: Path) -> Kit:
    """Reads the development kit.

    Raises:
      WrongInput: it is damaged.
    """
    from scipy.io import loadmat

    archive = source / KIT
    with _opened(archive) as tar:
        files = {Path(member.name).name: member for member in tar if member.isfile()}
        for name in (SYNSETS, ANSWERS):
            if name not in files:
                raise WrongInput(f"{archive} has no file {name}: download it again ({ADDRESS}).")
        synsets = loadmat(io.BytesIO(_read(tar, files[SYNSETS])), squeeze_me=True)["synsets"]
        answers = [int(line) for line in _read(tar, files[ANSWERS]).split()]
    leaves = sorted((s for s in synsets if s["num_children"] == 0), key=lambda s: s["WNID"])
    label = {int(synset["ILSVRC2012_ID"]): i for i, synset in enumerate(leaves)}
    if outside := [number for number in answers if number not in label]:
        raise WrongInput(
            f"{archive} says that a validation image is of class {outside[0]}, expected one of its"
            f" {len(label)} classes: download it again ({ADDRESS})."
        )
    return Kit(
        wnids=tuple(str(synset["WNID"]) for synset in leaves),
        names=_short_names(leaves),
        sizes=tuple(int(synset["num_train_images"]) for synset in leaves),
        validation=tuple(label[number] for number in answers),
    )


def class_photos(source: Path, kit: Kit, label: int) -> Iterator[Photo]:
    """The training images of a class, in the order of the archive.

    Raises:
      WrongInput: the archive is damaged, or has another number of them than the kit says.
    """
    name, archive, count = f"{kit.wnids[label]}.tar", source / TRAIN, 0
    with _opened(archive) as outer:
        try:
            inner = outer.extractfile(name)
        except KeyError:
            raise WrongInput(f"{archive} has no {name}: download it again ({ADDRESS}).") from None
        with _opened(archive, inner) as tar:
            for member in tar:
                count += 1
                yield Photo(f"{kit.wnids[label]}/{member.name}", label, _read(tar, member))
    if count != kit.sizes[label]:
        raise WrongInput(
            f"{archive} has {count:,} images in {name}, expected {kit.sizes[label]:,}: download it"
            f" again ({ADDRESS})."
        )


def validation_photos(source: Path, kit: Kit, start: int, stop: int) -> Iterator[Photo]:
    """Validation images start, ..., stop - 1, counted in the order of their names.

    Raises:
      WrongInput: the archive is damaged, or has another number of images than the kit says.
    """
    archive = source / VALIDATION
    with _opened(archive) as tar:
        members = sorted((member for member in tar if member.isfile()), key=lambda m: m.name)
        if len(members) != len(kit.validation):
            raise WrongInput(
                f"{archive} has {len(members):,} images, expected {len(kit.validation):,}: download"
                f" it again ({ADDRESS})."
            )
        for i in range(start, stop):
            place = f"{VALIDATION}/{members[i].name}"
            yield Photo(place, kit.validation[i], _read(tar, members[i]))


def _short_names(leaves: list[Any]) -> tuple[str, ...]:
    """The first word for a class; where two share it, with the WordNet id."""
    words = [str(synset["words"]).partition(",")[0] for synset in leaves]
    return tuple(
        f"{word} ({synset['WNID']})" if words.count(word) > 1 else word
        for word, synset in zip(words, leaves, strict=True)
    )


@contextmanager
def _opened(archive: Path, file: IO[bytes] | None = None) -> Iterator[tarfile.TarFile]:
    """An archive, or one inside it; what is wrong with it while it is read is told by its name."""
    try:
        with tarfile.open(archive, fileobj=file) as tar:
            yield tar
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise WrongInput(
            f"{archive} is damaged or not whole ({type(error).__name__}: {error}): download it"
            f" again ({ADDRESS})."
        ) from error


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(member)
    assert content is not None  # a file
    return content.read()
