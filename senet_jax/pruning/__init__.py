"""Smaller networks from trained ones, by what attention or batch norm say of the channels.

statistics = measure(model, variables, batches)
ranking = scores("gate_consumer", model, variables, statistics)
model, variables = cut(model, variables, keep_share(ranking, 0.5), statistics)

What comes out is a usual model of the zoo with other widths, see `cut_options`.
"""

from senet_jax.pruning.cutting import cut
from senet_jax.pruning.description import cut_options, kept_channels
from senet_jax.pruning.plans import Plan, keep_budget, keep_share
from senet_jax.pruning.ranking import SCORES, scores
from senet_jax.pruning.statistics import BlockStatistics, Statistics, measure
from senet_jax.pruning.ungrafting import Ungrafting, ungraft, ungrafting_losses

__all__ = [
    "measure",
    "scores",
    "keep_share",
    "keep_budget",
    "cut",
    "ungraft",
    "ungrafting_losses",
    "cut_options",
    "kept_channels",
    "SCORES",
    "BlockStatistics",
    "Plan",
    "Statistics",
    "Ungrafting",
]
