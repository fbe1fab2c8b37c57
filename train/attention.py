"""What the channel attention of any weights does for a data set of the trainer:

    python -m train.attention --config=configs/digits.py --weights=runs/digits --out=report

The config says which images; the network and how its images are prepared follow from the weights.
docs/attention.md has an example.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from train.command import exit_code
from train.config import read_config
from train.errors import WrongInput, refusals

if TYPE_CHECKING:
    import jax
    from ml_collections import ConfigDict

    from senet_jax.preprocessing import Preprocess
    from train.data.pipeline import EvaluationBatches

Batches = Callable[[str], Iterator[tuple["jax.Array", ...]]]


def main(arguments: list[str]) -> int:
    """Writes the report; returns the exit code."""
    options, overrides = _parser().parse_known_args(arguments)

    def work() -> int:
        report(read_config(options.config, overrides), options)
        return 0

    return exit_code(work)


def report(config: "ConfigDict", options: argparse.Namespace) -> None:
    """Writes the report on the split to --out.

    Raises:
      WrongInput: the weights are not there, not for these classes or without attention, --out is
        taken, or several processes are at it.
    """
    import jax  # slow, as the next ones

    from senet_jax.attention_report import PAGE, Subject, write_report
    from senet_jax.loading import load
    from train.check import check
    from train.data import make_data
    from train.evaluate.__main__ import batches_of, check_classes, ways
    from train.workdir import check_directory

    out = Path(options.out).absolute()
    check_directory(out, "--out")
    if (out / PAGE).exists():
        raise WrongInput(f"{out} has an {PAGE} already: give another --out.")
    if jax.process_count() > 1:
        raise WrongInput("A report is written by one process: start it on one host alone.")
    config = config.copy_and_resolve_references()
    config.model.init_from = ""  # what a run started from is not needed to look at it
    check(config)
    source = options.weights, options.model
    with refusals():
        data = make_data(config, 0, 1)
        model, variables = load(*source, weights=options.kind, in_chans=data.image_shape[-1])
        check_classes(model, data, *source)
        (way,) = ways(data, (), *source)
        subject = Subject(
            model,
            variables,
            _batches(batches_of(data, options.split), way),
            data.class_names,
            data.class_names,
            judged=True,
            name_of=lambda number: f"{options.split} image {number}",
        )
        about = {"weights": options.weights, "data": f"{config.data.name}, {options.split}"}
        write_report(out, subject, about)
    print(f"report: {Path(options.out) / PAGE}", flush=True)


def _batches(stored: "EvaluationBatches", way: "Preprocess") -> Batches:
    """The split's batches as the network takes them, again and again; a bar says how far it is."""
    from functools import partial

    import jax
    from tqdm import tqdm

    from train.data.pipeline import read
    from train.evaluate.counts import prepared

    prepare = jax.jit(partial(prepared, way=way))

    def batches(what: str) -> Iterator[tuple["jax.Array", ...]]:
        reading = read(stored, 0, ahead=False)
        shown = None if sys.stdout.isatty() else True  # disabled, where it is no terminal
        for batch in tqdm(reading, what, len(stored), leave=False, disable=shown, file=sys.stdout):
            yield prepare(batch["image"]), batch["label"], batch["mask"]

    return batches


def _parser() -> argparse.ArgumentParser:
    from train.evaluate.__main__ import SPLITS

    parser = argparse.ArgumentParser(
        prog="python -m train.attention",
        description="Reports what the channel attention of any weights does for a data set.",
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
    add("--out", required=True, metavar="DIR", help="a new folder for the report")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
