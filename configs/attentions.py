"""Every named attention, and everything that stands in place of a convolution, on the digits.

    python -m train.sweep --config=configs/attentions.py --workdir=runs/attentions --jobs=2
    python -m train --config=configs/attentions.py:eca --workdir=runs/eca

Network and recipe are those of configs/ablation.py, and so is what is said there of noise; defaults
are the authors' but for what 16 channels do not allow. Hardware: two CPU cores. A quarter of a
minute a run, and as much again for a variant's first seed.
"""

from ml_collections import ConfigDict

from configs.ablation import base

# options of the model
OPTIONS = {
    "plain": {"attention": None},
    **{
        name: {"attention": name}
        for name in (
            *("se", "se_max", "max_squeeze", "cse", "ese", "eca", "ceca", "ecam", "srm", "gct"),
            *("gaussian", "fca", "gc", "gca", "no_squeeze", "gather", "cbam", "spatial", "bam"),
            *("scse", "coordinate", "strip", "triplet"),
        )
    },
    "sge": {"attention": {"name": "sge", "groups": 8}},  # its 64 do not divide 16 channels
    "simam": {"attention": "simam"},
    "danet": {"attention": "danet"},
    **{
        name: {"attention": None, "inner": name}
        for name in ("sk", "split", "multi_input_se", "parallel_se", "serial_se")
    },
}
VARIANTS = tuple(OPTIONS)


def get_config(variant: str = "se") -> ConfigDict:
    """The base network with the variant's attention."""
    variant = variant or "se"
    if variant not in OPTIONS:
        raise ValueError(f"Unknown variant '{variant}'. There are: {', '.join(OPTIONS)}.")
    return base(**OPTIONS[variant])
