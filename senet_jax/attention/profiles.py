"""Numbers that sum up profiles: mean gates `[classes, C]` of one block."""

import numpy as np

from senet_jax.attention.statistics import GateStatistics


def profile_distances(mean: np.ndarray) -> np.ndarray:
    """How differently a block treats the classes: `[classes, C]` -> `[classes, classes]`, the root
    mean square over the channels of the difference of two classes' gates.

    From 0, alike, to 1 for gates in (0, 1); nan for a class whose gates are.

    Raises:
      ValueError: another shape.
    """
    mean = np.asarray(mean, np.float64)
    if mean.ndim != 2:
        raise ValueError(f"mean has shape {mean.shape}, expected [classes, C], of one block.")
    # one row at a time: all differences at once would be [classes, classes, C]
    return np.stack([np.sqrt(np.mean(np.square(mean - row), axis=1)) for row in mean])


def between_class_share(statistics: GateStatistics) -> float:
    """The share of the gates' variance over the images that is between classes, 0 to 1.

    0: all classes are treated alike, as the paper finds of early blocks; 1: the gates follow from
    the class alone. 0 where nothing varies.
    """
    whole = float(np.sum(statistics.over_classes().squares))
    within = float(np.sum(statistics.squares))
    return max(0.0, 1 - within / whole) if whole > 0 else 0.0


def saturation(statistics: GateStatistics) -> tuple[float, float]:
    """Shares of a block's gates that are below 0.05 and above 0.95, over all images."""
    everything = statistics.over_classes()
    return float(np.mean(everything.shut)), float(np.mean(everything.open))


def effective_channels(mean: np.ndarray) -> np.ndarray:
    """How many equally open channels would let through as much: `[..., C]` -> `[...]`.

    The participation ratio `(sum g)^2 / sum g^2`, from 1, a single open channel, to C, all alike;
    0 where all are shut. Of gates that may be negative, of their sizes.
    """
    g = np.abs(np.asarray(mean, np.float64))
    square = np.sum(g**2, axis=-1)
    return np.where(square > 0, np.sum(g, axis=-1) ** 2 / np.where(square > 0, square, 1), 0.0)
