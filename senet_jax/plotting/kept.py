"""What pruning left of each block."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
