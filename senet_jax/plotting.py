"""Figures of what channel attention learnt, and of what pruning left.

Matplotlib is imported only when something is drawn, and figures are returned, never shown: no
global state and no display is touched. `figure.savefig("attention.png")` writes one; notebooks show
it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLUMNS = 3  # panels side by side
NAMED_CLASSES = 25  # beyond, their names would run into each other


def plot_attention_by_class(
    gates: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> "Figure":
    """The learnt attention by block and class: how each class opens and shuts the channels.

    One panel per block: a row per class, a column per channel, and as colour the mean gate of the
    class minus the mean over all classes (red: open wider for this class). All panels share one
    scale, so what is pale treats all classes alike, as the paper finds of early blocks (section 7.2
    of the journal version). Channels are lined up by the class that opens them widest.

    Args:
      gates: [classes, C] by the block's path: mean gates of each class. Leave blocks out to show
        fewer panels; a class with nan is grey.
      class_names: one for each row.

    Raises:
      ValueError: no blocks, or a shape that doesn't fit.
    """
    from matplotlib.figure import Figure

    _check(gates, class_names)
    deviations = {path: _deviation(values) for path, values in gates.items()}
    widest = max(float(np.nanmax(np.abs(d), initial=0.0)) for d in deviations.values())
    limit = widest or 1.0  # nothing differs: white all over, not an empty scale

    columns = min(COLUMNS, len(gates))
    rows = -(-len(gates) // columns)
    height = 0.5 + min(max(0.18 * len(class_names), 0.9), 4.0)  # inches a row
    size = (max(3.3 * columns + 1.2, 6.0), max(height * rows + 0.6, 2.8))  # room for the words
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat[len(gates) :]:
        panel.set_axis_off()
    for i, (path, deviation) in enumerate(deviations.items()):
        image = _draw(panels.flat[i], deviation, limit)
        _label(panels.flat[i], path, np.asarray(gates[path]), class_names, named=i % columns == 0)
    bar = figure.colorbar(image, ax=panels, aspect=40, shrink=0.8, pad=0.015)
    bar.set_label("mean gate of the class\nminus mean over classes", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    figure.suptitle("Which channels each class opens (red) and shuts (blue)", fontsize=11)
    return figure


def plot_kept_channels(kept: Mapping[str, tuple[int, int]]) -> "Figure":
    """How many channels pruning has left in each block: a bar of those that stayed on one of those
    that there were, in the order given.

    Args:
      kept: (channels now, channels uncut) by block, from `senet_jax.pruning.kept_channels`.

    Raises:
      ValueError: no blocks, or numbers that are none of channels.
    """
    from matplotlib.figure import Figure

    if not kept:
        raise ValueError("There are no blocks to plot: expected those of pruning.kept_channels.")
    if wrong := {block: pair for block, pair in kept.items() if not 0 < pair[0] <= pair[1]}:
        raise ValueError(
            f"kept has {wrong}, expected (channels now, channels uncut), from 1 up to all."
        )
    now, uncut = ([pair[i] for pair in kept.values()] for i in (0, 1))
    figure = Figure(figsize=(6.5, 1.3 + 0.22 * len(kept)), layout="constrained")
    panel = figure.subplots()
    rows = range(len(kept))
    panel.barh(rows, uncut, color="0.85", label="uncut")
    panel.barh(rows, now, color="#0072B2", label="kept")  # dark on light: told apart in grey, too
    for row, (left, of) in enumerate(zip(now, uncut, strict=True)):
        panel.annotate(
            f"{left:,} of {of:,}",
            (of, row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color="0.3",
        )
    panel.set_yticks(rows, list(kept), fontsize=8)
    panel.set_ylim(len(kept) - 0.4, -0.6)  # the first block on top
    panel.set_xlim(0, 1.18 * max(uncut))  # room for the numbers
    panel.set_xlabel("channels", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.tick_params(axis="y", length=0)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.set_title(
        f"Channels kept by block: {sum(now):,} of {sum(uncut):,}", fontsize=11, loc="left"
    )
    figure.legend(loc="outside lower right", ncols=2, fontsize=8, frameon=False)
    return figure


def _check(gates: Mapping[str, np.ndarray], class_names: Sequence[str]) -> None:
    if not gates:
        raise ValueError(
            "There are no gates to plot: a network with attention=None has none, and others give"
            " them by senet_jax.attention_weights."
        )
    for path, values in gates.items():
        shape = np.shape(values)
        if len(shape) != 2 or shape[0] != len(class_names) or not shape[1]:
            raise ValueError(
                f"The gates of {path} have shape {shape}, expected [classes, C] with"
                f" {len(class_names)} classes, as there are names."
            )


def _deviation(values: np.ndarray) -> np.ndarray:
    """Gates [classes, C] minus their mean over classes, channels by the class that is highest."""
    values = np.asarray(values, np.float64)
    known = ~np.isnan(values)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    deviation = values - mean
    ranked = np.where(known, deviation, -np.inf)
    return deviation[:, np.lexsort((-ranked.max(axis=0), ranked.argmax(axis=0)))]


def _draw(panel: "Axes", deviation: np.ndarray, limit: float) -> "AxesImage":
    panel.set_facecolor("0.8")  # shows where there is nothing to show
    return panel.imshow(
        deviation,
        cmap="RdBu_r",  # told apart by the colour-blind, white at zero
        vmin=-limit,
        vmax=limit,
        aspect="auto",
    )


def _label(
    panel: "Axes", path: str, values: np.ndarray, class_names: Sequence[str], *, named: bool
) -> None:
    panel.set_title(path, fontsize=9, loc="left", pad=3)
    if not np.isnan(values).all():
        panel.set_title(
            f"mean {np.nanmean(values):.2f}", fontsize=8, loc="right", pad=3, color="0.4"
        )
    panel.set_xlabel(f"{values.shape[1]:,} channels", fontsize=8, labelpad=2)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    if named and len(class_names) <= NAMED_CLASSES:
        panel.set_yticks(range(len(class_names)), class_names, fontsize=7)
        panel.tick_params(length=0, pad=2)
    elif named:
        panel.set_ylabel(f"{len(class_names):,} classes", fontsize=8)
