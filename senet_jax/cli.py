"""The command line of the library.

python -m senet_jax models 'se*50*'
python -m senet_jax predict cat.jpg holiday/ --weights seresnet50.a1_in1k --out found.csv
python -m senet_jax export --timm exported --weights runs/mine
python -m senet_jax bench --model seresnet50
"""

import argparse
import csv
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from senet_jax import bench
from senet_jax.adapting import image_channels
from senet_jax.convert import export_timm
from senet_jax.loading import class_names_for, load, model_name_for
from senet_jax.models import list_models
from senet_jax.preprocessing import Preprocess, preprocess_for
from senet_jax.summary import write_table

WRONG_INPUT = 2  # as argparse's own
BATCH_SIZE = 32
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def main(arguments: Sequence[str]) -> int:
    """Runs a command; returns the exit code."""
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, ImportError) as error:
        _complain(error)
        return WRONG_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m senet_jax", allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            run.__name__.strip("_"), help=text, description=text, allow_abbrev=False
        )
        added.set_defaults(run=run)
        return added

    models = command(_models, "Prints the models with their sizes and published accuracies.")
    models.add_argument("pattern", nargs="?", default="*", help="with * and ?, e.g. 'se*50*'")
    models.add_argument(
        "--pretrained", action="store_true", help="only those with published weights"
    )

    predict = command(_predict, "Says what is in images.")
    predict.add_argument("paths", nargs="+", metavar="PATH", help="an image, or a folder of them")
    _add_weights(predict)
    predict.add_argument("--top", type=_count, default=5, metavar="N", help="classes (5)")
    predict.add_argument(
        "--out", type=_table_file, metavar="FILE", help="write them, too: .csv or .json"
    )

    export = command(_export, "Writes trained weights for other libraries.")
    export.add_argument(
        "--timm", required=True, metavar="DIR", help="the folder, which timm opens as local-dir:DIR"
    )
    _add_weights(export)

    measure = command(_bench, "Measures images per second, with attention and without.")
    measure.add_argument("--model", default="seresnet50", metavar="NAME", help="(seresnet50)")
    measure.add_argument("--batch", type=_count, default=8, metavar="N", help="images (8)")
    measure.add_argument("--size", type=_count, default=224, metavar="PIXELS", help="(224)")
    return parser


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        required=True,
        metavar="SOURCE",
        help="a training run's directory, a file (.safetensors, .pth), an exported folder, or"
        " timm's tag of published weights, e.g. seresnet50.a1_in1k",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="of the network, for a file of weights, e.g. seresnet50"
    )


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count, expected 1 or more")
    return int(text)


def _table_file(text: str) -> Path:
    if Path(text).suffix not in WRITERS:
        raise argparse.ArgumentTypeError(f"{text!r} has to end in {' or '.join(WRITERS)}")
    return Path(text)


def _models(options: argparse.Namespace) -> int:
    names = list_models(options.pattern, pretrained=options.pretrained)
    if not names:
        raise ValueError(f"No model is called {options.pattern!r}: try 'se*' or leave it out.")
    for piece in write_table(names):
        print(piece, end="", flush=True)
    return 0


def _export(options: argparse.Namespace) -> int:
    source = options.weights, options.model
    model, variables = load(*source)
    preprocess = preprocess_for(*source, in_chans=image_channels(variables))
    height, width = preprocess.size
    if height != width:
        raise ValueError(
            f"{options.weights} takes images of {height} x {width} pixels, and timm's configuration"
            " says squares alone."
        )
    directory = export_timm(
        model,
        model_name_for(*source),
        variables,
        options.timm,
        image_size=height,
        mean=preprocess.mean,
        std=preprocess.std,
        crop_pct=preprocess.crop,
        crop_mode=preprocess.crop_mode,
        interpolation=preprocess.interpolation,
        class_names=class_names_for(*source),
    )
    print(f"Wrote {directory}: timm.create_model('local-dir:{directory}', pretrained=True)")
    return 0


def _bench(options: argparse.Namespace) -> int:
    for line in bench.report(options.model, options.batch, options.size):
        print(line, flush=True)
    return 0


def _predict(options: argparse.Namespace) -> int:
    source = options.weights, options.model
    if options.out is not None and not options.out.parent.is_dir():
        raise FileNotFoundError(f"{options.out.parent} is no directory: make it, or change --out.")
    files = image_files(options.paths)
    model, variables = load(*source)
    if model.num_classes == 0:
        raise ValueError(f"{options.weights} has no classifier: nothing to predict with it.")
    names = class_names_for(*source)
    if names is not None and len(names) != model.num_classes:
        raise ValueError(
            f"{options.weights} comes with {len(names)} class names for {model.num_classes}"
            " classes: expected as many."
        )
    preprocess = preprocess_for(*source, in_chans=image_channels(variables))
    logits_of = jax.jit(lambda images: model.apply(variables, images, train=False))
    predictions, faults = [], 0
    for batch in _batches(files, preprocess):
        if isinstance(batch, Exception):
            _complain(batch)
            faults += 1
            continue
        for file, logits in zip(batch.files, np.asarray(logits_of(batch.images)), strict=False):
            prediction = _prediction(file, logits, options.top, names)
            predictions.append(prediction)
            print(_as_text(prediction), flush=True)
    if options.out is not None:
        WRITERS[options.out.suffix](options.out, predictions)
    return WRONG_INPUT if faults else 0


def image_files(paths: Iterable[str]) -> list[str]:
    """The files themselves, and all images below the folders, in the order of their names.

    Raises:
      FileNotFoundError: there is no such path, or no image in a folder.
    """
    files: list[str] = []
    for path in paths:
        if not os.path.exists(path):
            raise FileNotFoundError(f"There is no image {path}.")
        if not os.path.isdir(path):
            files.append(path)
            continue
        found = [file for file in Path(path).rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            raise FileNotFoundError(
                f"There are no images in {path}: expected {', '.join(IMAGE_SUFFIXES)}."
            )
        files += map(str, sorted(found))
    return files


class Batch(NamedTuple):
    """Images of one shape, `[BATCH_SIZE or fewer, H, W, C]`; the last one is filled up with zeros.

    Attributes:
      files: as many as there are images that are none of these zeros.
    """

    files: list[str]
    images: np.ndarray


def _batches(files: list[str], preprocess: Preprocess) -> Iterator[Batch | Exception]:
    """All that can be read, in batches of one size so that one program does for all; and what was
    wrong with the others.
    """
    size = min(len(files), BATCH_SIZE)
    for start in range(0, len(files), size):
        images = np.zeros((size, *preprocess.size, len(preprocess.mean)), np.float32)
        readable: list[str] = []
        for file in files[start : start + size]:
            try:
                images[len(readable)] = preprocess(file)[0]
            except (ValueError, OSError) as error:
                yield error
            else:
                readable.append(file)
        if readable:
            yield Batch(readable, images)


Prediction = dict[str, Any]  # image; predictions: class, name (if known), probability


def _prediction(file: str, logits: np.ndarray, top: int, names: Sequence[str] | None) -> Prediction:
    shifted = np.exp((logits - logits.max()).astype(np.float64))
    probabilities = shifted / shifted.sum()
    best = np.argsort(-probabilities, kind="stable")[:top]
    return {
        "image": file,
        "predictions": [
            {"class": int(i)}
            | ({} if names is None else {"name": names[i]})
            | {"probability": round(float(probabilities[i]), 6)}
            for i in best
        ],
    }


def _as_text(prediction: Prediction) -> str:
    lines = [
        f"{100 * p['probability']:8.2f} %  {p['class']:>5}  {p.get('name', '')}".rstrip()
        for p in prediction["predictions"]
    ]
    return "\n".join([prediction["image"], *lines])


def _write_csv(path: Path, predictions: list[Prediction]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "rank", "class", "name", "probability"])
        for prediction in predictions:
            for rank, p in enumerate(prediction["predictions"], 1):
                row = (prediction["image"], rank, p["class"], p.get("name", ""), p["probability"])
                writer.writerow(row)


def _write_json(path: Path, predictions: list[Prediction]) -> None:
    path.write_text(json.dumps(predictions, indent=2, ensure_ascii=False) + "\n")


WRITERS: dict[str, Callable[[Path, list[Prediction]], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
}


def _complain(error: Exception) -> None:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
