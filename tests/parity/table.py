"""Writes the tables of docs/parity.md: `python -m tests.parity.table`, where timm is installed."""

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import flax
import jax

from senet_jax import create_model
from tests.convert.twins import TWINS
from tests.parity import measure
from tests.parity.reference import timm, torch

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"
BEGIN, END = "<!-- made by python -m tests.parity.table -->", "<!-- end -->"
FAMILIES = {
    "legacy_seresnet18": "older, basic blocks",
    "legacy_seresnet50": "older, bottlenecks",
    "legacy_senet154": "SENet-154",
    "seresnet50": "modern, bottlenecks",
    "seresnext50_32x4d": "ResNeXt",
    "seresnext26d_32x4d": "d",
    "seresnetaa50d": "aa",
    "resnetrs50": "ResNet-RS",
}


def lines() -> Iterator[str]:
    yield (
        f"timm {timm.__version__}, torch {torch.__version__}, jax {jax.__version__}, flax"
        f" {flax.__version__}, Python {platform.python_version()}, {platform.machine()} CPU"
    )
    yield ""
    head = [f"logits, {size}" for size in measure.SIZES] + [f"levels, {s}" for s in measure.SIZES]
    yield f"| network | blocks | {' | '.join(head)} |"
    yield "| --- " * (2 + len(head)) + "|"
    for name in measure.NAMES:
        errors = measure.outputs(name)
        levels = [max(e for k, e in errors[s].items() if k != "logits") for s in measure.SIZES]
        row = [*(errors[size]["logits"] for size in measure.SIZES), *levels]
        sizes, own = measure.stage_sizes(name), create_model(name).stage_sizes
        blocks = ", ".join(map(str, sizes)) + ("" if sizes == own else f" (of {sum(own)})")
        yield f"| {name} | {blocks} | {' | '.join(f'{error:.1e}' for error in row)} |"
        print(name, max(row), file=sys.stderr, flush=True)
    yield ""
    columns = ("loss", "images", "gradients", "statistics")
    yield "| family | twin of | type | loss | input gradient | parameter gradients | statistics |"
    yield "| --- " * 7 + "|"
    for twin in TWINS:
        for dtype in ("float32", "float64"):
            if twin.name in FAMILIES and twin.trains and twin.source == "timm":
                found = measure.step(twin, dtype)
                row = [f"{found[column]:.1e}" for column in columns]
                yield f"| {FAMILIES[twin.name]} | {twin.name} | {dtype} | {' | '.join(row)} |"


def main() -> None:
    before, rest = PAGE.read_text().split(BEGIN)
    table = "\n".join(lines())
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
