"""The paper's figure of the role of excitation, for any network and data set."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from senet_jax.attention.profiles import between_class_share
from senet_jax.attention.statistics import GateStatistics
from senet_jax.plotting.palette import ALL, COLOURS, bare, limits, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3  # panels side by side
MOST_CHANNELS = 64  # in a panel: more points would run into each other; the paper shows 50


def plot_role_of_excitation(
    statistics: Mapping[str, GateStatistics],
    class_names: Sequence[str],
    classes: Sequence[int] | None = None,
    *,
    most_channels: int = MOST_CHANNELS,
) -> "Figure":
    """Mean gates by channel of a few classes against all (arXiv 1709.01507v4, figures 6 and 7).

    A panel for each block, with a line for each class, a band of one standard deviation within it,
    and a black line for all images. Lines that coincide: the block gates all classes alike, as the
    paper finds of early blocks. Channels are sorted by the mean over all images, and of many, as
    many as fit are drawn, evenly spaced in that order; the title of a panel says how many there are
    and which share of the gates' variance is between classes.

    Args:
      statistics: of `senet_jax.attention.class_statistics`. Leave blocks out to show fewer panels.
      class_names: one for each class.
      classes: those that are drawn, up to six. None: up to four that have images, evenly spaced.
      most_channels: drawn in a panel, at most.

    Raises:
      ValueError: no blocks or channels, names that do not fit, or more classes than there are
        colours.
    """
    from matplotlib.figure import Figure

    _check(statistics, class_names)
    shown = _usual(statistics) if classes is None else list(classes)
    if len(shown) > len(COLOURS) or not all(0 <= c < len(class_names) for c in shown):
        raise ValueError(
            f"classes={shown}, expected up to {len(COLOURS)} of 0 to {len(class_names) - 1}."
        )
    if most_channels < 1:
        raise ValueError(f"most_channels={most_channels}, expected 1 or more to draw.")
    columns = min(COLUMNS, len(statistics))
    rows = -(-len(statistics) // columns)
    size = (max(3.5 * columns, 6.0), 2.1 * rows + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel in panels.flat[len(statistics) :]:
        panel.set_axis_off()
    for panel, (path, block) in zip(panels.flat, statistics.items(), strict=False):
        _draw(panel, block, shown, class_names, most_channels)
        panel.set_title(path, fontsize=9, loc="left", pad=4)
        share = f"{100 * between_class_share(block):.0f} % between classes"
        panel.set_title(share, fontsize=7, loc="right", pad=4, color="0.4")
    means = [np.asarray(block.mean) for block in statistics.values()]
    panels[0, 0].set_ylim(limits(*means))
    for row in panels:
        row[0].set_ylabel("gate", fontsize=8)
    lines, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        lines, names, loc="outside lower center", ncols=min(len(names), 7), fontsize=8,
        frameon=False,
    )  # fmt: skip
    figure.suptitle(
        "Mean gate by channel, and one standard deviation within the class", fontsize=11
    )
    return figure


def _check(statistics: Mapping[str, GateStatistics], class_names: Sequence[str]) -> None:
    if not statistics:
        raise ValueError(
            "There are no gates to plot: a network with attention=None has none, and others give"
            " them by senet_jax.attention.class_statistics."
        )
    for path, block in statistics.items():
        if len(block.count) != len(class_names):
            raise ValueError(
                f"The statistics of {path} are of {len(block.count)} classes, expected"
                f" {len(class_names)}, as there are names."
            )


def _usual(statistics: Mapping[str, GateStatistics]) -> list[int]:
    known = np.flatnonzero(np.asarray(next(iter(statistics.values())).count) > 0)
    places = np.linspace(0, len(known) - 1, min(4, len(known))).round().astype(int)
    return [int(c) for c in known[places]]


def _draw(
    panel: "Axes",
    block: GateStatistics,
    shown: Sequence[int],
    class_names: Sequence[str],
    most_channels: int,
) -> None:
    everything = np.asarray(block.over_classes().mean)[0]
    order = np.argsort(everything, kind="stable")
    there = len(order)
    if there > most_channels:
        order = order[np.linspace(0, there - 1, most_channels).round().astype(int)]
    x = np.arange(len(order))
    mean, std = block.known_mean, np.asarray(block.std)
    mark = "." if len(order) == 1 else ""  # a line of one point would not be seen
    for colour, c in zip(COLOURS, shown, strict=False):
        low, high = (mean[c] + sign * std[c] for sign in (-1, 1))
        panel.fill_between(x, low[order], high[order], color=colour, alpha=0.13, linewidth=0)
        panel.plot(
            x, mean[c][order], color=colour, lw=1.1, marker=mark, label=literal(class_names[c])
        )
    if len(block.count) > 1:
        panel.plot(
            x,
            everything[order],
            color=ALL,
            lw=1.4,
            ls=(0, (3, 1.5)),
            marker=mark,
            label="all images",
        )
    of = f"{there:,} channels" if len(order) == there else f"{len(order)} of {there:,} channels"
    panel.set_xlabel(f"{of}, sorted by their mean gate", fontsize=7, labelpad=2)
    panel.set_xticks([])
    panel.margins(x=0.01)
    bare(panel)
