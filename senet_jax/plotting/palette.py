"""Colours, the plain look and the names of classes that the figures share."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# of Okabe and Ito, told apart by the colour-blind; in lines, their order also tells them apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
ALL = "0.15"  # of all classes together


def bare(panel: "Axes") -> None:
    """Takes the frame's upper and right side away, and makes the numbers small."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=7, length=2)


def literal(name: object) -> str:
    """A class's name as matplotlib shows it letter by letter: it would take what stands between two
    dollars for a formula, and leave out of a legend what begins with an underscore.
    """
    text = str(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def limits(*values: np.ndarray) -> tuple[float, float]:
    """An axis for gates: 0 to 1, and further where they are; a margin around."""
    finite = np.concatenate([np.ravel(v)[np.isfinite(np.ravel(v))] for v in values] or [[]])
    low = min(0.0, float(finite.min(initial=0.0)))
    high = max(1.0, float(finite.max(initial=1.0)))
    margin = 0.03 * (high - low)
    return low - margin, high + margin
