"""The paper's ablations (arXiv 1709.01507, section 6), on the handwritten digits.

    python -m train.sweep --config=configs/ablation.py --workdir=runs/ablation --jobs=2
    python -m train --config=configs/ablation.py:reduction_4 --workdir=runs/reduction-4

A small base network: one block in each of three stages of 16, 32 and 64 channels, r = 16. Where
C / r is less than one, the bottleneck has one unit. Hardware: two CPU cores. A quarter of a minute
a run, and as much again for a variant's first seed.

On 360 test images all of these differ by noise: the page shows that each variant trains and what it
costs, and is the protocol for larger data.
"""

from ml_collections import ConfigDict

from configs import digits

SE = {"name": "se", "divisor": 1}  # divisor: C / r rounded, at least 1

# options of the model
OPTIONS = {
    "se": {"attention": SE},
    # 6.1: reduction ratio
    "reduction_2": {"attention": {**SE, "reduction": 2}},
    "reduction_4": {"attention": {**SE, "reduction": 4}},
    "reduction_8": {"attention": {**SE, "reduction": 8}},
    "reduction_32": {"attention": {**SE, "reduction": 32}},
    # 6.2: squeeze, by the maximum
    "max_squeeze": {"attention": "max_squeeze"},
    # 6.3: last function of the excitation
    "gate_relu": {"attention": {**SE, "gate": "relu"}},
    "gate_tanh": {"attention": {**SE, "gate": "tanh"}},
    # 6.4: stages
    "only_stage_1": {"attention": ("se", None, None)},
    "only_stage_2": {"attention": (None, "se", None)},
    "only_stage_3": {"attention": (None, None, "se")},
    "plain": {"attention": None},
    # 6.5: place
    "place_pre": {"attention": SE, "placement": "pre"},
    "place_post": {"attention": SE, "placement": "post"},
    "place_identity": {"attention": SE, "placement": "identity"},
    "place_3x3": {"attention": SE, "placement": "3x3"},
    # 7.1: no squeeze
    "no_squeeze": {"attention": "no_squeeze"},
}
VARIANTS = tuple(OPTIONS)

# Tables 10 to 16: SE-ResNet-50, 100 - top-1 error. Stage n of the paper, "conv n_x", is our n - 1,
# and its network has one stage more.
PAPER_DATA = "ImageNet with ResNet-50"
PAPER = {
    "se": 77.72,
    "reduction_2": 77.71,
    "reduction_4": 77.75,
    "reduction_8": 77.74,
    "reduction_32": 77.28,
    "max_squeeze": 77.43,
    "gate_relu": 76.53,
    "gate_tanh": 77.00,
    "only_stage_1": 76.97,
    "only_stage_2": 76.96,
    "only_stage_3": 77.32,
    "plain": 76.70,
    "place_pre": 77.77,
    "place_post": 77.22,
    "place_identity": 77.80,
    "place_3x3": 77.52,
    "no_squeeze": 77.07,
}


def get_config(variant: str = "se") -> ConfigDict:
    """The base network with the variant's options."""
    variant = variant or "se"
    if variant not in OPTIONS:
        raise ValueError(f"Unknown variant '{variant}'. There are: {', '.join(OPTIONS)}.")
    return base(**OPTIONS[variant])


def base(**options: object) -> ConfigDict:
    """The digits' recipe, shorter, on a smaller network with these options."""
    config = digits.get_config()
    with config.unlocked():
        config.model.options.stage_sizes = (1, 1, 1)
        config.model.options.update(options)
    config.schedule.epochs = 20
    config.schedule.warmup_epochs = 2.0
    config.ema_decay = 0.95
    return config
