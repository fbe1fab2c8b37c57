"""Your own images, in one sub-folder for every class; docs/train-your-images.md goes through it.

    python -m train --config=configs/folder.py --workdir=runs/mine --config.data.folder=~/photos

SE-ResNet-18 from random variables, at 224 pixels; for a fine-tuning give published weights or a run
of the same network as --config.model.init_from, and a tenth of the learning rate. Hardware: one GPU
(CPU cores do for some hundred images at --config.data.image_size=64). What to expect depends on the
images.
"""

from ml_collections import ConfigDict

from configs.defaults import defaults

VARIANTS = ("",)


def get_config(variant: str = "") -> ConfigDict:
    """There are no variants."""
    if variant:
        raise ValueError(f"Unknown variant '{variant}'. There are none: give configs/folder.py.")
    config = defaults()

    config.data.name = "folder"
    config.data.batch_size = 64
    config.data.augment.crop_area = (0.35, 1.0)
    config.data.augment.flip = True

    config.model.name = "seresnet18"

    config.optimizer.name = "sgd"
    config.optimizer.weight_decay = 1e-4

    config.schedule.name = "cosine"
    config.schedule.epochs = 90
    config.schedule.learning_rate = 0.2
    config.schedule.warmup_epochs = 1.0

    config.label_smoothing = 0.1
    config.ema_decay = 0.99

    config.evaluation.batch_size = 64
    return config
