"""Accuracy while channels are shut, in the order of their gates and at random."""

from typing import TYPE_CHECKING

from senet_jax.attention.influence import Curves
from senet_jax.plotting.palette import COLOURS, bare

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_ablation(curves: Curves) -> "Figure":
    """Deletion and insertion curves beside those of a random order.

    Args:
      curves: of `senet_jax.attention.ablation_curves`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 2.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    pairs = (
        ("Shut the widest open", curves.deletion, curves.random_deletion, "shut"),
        ("Leave only the widest open", curves.insertion, curves.random_insertion, "left"),
    )
    x = [100 * share for share in curves.shares]
    for panel, (title, by_gate, at_random, what) in zip(panels, pairs, strict=True):
        panel.plot(x, 100 * by_gate, color=COLOURS[0], marker="o", ms=3.5, label="by gate")
        panel.plot(
            x, 100 * at_random, color=COLOURS[1], marker="s", ms=3.5, ls="--", label="at random"
        )
        panel.set_title(title, fontsize=9, loc="left")
        panel.set_xlabel(f"% of channels {what}", fontsize=8)
        panel.set_ylim(-3, 103)
        bare(panel)
    panels[0].set_ylabel("accuracy, %", fontsize=8)
    panels[0].legend(fontsize=8, frameon=False)
    return figure
