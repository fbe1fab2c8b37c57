"""Networks to be pruned, on the handwritten digits; docs/pruning.md has what comes of it.

    python -m train.prune --config=configs/pruning.py:gates --workdir=runs/pruned --keep=0.5
    python -m train.prune --config=configs/pruning.py:slimming --workdir=runs/slim --score=slimming
    python -m train.prune --config=configs/pruning.py --workdir=runs/random --score=random

The base network of configs/ablation.py, with SE after the first 3x3 convolution of each block: its
gates are those of the channels that can go. "gates" presses them to a mean of a quarter, "slimming"
the batch norms' scales to zero. Hardware: two CPU cores. Half a minute to train, as much to
fine-tune.
"""

from ml_collections import ConfigDict

from configs.ablation import base

VARIANTS = ("", "gates", "slimming")


def get_config(variant: str = "") -> ConfigDict:
    """Without a penalty, or with that of the variant."""
    if variant not in VARIANTS:
        raise ValueError(f"Unknown variant '{variant}'. There are: gates, slimming, or none.")
    config = base(placement="3x3")
    config.schedule.epochs = 40
    config.penalty.warmup_epochs = 10.0
    if variant == "gates":
        config.penalty.name = "hinge"
        config.penalty.weight = 2.0
        config.penalty.rate = 0.25
        config.penalty.polarisation = 0.1
        config.optimizer.decay_attention = False
    if variant == "slimming":
        config.penalty.name = "slimming_proximal"
        config.penalty.weight = 0.1
    return config
