"""What an evaluation says and writes: report.json, per_class.csv, confusion.csv, confusion.png."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.evaluate.counts import Counts
from train.evaluate.picture import draw_confusion
from train.workdir import write_json

REPORT = "report.json"
CONFUSED = 10  # pairs that are told

Facts = dict[str, Any]


def facts(
    about: Mapping[str, Any],
    sizes: Sequence[tuple[int, int]],
    counts: Sequence[Counts],
    class_names: Sequence[str],
) -> Facts:
    """All that report.json holds; the pairs are those of the first size.

    Args:
      about: what was evaluated, and on what.
      sizes: height and width of the images, pixels.
      counts: by size.
    """
    return {
        **about,
        "examples": counts[0].examples,
        "classes": len(class_names),
        "sizes": [
            {"height": height, "width": width} | one.scores()
            for (height, width), one in zip(sizes, counts, strict=True)
        ],
        "most_confused": confused_pairs(counts[0].confusion, class_names),
    }


def confused_pairs(
    confusion: np.ndarray, class_names: Sequence[str], most: int = CONFUSED
) -> list[Facts]:
    """The pairs of classes that were taken for each other most often, either way round.

    Returns:
      {"classes": [a, b], "errors", "a_as_b", "b_as_a"}, most errors first; none without any.
    """
    either = np.triu(confusion + confusion.T, k=1)
    order = np.argsort(-either, axis=None, kind="stable")[:most]
    places = [np.unravel_index(flat, either.shape) for flat in order]
    return [
        {
            "classes": [class_names[a], class_names[b]],
            "errors": int(either[a, b]),
            "a_as_b": int(confusion[a, b]),
            "b_as_a": int(confusion[b, a]),
        }
        for a, b in places
        if either[a, b]
    ]


def as_markdown(facts: Facts) -> str:
    """A row for each size, and the pairs in words."""
    tops = [name for name in facts["sizes"][0] if name.startswith("top")]
    heads = [f"{name.replace('top', 'top-')}, %" for name in tops]
    text = f"{facts['model']} on {facts['data']}, {facts['split']}: {facts['examples']:,} images"
    text += f" of {facts['classes']:,} classes\n\n"
    text += f"| size | {' | '.join(heads)} | loss |\n|{' --- |' * (2 + len(heads))}\n"
    for row in facts["sizes"]:
        shares = " | ".join(f"{100 * row[name]:.2f}" for name in tops)
        text += f"| {row['height']} x {row['width']} | {shares} | {row['loss']:.4f} |\n"
    if not facts["most_confused"]:
        return text + "\nNo image was taken for another class."
    lines = [_in_words(pair) for pair in facts["most_confused"]]
    return text + "\nMost often taken for each other:\n" + "\n".join(lines)


def write(directory: Path, facts: Facts, confusion: np.ndarray, class_names: Sequence[str]) -> None:
    """Writes all files; the report last, so that where it is the others are."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_per_class(directory / "per_class.csv", confusion, class_names)
    _write_confusion(directory / "confusion.csv", confusion, class_names)
    try:
        draw_confusion(confusion, class_names).savefig(
            directory / "confusion.png", bbox_inches="tight"
        )
    except ImportError:
        print("No picture: matplotlib is not installed.")
    write_json(directory / REPORT, facts)


def _in_words(pair: Facts) -> str:
    """`- 1 and 8: 4 times (1 as 8: 3, 8 as 1: 1)`."""
    a, b = pair["classes"]
    times = "once" if pair["errors"] == 1 else f"{pair['errors']:,} times"
    ways = f"{a} as {b}: {pair['a_as_b']:,}, {b} as {a}: {pair['b_as_a']:,}"
    return f"- {a} and {b}: {times} ({ways})"


def _write_per_class(file: Path, confusion: np.ndarray, class_names: Sequence[str]) -> None:
    """A row for each class; no accuracy where there are no images of it."""
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["class", "name", "images", "correct", "accuracy", "taken_for_it"])
        for c, name in enumerate(class_names):
            images, correct = int(confusion[c].sum()), int(confusion[c, c])
            accuracy = f"{correct / images:.6f}" if images else ""
            wrongly = int(confusion[:, c].sum()) - correct
            writer.writerow([c, name, images, correct, accuracy, wrongly])


def _write_confusion(file: Path, confusion: np.ndarray, class_names: Sequence[str]) -> None:
    """Rows by the images' class, columns by what they were taken for."""
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["class", *class_names])
        for name, row in zip(class_names, confusion.tolist(), strict=True):
            writer.writerow([name, *row])
