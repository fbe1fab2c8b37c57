"""Every named attention, and everything that stands in place of a convolution, on the digits.

    python -m train.sweep --config=configs/attentions.py --workdir=runs/attentions --jobs=2
    python -m train --config=configs/attentions.py:eca --workdir=runs/eca

Network and recipe are those of configs/ablation.py, and so is what is said there of noise; defaults
are the authors' but for what 16 channels do not allow. Hardware: two CPU cores. A quarter of a
minute a run, and as much again for a variant's first seed.
"""

from ml_collections import ConfigDict

from configs.defaults import defaults

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
    config = defaults()

    config.data.name = "digits"
    config.data.batch_size = 128
    config.data.in_memory = True
    config.data.augment.shift = 1.0
    config.data.augment.rotate = 15.0
    config.data.augment.scale = 0.15
    config.data.augment.shear = 10.0

    config.model.name = "seresnet20"
    with config.unlocked():
        config.model.options.stage_sizes = (1, 1, 1)
        config.model.options.update(OPTIONS[variant])

    config.optimizer.name = "sgd"
    config.optimizer.weight_decay = 5e-4

    config.schedule.name = "cosine"
    config.schedule.epochs = 20
    config.schedule.learning_rate = 0.2
    config.schedule.warmup_epochs = 2.0

    config.label_smoothing = 0.1
    config.ema_decay = 0.95

    config.evaluation.every_epochs = 10
    config.evaluation.batch_size = 512
    return config
