"""A benchmark's table and file."""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from senet_jax.bench import Timing, machine, table_line

RESULTS = Path(__file__).parent / "results"


def parser(name: str, text: str) -> argparse.ArgumentParser:
    """With what all benchmarks take."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=text,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="JSON file")
    return made


def count(text: str) -> int:
    """A positive whole number on the command line."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count, expected 1 or more")
    return int(text)


class Report:
    """Rows that are printed as they come; the file is whole after each of them.

    The file holds `{"benchmark", "command", "machine", "settings", "rows"}`.
    """

    def __init__(
        self,
        name: str,
        settings: argparse.Namespace,
        columns: Mapping[str, str],
        versions: Mapping[str, Any] | None = None,
    ):
        """
        Args:
          columns: what is printed, a row's field -> the heading with its unit; every other field is
            in the file alone.
          versions: beside those of `senet_jax.bench.machine`.
        """
        self.columns, self.out = columns, settings.out
        given = {k: v for k, v in vars(settings).items() if k != "out"}
        command = [f"python -m benchmarks.{name}", *map(shlex.quote, sys.argv[1:])]
        self.content: dict[str, Any] = {
            "benchmark": name,
            "command": " ".join(command),
            "machine": {**machine(), **(versions or {})},
            "settings": given,
            "rows": [],
        }
        print(", ".join(f"{k} {v}" for k, v in self.content["machine"].items()))
        print(", ".join(f"{k} {v}" for k, v in given.items()), end="\n\n")
        print(table_line(list(columns.values())))
        print(table_line(["---"] * len(columns)), flush=True)

    def add(self, **row: Any) -> None:
        self.content["rows"].append(row)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        partial_file = self.out.with_suffix(".partial")
        partial_file.write_text(json.dumps(self.content, indent=1) + "\n")
        partial_file.replace(self.out)
        print(table_line([_cell(row.get(field)) for field in self.columns]), flush=True)


def timing_row(timing: Timing, images: int, base: Timing | None = None) -> dict[str, Any]:
    """A row's fields for a step that so many images went through.

    Args:
      base: what the ratio is taken to; above one is faster than it.
    """
    return {
        "images_per_second": images / timing.median,
        "ratio": None if base is None else base.median / timing.median,
        "median_ms": 1e3 * timing.median,
        "quartiles_ms": [1e3 * seconds for seconds in timing.quartiles],
        "seconds": list(timing.seconds),
    }


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " to ".join(map(_cell, value))
    return str(value)
