"""`python -m senet_jax predict`: what is in images."""

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from senet_jax.adapting import image_channels
from senet_jax.cli.options import WRONG_INPUT, complain
from senet_jax.cli.reading import batches, image_files
from senet_jax.loading import class_names_for, load
from senet_jax.preprocessing import preprocess_for


def predict(options: argparse.Namespace) -> int:
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
    for batch in batches(files, preprocess):
        if isinstance(batch, Exception):
            complain(batch)
            faults += 1
            continue
        for file, logits in zip(batch.files, np.asarray(logits_of(batch.images)), strict=False):
            prediction = _prediction(file, logits, options.top, names)
            predictions.append(prediction)
            print(_as_text(prediction), flush=True)
    if options.out is not None:
        WRITERS[options.out.suffix](options.out, predictions)
    return WRONG_INPUT if faults else 0


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


def table_file(text: str) -> Path:
    if Path(text).suffix not in WRITERS:
        raise argparse.ArgumentTypeError(f"{text!r} has to end in {' or '.join(WRITERS)}")
    return Path(text)
