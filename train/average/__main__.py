"""The mean of a run's last checkpoints, as a network of its own:

    python -m train.average runs/digits --last=5 --out=runs/digits-averaged

What is written is a directory that `senet_jax.load`, `predict` and `train.evaluate` read.
"""

import argparse
import sys
from pathlib import Path

from train.command import exit_code
from train.config import read_config
from train.errors import WrongInput, refusals

AFRESH = (
    "measure batch norm's statistics of the mean network on so many training batches of --config,"
    " instead of taking the mean of the checkpoints'"
)


def main(arguments: list[str]) -> int:
    """Averages; returns the exit code."""
    options, overrides = _parser().parse_known_args(arguments)

    def work() -> int:
        average(options, overrides)
        return 0

    return exit_code(work)


def average(options: argparse.Namespace, overrides: list[str]) -> None:
    """Reads, averages, writes.

    Raises:
      WrongInput: no such checkpoints, or --out is taken.
    """
    check_choices(options, overrides)
    config = read_config(options.config, overrides) if options.recompute else None
    from senet_jax import loading  # slow: JAX and all that
    from train.average.networks import (
        averaged_variables,
        check_same_data,
        choose_steps,
        fresh_statistics,
    )
    from train.check import check
    from train.checkpoints import save_network
    from train.data import make_data
    from train.parallel import Devices
    from train.workdir import check_directory

    workdir, out = Path(options.run).absolute(), Path(options.out).absolute()
    check_directory(out, "--out")
    if loading.saved_steps(loading.checkpoint_directory(out)):
        raise WrongInput(f"{out} has checkpoints already: give another --out.")
    with refusals():
        steps = choose_steps(workdir, options.last, options.steps)
        description = loading.read_description(loading.checkpoint_directory(workdir), steps[-1])
        variables = averaged_variables(workdir, steps, options.kind)
    if config is not None:
        check(config)
        with refusals():
            data = make_data(config)
            check_same_data(description, data, workdir)
        devices = Devices(config.parallel)
        variables["batch_stats"] = fresh_statistics(
            config, description, variables, data, devices, options.recompute
        )
    about = {
        "run": str(workdir),
        "steps": steps,
        "weights": options.kind,
        "recomputed_on_batches": options.recompute,
    }
    save_network(out, variables, description | {"averaged": about})
    print(
        f"mean of the {options.kind} weights of steps {', '.join(map(str, steps))}: {options.out}"
    )


def check_choices(options: argparse.Namespace, overrides: list[str]) -> None:
    """Raises `WrongInput` with all that is wrong with them."""
    problems = []
    if options.steps is not None and len(options.steps) < 2:
        problems.append(f"--steps names {len(options.steps)} checkpoint, expected 2 or more.")
    if options.last < 2:
        problems.append(f"--last={options.last}, expected 2 checkpoints or more.")
    if options.recompute < 0:
        problems.append(f"--recompute={options.recompute}, expected a number of batches.")
    if options.recompute > 0 and not options.config:
        problems.append(
            "--recompute needs the training images: name the config of the run"
            " (--config=configs/digits.py)."
        )
    idle = [f"--config={options.config}"] * bool(options.config) + overrides
    if idle and not options.recompute:
        problems.append(
            f"{' '.join(idle)} would change nothing: a config is for --recompute=BATCHES alone"
            " (--help has all options)."
        )
    if problems:
        raise WrongInput(problems)


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdigit() for part in parts) or len(set(parts)) < len(parts):
        raise argparse.ArgumentTypeError(f"{text!r}, expected different numbers, e.g. 100,200")
    return [int(part) for part in parts]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.average",
        description="Writes the mean of several checkpoints of a run.",
        epilog="With --recompute, --config.<field>=<value> changes a field of the config.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="the directory of a training run")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last", type=int, default=5, metavar="N", help="checkpoints (5)")
    which.add_argument("--steps", type=_numbers, metavar="K,L,...", help="these, instead")
    add("--out", required=True, metavar="DIR", help="where the mean is written")
    add("--kind", choices=("raw", "ema"), default="raw", help="of what was saved (raw)")
    add("--recompute", type=int, default=0, metavar="BATCHES", help=AFRESH)
    add("--config", metavar="FILE[:VARIANT]", help="of the run, for --recompute")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
