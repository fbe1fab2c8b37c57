"""A sweep as dots with error bars, beside the paper's."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.sweep.table import Row, noise_band

COLOUR = "#0072B2"  # told apart from grey by anyone


def write_png(path: Path, rows: Sequence[Row], data: str, paper: str | None = None) -> None:
    """Test accuracies in the order of the page, with a band about the first: what is noise.

    Args:
      data, paper: as in `table.as_markdown`.
    """
    from matplotlib.figure import Figure

    columns = 1 if paper is None else 2
    figure = Figure(figsize=(4.5 * columns + 1, 0.26 * len(rows) + 1.4), layout="constrained")
    panels = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    places = np.arange(len(rows))
    ours = panels[0]
    errors = [0 if math.isnan(row.deviation) else row.deviation for row in rows]
    ours.errorbar(
        [row.mean for row in rows], places, xerr=errors, fmt="o", ms=5, color=COLOUR, capsize=2
    )
    for row, place in zip(rows, places, strict=True):  # every seed, to see what the mean is made of
        values = 100 * np.array(row.accuracies)
        ours.plot(values, np.full(len(values), place), "|", color="0.4", ms=5, zorder=1)
    band = noise_band(rows)
    if math.isfinite(band):
        ours.axvspan(rows[0].mean - band, rows[0].mean + band, color="0.92", zorder=0)
    ours.set_yticks(places, [row.variant for row in rows], fontsize=8)
    ours.set_ylim(len(rows) - 0.5, -0.5)
    ours.set_xlabel(f"test accuracy on {data}, %\n(grey: within noise of {rows[0].variant})")
    if paper is not None:
        published = [math.nan if row.published is None else row.published for row in rows]
        panels[1].plot(published, places, "o", ms=5, color="0.3")
        panels[1].set_xlabel(f"published accuracy on {paper}, %")
    for panel in panels:
        panel.grid(axis="both", color="0.9")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
