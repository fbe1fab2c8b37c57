"""A confusion matrix as a picture that can be read for ten classes and for a thousand."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

DPI = 150
SIDE = 900  # pixels that the matrix takes, about; a cell has two at least, and the same as others
CELL = (2, 150)  # pixels, least and most
NAMED = 60  # classes; beyond, their names would run into each other
NUMBERED = 25  # classes; beyond, counts would not fit into their cells
PALEST = 0.4  # of the map's colours: what is rare is still not white


def draw_confusion(confusion: np.ndarray, class_names: Sequence[str]) -> "Figure":
    """Rows are the images' classes, columns what they were taken for, colours the share of the row.

    One blue from pale to dark, told apart by anyone, and by the root of the share, so that single
    errors among many images show; white is none at all, grey a class without images.

    Args:
      confusion: counts [classes, classes].
      class_names: shown beside rows and columns where there is room.

    Returns:
      A figure to be saved with `bbox_inches="tight"`: names are as long as they are.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    classes = len(class_names)
    cell = int(np.clip(SIDE // classes, *CELL))
    side = cell * classes / DPI  # inches
    figure = Figure(figsize=(side, side), dpi=DPI)
    panel = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    images = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(images, 1)
    panel.set_facecolor("white")
    drawn = panel.imshow(
        np.ma.masked_where((shares == 0) & (images > 0), np.where(images > 0, shares, -1)),
        cmap=_blues(),
        norm=PowerNorm(0.5, vmin=0, vmax=1),
        interpolation="nearest",
    )
    _label(panel, class_names, cell)
    if classes <= NUMBERED:
        _number(panel, confusion, shares)
    bar = figure.add_axes((1.0 + 0.15 / side, 0.0, 0.12 / side, 1.0))
    figure.colorbar(drawn, cax=bar, ticks=[0.01, 0.05, 0.1, 0.25, 0.5, 1]).set_label(
        "share of the class's images", fontsize=8
    )
    bar.set_yticklabels([f"{share:g} %" for share in (1, 5, 10, 25, 50, 100)], fontsize=7)
    return figure


def _blues() -> "Colormap":
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    blues = ListedColormap(colormaps["Blues"](np.linspace(PALEST, 1, 256)))
    return blues.with_extremes(under="0.8", bad="white")


def _label(panel: "Axes", class_names: Sequence[str], cell: int) -> None:
    classes = len(class_names)
    panel.set_ylabel("class", fontsize=9)
    panel.set_xlabel("taken for", fontsize=9)
    panel.tick_params(length=0, labelsize=8)
    for spine in panel.spines.values():
        spine.set(color="0.6", linewidth=0.5)
    if classes <= NAMED:
        size = min(8.0, 0.75 * cell * 72 / DPI)  # points
        panel.set_yticks(range(classes), class_names, fontsize=size)
        turned = 90 if max(map(len, class_names)) > 2 else 0
        panel.set_xticks(range(classes), class_names, fontsize=size, rotation=turned)


def _number(panel: "Axes", confusion: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), number in np.ndenumerate(confusion):
        if number:
            colour = "white" if shares[row, column] > 0.3 else "black"
            panel.text(
                column, row, f"{number:,}", ha="center", va="center", fontsize=7, color=colour
            )
