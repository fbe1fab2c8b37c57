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
    "efficientnet_b0": "EfficientNet",
    "mobilenetv3_large_100": "MobileNetV3",
    "tf_efficientnetv2_b0": "EfficientNetV2, TensorFlow",
    "regnety_002": "RegNetY",
    "cspdarknet53": "CSPDarknet",
    "vgg16_bn": "VGG",
    "inception_v3": "Inception-v3",
    "inception_v4": "Inception-v4",
    "inception_resnet_v2": "Inception-ResNet-v2",
}


def lines() -> Iterator[str]:
    yield (
        f"timm {timm.__version__}, torch {torch.__version__}, jax {jax.__version__}, flax"
        f" {flax.__version__}, Python {platform.python_version()}, {platform.machine()} CPU"
    )
    yield ""
    for sizes in (measure.SIZES, measure.INCEPTION_SIZES):
        yield from outputs(sizes)
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


def outputs(sizes: tuple[int, ...]) -> Iterator[str]:
    """The table of logits and levels, of networks compared at these sizes."""
    head = [f"logits, {size}" for size in sizes] + [f"levels, {size}" for size in sizes]
    yield f"| network | {' | '.join(head)} |"
    yield "| --- " * (1 + len(head)) + "|"
    for name in (name for name in measure.NAMES if measure.sizes_of(name) == sizes):
        errors = measure.outputs(name)
        levels = [max(e for k, e in errors[s].items() if k != "logits") for s in sizes]
        row = [*(errors[size]["logits"] for size in sizes), *levels]
        model = create_model(name)
        blocks = measure.shortened(model)
        cut = f" ({sum(blocks)} of {sum(model.stage_sizes)} blocks)" if blocks else ""
        yield f"| {name}{cut} | {' | '.join(f'{error:.1e}' for error in row)} |"
        print(name, max(row), file=sys.stderr, flush=True)


def main() -> None:
    before, rest = PAGE.read_text().split(BEGIN)
    table = "\n".join(lines())
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
