"""Several prunings side by side, by what is kept: a table, and a picture of means over seeds:
`python -m train.prune.curve --out=curve.png runs/pruned-*`.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from senet_jax import loading
from train.errors import WrongInput
from train.prune.__main__ import CHOICES

# ranked by, after which training -> share kept -> stage -> accuracies, per cent
Curves = dict[str, dict[float, dict[str, list[float]]]]

BUDGETS = ("parameters", "multiply_adds")
SHOWN = ("score", "keep", "weights")  # choices by which prunings are told apart, or seeds differ
STAGES = ("before", "cut", "fine-tuned")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # told apart by the colour-blind
MARKS = "os^D"


def read_curves(workdirs: Sequence[Path]) -> Curves:
    """Test accuracies of finished prunings.

    Raises:
      WrongInput: one of them is none, has a budget, or differs in what the table does not show.
    """
    rest: dict[str, Any] | None = None
    curves: Curves = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for workdir in workdirs:
        if not (workdir / "report.json").exists():
            raise WrongInput(f"{workdir} has no report.json: expected a pruning that has ended.")
        asked = json.loads((workdir / CHOICES).read_text())
        if any(asked[field] is not None for field in BUDGETS):
            raise WrongInput(f"{workdir} was cut to a budget: expected prunings by --keep alone.")
        others = {field: value for field, value in asked.items() if field not in SHOWN}
        rest = others if rest is None else rest
        if changed := [f"{field} is {v}" for field, v in others.items() if rest.get(field) != v]:
            raise WrongInput(
                f"{workdir} is another experiment than {workdirs[0]}: {', '.join(changed)}. Give"
                " prunings that differ in score, keep, config and seed alone."
            )
        penalty = loading.describe(workdir / "cut")["config"]["penalty"]["name"]
        trained = "no penalty" if penalty == "none" else f"{penalty} penalty"
        stages = json.loads((workdir / "report.json").read_text())["stages"]
        for stage in STAGES:
            accuracy = 100 * stages[stage]["test_accuracy"]
            curves[f"{asked['score']}, {trained}"][asked["keep"]][stage].append(accuracy)
    return curves


def as_markdown(curves: Mapping[str, Mapping[float, Mapping[str, Sequence[float]]]]) -> str:
    """A row for each ranking and share: means and standard deviations over seeds."""
    text = "| ranked by, trained with | kept, % | seeds | before | cut | fine-tuned |\n"
    text += "| --- | --- | --- | --- | --- | --- |\n"
    for arm, shares in curves.items():
        for keep in sorted(shares, reverse=True):
            cells = [_with_deviation(shares[keep][stage]) for stage in STAGES]
            count = len(shares[keep]["cut"])
            text += f"| {arm} | {100 * keep:g} | {count} | {' | '.join(cells)} |\n"
    return text


def write_png(path: Path, curves: Mapping[str, Mapping[float, Mapping[str, list[float]]]]) -> None:
    """Accuracy by what is kept, after the cut and after fine-tuning."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, stage in zip(panels, STAGES[1:], strict=True):
        for i, (arm, shares) in enumerate(curves.items()):
            kept = sorted(shares)
            panel.errorbar(
                [100 * keep * 1.02**i for keep in kept],  # side by side, not on each other
                [statistics.fmean(shares[keep][stage]) for keep in kept],
                yerr=[_deviation(shares[keep][stage]) for keep in kept],
                color=COLOURS[i % len(COLOURS)],
                marker=MARKS[i % len(MARKS)],
                ms=5,
                capsize=2,
                label=arm,
            )
        panel.set_xscale("log")
        ticks = sorted({100 * keep for shares in curves.values() for keep in shares})
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        panel.set_xlabel("channels kept, %")
        panel.set_ylabel("test accuracy, %")
        panel.set_title({"cut": "as cut"}.get(stage, stage), loc="left", fontsize=10)
        panel.grid(color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _with_deviation(values: Sequence[float]) -> str:
    spread = f" ± {_deviation(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}"


def main(arguments: list[str]) -> int:
    """Draws and prints; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m train.prune.curve", allow_abbrev=False)
    parser.add_argument("--out", required=True, type=Path, help="the picture")
    parser.add_argument("workdirs", nargs="+", type=Path, help="of python -m train.prune")
    options = parser.parse_args(arguments)
    try:
        curves = read_curves(options.workdirs)
    except WrongInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_png(options.out, curves)
    print(as_markdown(curves))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
