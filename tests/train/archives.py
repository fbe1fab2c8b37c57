"""Archives of CIFAR as their authors have written them, but of twenty images."""

import hashlib
import io
import pickle
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from train.data.cifar_files import Cifar, Official


class Python2Pickler(pickle._Pickler):
    """Text as Python 2 wrote it: `bytes`, as one of its strings; arrays of the NumPy of then."""

    def save_string(self, text: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_string}  # noqa: RUF012


def pickled(content: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def draw(official: Official, train: int = 20, test: int = 10) -> Cifar:
    """Noise whose labels go round."""
    random = np.random.default_rng(official.classes)
    splits = {
        split: (
            random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
            np.arange(count) % official.classes,
        )
        for split, count in (("train", train), ("test", test))
    }
    return Cifar(splits, [f"class{i}" for i in range(official.classes)])


def files(official: Official, version: int, cifar: Cifar) -> dict[str, bytes]:
    """What is in the archive, by name: version 0 has pickles, 1 has plain bytes."""
    form, fine = official.versions[version], official.classes == 100
    result = {}
    for split, names in form.splits.items():
        images, labels = cifar.splits[split]
        planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2).reshape(len(labels), -1))
        parts = (np.array_split(array, len(names)) for array in (planes, labels))
        for name, part, numbers in zip(names, *parts, strict=True):
            if version == 0:
                batch = {b"data": part, b"fine_labels" if fine else b"labels": numbers.tolist()}
                batch |= {b"coarse_labels": [0] * len(numbers)} if fine else {}
                result[name] = pickled(batch)
            else:
                columns = [numbers[:, None]] * (2 if fine else 1)
                columns[:-1] = [numbers[:, None] // 5] * (len(columns) - 1)
                result[name] = np.hstack([*columns, part]).astype(np.uint8).tobytes()
    encoded = [name.encode() for name in cifar.class_names]
    if version == 0:
        result[form.names] = pickled({b"fine_label_names" if fine else b"label_names": encoded})
    else:
        result[form.names] = b"\n".join(encoded) + b"\n\n"
    return result


def write(official: Official, version: int, cifar: Cifar, directory: Path) -> Official:
    """Puts an archive there, and returns the data set of which it is the official one."""
    form = official.versions[version]
    directory.mkdir(parents=True, exist_ok=True)
    with tarfile.open(directory / form.archive, "w:gz") as tar:
        for name, content in files(official, version, cifar).items():
            member = tarfile.TarInfo(f"{form.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return standin(official, version, cifar, (directory / form.archive).read_bytes())


def standin(official: Official, version: int, cifar: Cifar, archive: bytes = b"") -> Official:
    versions = list(official.versions)
    versions[version] = replace(versions[version], md5=hashlib.md5(archive).hexdigest())
    sizes = {split: len(labels) for split, (_, labels) in cifar.splits.items()}
    return replace(official, sizes=sizes, versions=tuple(versions))
