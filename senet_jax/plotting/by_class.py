"""The learnt attention by block and class, every class and channel at once."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from senet_jax.plotting.palette import literal

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
        panel.set_yticks(
            range(len(class_names)), [literal(name) for name in class_names], fontsize=7
        )
        panel.tick_params(length=0, pad=2)
    elif named:
        panel.set_ylabel(f"{len(class_names):,} classes", fontsize=8)
