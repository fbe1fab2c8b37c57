"""A trained network without most of its channels:

    python -m train.prune --config=configs/pruning.py:gates --workdir=runs/pruned --keep=0.5

trains (with the config's penalty), ranks the channels on the training images, cuts, and fine-tunes:
<workdir>/trained, <workdir>/cut and <workdir>/finetuned are what `senet_jax.load` reads, and
report.md says what it has cost and brought. The same command goes on where it was stopped.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from train.command import exit_code, make_deterministic
from train.config import read_config
from train.errors import WrongInput

CHOICES = "choices.json"  # what was asked for
AMOUNTS = ("keep", "parameters", "multiply_adds")  # of what stays; one of them
UNGRAFT = (
    "replace the attention of a block by its mean gates where that alone costs at most so many"
    " points of validation accuracy"
)


def main(arguments: list[str]) -> int:
    """Prunes; returns the exit code."""
    options, overrides = parse(arguments)

    def work() -> int:
        config = read_config(options.config, overrides)
        make_deterministic(config)
        prune(config, options)
        return 0

    return exit_code(work)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, half of the channels where nothing says how many stay, and the overrides."""
    options, overrides = _parser().parse_known_args(arguments)
    if options.keep is options.parameters is options.multiply_adds is None:
        options.keep = 0.5
    return options, overrides


def prune(config: ConfigDict, options: argparse.Namespace) -> None:
    """Trains, cuts, fine-tunes and reports, each unless it has been done."""
    from train.check import check  # slow: JAX and all that
    from train.loop import run
    from train.prune.cut import cut_network
    from train.prune.report import write_report
    from train.workdir import check_directory

    workdir = Path(options.workdir).absolute()
    check_directory(workdir)
    check(config)
    check_choices(options)
    check_network(config, options)
    claim(workdir, options)
    trained = Path(options.weights).absolute() if options.weights else workdir / "trained"
    if not options.weights:
        run(config, trained)
    if not (workdir / "cut.json").exists():
        cut_network(config, trained, workdir, options)
    found = json.loads((workdir / "cut.json").read_text())
    run(finetuning(config, found["model"], workdir / "cut", options), workdir / "finetuned")
    write_report(config, workdir, trained)


def finetuning(
    config: ConfigDict, model: dict[str, Any], start: Path, options: argparse.Namespace
) -> ConfigDict:
    """The config of a run that starts from the cut network: no penalty, its own schedule."""
    config = config.copy_and_resolve_references()
    config.penalty.name, config.penalty.weight = "none", 0.0
    config.model.init_from = str(start)
    config.model.name = model["name"]
    with config.unlocked():
        config.model.options = ConfigDict(model["options"])
    config.schedule.epochs = options.finetune_epochs or max(config.schedule.epochs // 2, 1)
    config.schedule.learning_rate *= options.finetune_rate
    config.schedule.warmup_epochs = min(config.schedule.warmup_epochs, config.schedule.epochs / 10)
    return config.lock()


def check_choices(options: argparse.Namespace) -> None:
    """Raises `WrongInput` with all that is wrong with them."""
    from senet_jax.pruning import SCORES
    from train.errors import unknown

    problems = []
    if options.score not in SCORES:
        problems.append(f"{unknown('score', options.score, SCORES)} (--score)")
    given = [f for f in AMOUNTS if getattr(options, f) is not None]
    if len(given) > 1:
        flags = " and ".join(f"--{field.replace('_', '-')}" for field in given)
        problems.append(f"{flags} say how much stays in {len(given)} ways: give one of them.")
    if options.keep is not None and not 0 < options.keep <= 1:
        problems.append(f"--keep={options.keep}, expected a share more than 0 and at most 1.")
    if not 0 <= options.floor <= 1:
        problems.append(f"--floor={options.floor}, expected a share from 0 to 1.")
    for field in ("parameters", "multiply_adds", "finetune_epochs"):
        count = getattr(options, field)
        if count is not None and count < 1:
            problems.append(f"--{field.replace('_', '-')}={count}, expected 1 or more.")
    if options.ungraft is not None and not 0 <= options.ungraft < math.inf:
        problems.append(f"--ungraft={options.ungraft}, expected a number of points, 0 or more.")
    if not 0 < options.finetune_rate < math.inf:
        problems.append(f"--finetune-rate={options.finetune_rate}, expected a number more than 0.")
    if options.weights and not (Path(options.weights) / "checkpoints").is_dir():
        problems.append(
            f"--weights={options.weights} is no training run: expected the directory that it was"
            " given as --workdir. Other weights: train with --config.model.init_from first."
        )
    if problems:
        raise WrongInput(problems)


def check_network(config: ConfigDict, options: argparse.Namespace) -> None:
    """Raises `WrongInput` where the network has nothing of what is asked for."""
    from senet_jax import create_model, loading
    from senet_jax.pruning.ranking import ranked_layers
    from senet_jax.pruning.ungrafting import foldable_layers
    from train.errors import refusals

    name, fields = config.model.name, config.model.options.to_dict()
    with refusals():
        if options.weights:
            saved = loading.describe(options.weights)["model"]
            name, fields = saved["name"], saved["options"]
        model = create_model(name, **fields)
        ranked_layers(options.score, model)
        if options.ungraft is not None:
            foldable_layers(model)


def claim(workdir: Path, options: argparse.Namespace) -> None:
    """Notes what is asked for, and refuses a directory where something else was."""
    from train.workdir import write_json

    asked = {k: v for k, v in vars(options).items() if k not in ("workdir", "config")}
    file = workdir / CHOICES
    if file.exists() and (before := json.loads(file.read_text())) != asked:
        changed = [
            f"{k} is {asked.get(k)}, was {v}" for k, v in before.items() if asked.get(k) != v
        ]
        trained = workdir / "trained"
        reuse = ""
        if (trained / "checkpoints").is_dir():
            reuse = f" (with --weights={trained}, its network need not be trained again)"
        raise WrongInput(
            f"{workdir} belongs to another pruning: {'; '.join(changed)}. Give another --workdir"
            f"{reuse}, or the same options to go on with that one."
        )
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(file, asked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.prune",
        description="Trains a network, cuts its least important channels, and fine-tunes what is"
        " left. The same command goes on where it was stopped.",
        epilog="--config.<field>=<value> changes a field of the config.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", required=True, metavar="FILE[:VARIANT]", help="e.g. configs/pruning.py:gates")
    add("--workdir", required=True, help="where everything is written")
    add("--weights", metavar="DIR", help="a training run to prune instead of training anew")
    add("--score", default="gate_consumer", help="how channels are ranked; see docs/pruning.md")
    add("--keep", type=float, help="share of the channels that stay, by default 0.5")
    add("--parameters", type=int, help="a budget for the whole network, instead of --keep")
    add("--multiply-adds", type=int, help="a budget for an image, instead of --keep")
    add("--floor", type=float, default=0.1, help="share of each block's channels that stays")
    add("--ungraft", type=float, metavar="POINTS", help=UNGRAFT)
    add("--finetune-epochs", type=int, help="by default half of the config's")
    add("--finetune-rate", type=float, default=0.5, help="factor of the config's learning rate")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
