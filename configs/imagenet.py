"""ImageNet: the paper's recipe, that of its released models, and today's.

    python -m train --config=configs/imagenet.py --workdir=runs/se --config.data.source=~/imagenet
    python -m train --config=configs/imagenet.py:a3 --workdir=runs/a3 ...
    python -m train --config=configs/imagenet.py ... --config.model.name=seresnext50_32x4d

The source is a directory with the official archives, see docs/data.md. Hardware: eight GPUs, or a
TPU slice of eight chips; each page trains SE-ResNet-50, and any other network by its name. None of
these has been run to its end by us yet: the accuracies are those that were published, single crop,
for all training images; here a hundredth of them chooses the checkpoint. a3 and a2 differ from
theirs: mixed targets are shares, not both classes, and a3 is evaluated at 160 pixels, not 224.

    paper      SGD, batch 1024, rate 0.6 divided by ten every 30 of 100 epochs, Inception's crops
               and flips, statistics of each device's own images: 76.71 % (arXiv 1709.01507)
    caffe      the released models': batch 256, rate 0.1, and images also turned by 10 degrees:
               77.63 % (by "more epochs", divided at plateaus; here 120 epochs in four steps)
    cosine     the paper's images, cosine after a warm-up, label smoothing, averages, 100 epochs
    a3         LAMB, binary cross-entropy, mixup, CutMix, RandAugment, 160 pixels, 100 epochs:
               ResNet-50 78.1 % (arXiv 2110.00476)
    a2         the same for 300 epochs at 224 pixels, with stochastic depth: ResNet-50 79.8 %
    fine_tune  from published weights, some epochs at a small rate, slower the lower the layer

Hours: not measured. A step of 64 images moves 24.4 GB (docs/performance.md), so that 100 epochs at
224 pixels take one H100, at its 3.35 TB/s, more than 4 hours.
"""

from ml_collections import ConfigDict

from configs.defaults import defaults


def paper(config: ConfigDict) -> None:
    """Section 5 of arXiv 1709.01507; the weight decay as its authors told it elsewhere."""
    config.data.batch_size = 1024
    config.ghost_batch = 32  # on 32 GPUs
    config.optimizer.nesterov = False
    config.schedule.name = "step"
    config.schedule.epochs = 100
    config.schedule.learning_rate = 0.15  # 0.6 for 1024
    config.schedule.milestones = (30, 60, 90)
    config.schedule.warmup_epochs = 0.0


def caffe(config: ConfigDict) -> None:
    """README of hujie-frank/SENet, but for its pixel jitter."""
    paper(config)
    config.data.batch_size = 256
    config.data.augment.rotate = 10.0
    config.schedule.epochs = 120
    config.schedule.learning_rate = 0.1
    config.schedule.milestones = (40, 70, 100)


def cosine(config: ConfigDict) -> None:
    """Bag of tricks (arXiv 1812.01187), without mixup."""
    config.data.batch_size = 1024
    config.schedule.epochs = 100
    config.schedule.learning_rate = 0.125
    config.schedule.warmup_epochs = 5.0
    config.label_smoothing = 0.1
    config.ema_decay = 0.9999


def a3(config: ConfigDict) -> None:
    """Table 2 of arXiv 2110.00476."""
    config.data.batch_size = 2048
    config.data.image_size = 160
    config.data.stored_size = 224  # of 160 pixels' training: enough for its crops
    config.data.augment.random_ops = 2
    config.data.augment.magnitude = 6.0
    config.data.mix.mixup = 0.1
    config.data.mix.cutmix = 1.0
    config.optimizer.name = "lamb"
    config.optimizer.weight_decay = 0.02
    config.optimizer.epsilon = 1e-6
    config.schedule.epochs = 100
    config.schedule.learning_rate = 0.001  # 0.008 for 2048
    config.schedule.warmup_epochs = 5.0
    config.loss = "binary_cross_entropy"


def a2(config: ConfigDict) -> None:
    """The longer one of the same table."""
    a3(config)
    config.data.image_size = 224
    config.data.stored_size = 256
    config.data.augment.magnitude = 7.0
    config.data.repeats = 2  # three, and 2048 is no multiple of it
    config.schedule.epochs = 300
    config.schedule.learning_rate = 0.000625  # 0.005 for 2048
    with config.unlocked():
        config.model.options.stochastic_depth = 0.05


def fine_tune(config: ConfigDict) -> None:
    """From published weights; for other classes they get a new head."""
    config.data.batch_size = 256
    config.model.init_from = "seresnet50.ra2_in1k"
    config.optimizer.weight_decay = 1e-5
    config.optimizer.layer_decay = 0.9
    config.schedule.epochs = 20
    config.schedule.learning_rate = 0.01
    config.schedule.warmup_epochs = 1.0
    config.label_smoothing = 0.1
    config.ema_decay = 0.999


RECIPES = {
    "paper": paper,
    "caffe": caffe,
    "cosine": cosine,
    "a3": a3,
    "a2": a2,
    "fine_tune": fine_tune,
}
VARIANTS = tuple(RECIPES)


def get_config(variant: str = "paper") -> ConfigDict:
    """What all have in common, and the recipe of that name."""
    variant = variant or "paper"
    if variant not in RECIPES:
        raise ValueError(f"Unknown variant '{variant}'. There are: {', '.join(RECIPES)}.")
    config = defaults()

    config.data.name = "imagenet"
    config.data.validation_fraction = 0.01
    config.data.workers = 16
    config.data.augment.crop_area = (0.08, 1.0)
    config.data.augment.flip = True

    config.model.name = "seresnet50"
    config.model.dtype = "bfloat16"

    config.evaluation.batch_size = 1000
    RECIPES[variant](config)
    return config
