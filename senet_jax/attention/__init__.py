"""What a network's channel attention does: its gates, their statistics over a data set, and what
the network makes of them (arXiv 1709.01507v4, section 7.2).

statistics = class_statistics(model, variables, batches, num_classes)   # one pass, any size
profile_distances(statistics["stage4/block3/se"].mean)                  # [classes, classes]
"""

from senet_jax.attention.changed import changeable_blocks, changed_gates
from senet_jax.attention.features import gated_features
from senet_jax.attention.gates import attention_weights, sown_gates
from senet_jax.attention.grad_cam import grad_cam
from senet_jax.attention.influence import (
    Curves,
    ablation_curves,
    accuracy_with_mean_gates,
    logit_sensitivity,
)
from senet_jax.attention.odd_images import OddImage, odd_images, profile_deviation
from senet_jax.attention.profiles import (
    between_class_share,
    effective_channels,
    profile_distances,
    saturation,
)
from senet_jax.attention.statistics import (
    OPEN,
    SHUT,
    GateStatistics,
    class_statistics,
    merge,
    of_batch,
)

__all__ = [
    "attention_weights",
    "sown_gates",
    "GateStatistics",
    "class_statistics",
    "of_batch",
    "merge",
    "SHUT",
    "OPEN",
    "profile_distances",
    "saturation",
    "effective_channels",
    "between_class_share",
    "OddImage",
    "odd_images",
    "profile_deviation",
    "changed_gates",
    "changeable_blocks",
    "logit_sensitivity",
    "Curves",
    "ablation_curves",
    "accuracy_with_mean_gates",
    "gated_features",
    "grad_cam",
]
