"""What any weights get right and wrong on a data set:

    python -m train.evaluate --config=configs/digits.py --weights=runs/digits --out=evaluation

The config says which images; the network and how its images are prepared follow from the weights.
docs/evaluate.md has an example.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from train.command import exit_code
from train.config import read_config
from train.errors import WrongInput, refusals

if TYPE_CHECKING:
    import flax.linen as nn
    from ml_collections import ConfigDict

    from senet_jax.preprocessing import Preprocess
    from train.data import Data
    from train.data.pipeline import EvaluationBatches

SPLITS = ("test", "validation", "train")


def main(arguments: list[str]) -> int:
    """Evaluates; returns the exit code."""
    options, overrides = _parser().parse_known_args(arguments)

    def work() -> int:
        evaluate(read_config(options.config, overrides), options)
        return 0

    return exit_code(work)


def evaluate(config: "ConfigDict", options: argparse.Namespace) -> None:
    """Counts over the split, prints, and writes to --out if that is given.

    Raises:
      WrongInput: the weights are not there or not for these classes, or --out is taken.
    """
    import jax  # slow, as the next ones

    from senet_jax.loading import load, model_name_for
    from train.check import check
    from train.data import make_data
    from train.data.pipeline import read
    from train.evaluate.counts import count
    from train.evaluate.report import REPORT, as_markdown, facts, write
    from train.parallel import Devices
    from train.workdir import check_directory

    is_first = jax.process_index() == 0  # of the processes: it alone prints and writes
    out = Path(options.out).absolute() if options.out else None
    if out is not None:
        check_directory(out, "--out")
        if (out / REPORT).exists():
            raise WrongInput(f"{out} has a {REPORT} already: give another --out.")
    config = config.copy_and_resolve_references()
    config.model.init_from = ""  # what a run started from is not needed to look at it
    check(config)
    source = options.weights, options.model
    with refusals():
        data = make_data(config, jax.process_index(), jax.process_count())
        network = load(*source, weights=options.kind, in_chans=data.image_shape[-1])
        check_classes(network[0], data, *source)
        sides = ways(data, options.sizes, *source)
        batches = batches_of(data, options.split)
        if is_first:
            print("".join(f"{line}\n" for line in enlargements(sides, batches)), end="", flush=True)
        reading = read(batches, 0, ahead=not data.in_memory)
        with _progress(len(batches), shown=is_first and sys.stdout.isatty()) as advance:
            counts = count(network, sides, Devices(config.parallel), reading, advance)
    if not is_first:
        return
    asked = {"weights": options.weights, "kind": options.kind, "split": options.split}
    about = asked | {"model": model_name_for(*source), "data": config.data.name}
    found = facts(about, [way.size for way in sides], counts, data.class_names)
    print(as_markdown(found), flush=True)
    if out is not None:
        write(out, found, counts[0].confusion, data.class_names)
        print(f"\nreport: {options.out}", flush=True)


def check_classes(model: "nn.Module", data: "Data", source: str, name: str | None) -> None:
    """Raises `WrongInput` where the weights' classes are not those of the data."""
    from senet_jax.loading import class_names_for

    classes: int = getattr(model, "num_classes", 0)
    if classes != data.num_classes:
        has = f"tells {classes:,} classes apart" if classes else "has no classifier"
        raise WrongInput(
            f"{source} {has}, and the data have {data.num_classes:,} classes: give the config of"
            " data with the weights' classes, or train the weights on these first"
            f" (python -m train --config.model.init_from={source})."
        )
    names = class_names_for(source, name)
    pairs = zip(names or data.class_names, data.class_names, strict=False)
    if differing := [pair for pair in pairs if pair[0] != pair[1]]:
        raise WrongInput(
            f"Where {source} has the class {differing[0][0]!r}, the data have {differing[0][1]!r}:"
            " give data whose classes have the weights' names, in their order."
        )


def ways(data: "Data", sizes: tuple[int, ...], source: str, name: str | None) -> list["Preprocess"]:
    """How the images are prepared, once for each size: by default for the weights' own."""
    from senet_jax import preprocess_for

    usual = preprocess_for(source, name, in_chans=data.image_shape[-1])
    if not sizes:
        return [usual]
    return [dataclasses.replace(usual, size=(size, size)) for size in sizes]


def enlargements(sides: list["Preprocess"], batches: "EvaluationBatches") -> Iterator[str]:
    """A sentence on each size for which the stored images have too few pixels."""
    import numpy as np

    from train.evaluate.counts import shape_before_crop

    stored = batches.examples.gather(np.arange(1))[0].shape[1:3]
    for way in sides:
        shape = shape_before_crop(way, stored)
        if max(shape) > max(stored):
            yield (
                f"For {way.size[0]} x {way.size[1]} pixels the stored images, {stored[0]} x"
                f" {stored[1]}, are enlarged to {shape[0]} x {shape[1]}: there is no more to see."
            )


def batches_of(data: "Data", split: str) -> "EvaluationBatches":
    """Each example of a split once, as it is stored."""
    if split != "train":
        return {"test": data.test_batches, "validation": data.validation_batches}[split]
    return dataclasses.replace(data.validation_batches, examples=data.training_batches.examples)


@contextmanager
def _progress(batches: int, *, shown: bool) -> Iterator[Callable[[], object]]:
    """A bar; what is yielded moves it on by a batch."""
    if not shown:
        yield lambda: None
        return
    from tqdm import tqdm

    shape = "{percentage:3.0f} % |{bar}| batch {n_fmt} of {total_fmt}, {remaining} left"
    with tqdm(
        total=batches, file=sys.stdout, leave=False, dynamic_ncols=True, bar_format=shape
    ) as bar:
        yield bar.update


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdigit() and int(part) for part in parts) or len(set(parts)) < len(parts):
        raise argparse.ArgumentTypeError(f"{text!r}, expected different pixels, e.g. 192,224")
    return tuple(int(part) for part in parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluate",
        description="Tells what any weights get right and wrong on a data set.",
        epilog="--config.<field>=<value> changes a field of the config; only the groups data and"
        " evaluation matter here.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", required=True, metavar="FILE[:VARIANT]", help="whose data: configs/digits.py")
    add(
        "--weights",
        required=True,
        metavar="SOURCE",
        help="a training run's directory, a file (.safetensors, .pth), an exported folder, or"
        " timm's tag of published weights, e.g. seresnet50.a1_in1k",
    )
    add("--model", metavar="NAME", help="of the network, for a file of weights, e.g. seresnet50")
    add("--kind", choices=("ema", "raw"), help="of a run's weights: moving averages, or not (ema)")
    add("--split", choices=SPLITS, default="test", help="(test)")
    add("--sizes", type=_sizes, default=(), metavar="S,T,...", help="pixels (the weights' own)")
    add("--out", metavar="DIR", help="where report.json, per_class.csv and confusion.* are written")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
