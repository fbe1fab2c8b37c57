"""Figures of what channel attention learnt, and of what pruning left.

Matplotlib is imported only when something is drawn, and figures are returned, never shown: no
global state and no display is touched. `figure.savefig("attention.png")` writes one; notebooks show
it.
"""

from senet_jax.plotting.by_class import plot_attention_by_class
from senet_jax.plotting.by_depth import plot_gate_heatmap, plot_gate_histograms
from senet_jax.plotting.curves import plot_ablation
from senet_jax.plotting.excitation import plot_role_of_excitation
from senet_jax.plotting.kept import plot_kept_channels
from senet_jax.plotting.one_image import plot_image

__all__ = [
    "plot_attention_by_class",
    "plot_role_of_excitation",
    "plot_gate_heatmap",
    "plot_gate_histograms",
    "plot_ablation",
    "plot_image",
    "plot_kept_channels",
]
