"""`python -m senet_jax attention`: a report on what the channel attention does for images."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from senet_jax.adapting import image_channels
from senet_jax.attention_report import PAGE, Subject, write_report
from senet_jax.attention_report.write import Batch
from senet_jax.cli.options import complain
from senet_jax.cli.reading import batches, image_files
from senet_jax.loading import class_names_for, load
from senet_jax.plotting.palette import COLOURS
from senet_jax.preprocessing import Preprocess, preprocess_for

ONE_CLASS = "all images"


def attention(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    source, out = (options.weights, options.model), Path(options.out)
    if (out / PAGE).exists():
        raise FileExistsError(f"{out} has a report already: give another --out.")
    files = image_files([options.images])
    of_files = _classes(Path(options.images), files)
    found = sorted(set(of_files))
    model, variables = load(*source)
    outputs = class_names_for(*source)
    num_classes: int = getattr(model, "num_classes", 0)
    if outputs is None:
        outputs = tuple(map(str, range(num_classes)))
    judged = len(found) > 1 and set(found) <= set(outputs)
    class_names = list(outputs) if judged else found
    numbers = {name: i for i, name in enumerate(class_names)}
    preprocess = preprocess_for(*source, in_chans=image_channels(variables))
    readable = _Readable(files, [numbers[name] for name in of_files], preprocess)
    subject = Subject(
        model, variables, readable.batches, class_names, outputs, judged, readable.name_of
    )
    about = {"weights": options.weights, "folder": options.images}
    write_report(out, subject, about, _chosen(options.classes, numbers))
    print(f"report: {out / PAGE}")
    return 0


def names(text: str) -> list[str]:
    """Of classes, with commas between."""
    found = text.split(",")
    if not all(found) or len(found) > len(COLOURS):
        raise argparse.ArgumentTypeError(
            f"{text!r} is {len(list(filter(None, found)))} names, expected 1 to {len(COLOURS)}:"
            " cat,dog"
        )
    return found


def _chosen(wanted: Sequence[str] | None, numbers: dict[str, int]) -> list[int] | None:
    if wanted is None:
        return None
    if unknown := [name for name in wanted if name not in numbers]:
        raise ValueError(
            f"--classes has {', '.join(unknown)}, expected some of {', '.join(list(numbers)[:20])}."
        )
    return [numbers[name] for name in wanted]


def _classes(folder: Path, files: Sequence[str]) -> list[str]:
    """Each file's class: the sub-folder that it is in, or one for all where some are in none."""
    parts = [Path(file).relative_to(folder).parts if folder.is_dir() else () for file in files]
    if any(len(part) < 2 for part in parts):
        return [ONE_CLASS] * len(files)
    return [part[0] for part in parts]


class _Readable:
    """Files in batches, again and again; what cannot be read is told of once and left out."""

    def __init__(self, files: list[str], labels: list[int], preprocess: Preprocess):
        self._label = dict(zip(files, labels, strict=True))
        self._files, self._preprocess = files, preprocess
        self._told: set[str] = set()
        self._names: list[str] = []

    def name_of(self, number: int) -> str:
        return self._names[number]

    def batches(self, what: str) -> Iterator[Batch]:
        """All images; a line on the error stream says how far it is."""
        seen: list[str] = []
        for batch in batches(self._files, self._preprocess):
            if isinstance(batch, Exception):
                if str(batch) not in self._told:
                    complain(batch)
                self._told.add(str(batch))
                continue
            filled = len(batch.files)
            labels = np.zeros(len(batch.images), np.int32)
            labels[:filled] = [self._label[file] for file in batch.files]
            seen += batch.files
            self._names = max(self._names, seen, key=len)
            yield batch.images, labels, (np.arange(len(labels)) < filled).astype(np.float32)
            _progress(f"{what}: {len(seen):,} of {len(self._files):,} images")
        _progress("")


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
