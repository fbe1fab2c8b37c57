"""Gates of all blocks at once, from the network's first to its last."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from senet_jax.attention.statistics import OPEN, SHUT, GateStatistics
from senet_jax.plotting.palette import COLOURS, bare, limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 40


def plot_gate_heatmap(statistics: Mapping[str, GateStatistics]) -> "Figure":
    """Mean gates over all images, a row per block and, as colour, the gates of its channels.

    Channels are sorted within each block, and every row is as wide as the others, whatever its
    number of channels, which is written beside it: what is seen is how many are shut and open.

    Args:
      statistics: of `senet_jax.attention.class_statistics`.

    Raises:
      ValueError: no blocks.
    """
    from matplotlib.figure import Figure

    means = _means(statistics)
    figure = Figure(figsize=(7.0, 1.4 + 0.24 * len(means)), layout="constrained")
    panel = figure.subplots()
    width = max(map(len, means.values()))
    rows = [np.sort(m)[np.arange(width) * len(m) // width] for m in means.values()]
    low, high = float(np.min(rows)), float(np.max(rows))
    if high - low < 0.1:  # all but constant: no contrast where there is no difference
        low, high = (low + high) / 2 - 0.05, (low + high) / 2 + 0.05
    image = panel.imshow(
        rows, cmap="cividis", vmin=low, vmax=high, aspect="auto", interpolation="nearest"
    )
    panel.set_yticks(range(len(means)), list(means), fontsize=8)
    panel.tick_params(length=0)
    panel.set_xticks([])
    panel.set_xlabel("channels of the block, from the most shut to the widest open", fontsize=8)
    panel.spines[:].set_visible(False)
    counts = panel.secondary_yaxis("right")
    counts.set_yticks(range(len(means)), [f"{len(m):,}" for m in means.values()], fontsize=7)
    counts.tick_params(length=0)
    counts.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=panel, aspect=25, pad=0.02)
    bar.set_label("mean gate", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    panel.set_title("Mean gate by block and channel", fontsize=11, loc="left")
    return figure


def plot_gate_histograms(statistics: Mapping[str, GateStatistics]) -> "Figure":
    """How the channels' mean gates are distributed, a histogram per block, the first on top.

    Beside each, the shares of single images' gates below 0.05 and above 0.95.

    Args:
      statistics: of `senet_jax.attention.class_statistics`.

    Raises:
      ValueError: no blocks.
    """
    from matplotlib.figure import Figure

    means = _means(statistics)
    figure = Figure(figsize=(7.0, 1.3 + 0.42 * len(means)), layout="constrained")
    panels = figure.subplots(len(means), 1, squeeze=False, sharex=True)[:, 0]
    low, high = limits(*means.values())
    edges = np.linspace(low, high, BINS + 1)
    for panel, (path, block) in zip(panels, statistics.items(), strict=True):
        heights, _ = np.histogram(means[path], edges)
        panel.stairs(heights / heights.max(initial=1), edges, fill=True, color=COLOURS[0])
        panel.set_yticks([])
        panel.set_ylim(0, 1.08)
        panel.set_xlim(low, high)
        panel.set_ylabel(path, fontsize=8, rotation=0, ha="right", va="center")
        whole = block.over_classes()
        shut, wide = (100 * float(np.mean(x)) for x in (whole.shut, whole.open))
        said = f"{shut:.1f} % < {SHUT}\n{wide:.1f} % > {OPEN}"
        panel.text(1.01, 0.5, said, transform=panel.transAxes, fontsize=7, va="center", color="0.3")
        bare(panel)
        panel.spines["left"].set_visible(False)
    panels[-1].set_xlabel(
        "mean gate of a channel; right: saturated gates of all images", fontsize=8
    )
    figure.suptitle("Gates by depth", fontsize=11)
    return figure


def _means(statistics: Mapping[str, GateStatistics]) -> dict[str, np.ndarray]:
    """Over all images, `[C]` by path.

    Raises:
      ValueError: there are none.
    """
    if not statistics:
        raise ValueError(
            "There are no gates to plot: a network with attention=None has none, and others give"
            " them by senet_jax.attention.class_statistics."
        )
    return {path: np.asarray(s.over_classes().mean)[0] for path, s in statistics.items()}
