"""ResNet-20 and SE-ResNet-20 on CIFAR-10, from a folder of image files.

    python -m train --config=configs/cifar10.py --workdir=runs/se --config.data.folder=~/cifar10
    python -m train --config=configs/cifar10.py:resnet20 --workdir=runs/plain ...

The folder has train/<class>/ and test/<class>/, with 5,000 and 1,000 images of 32x32 pixels in each
of ten classes; a tenth of the training images becomes the validation split. The recipe is that of
the ResNet paper (arXiv 1512.03385, section 4.2): batches of 128, a rate of 0.1 divided by ten after
32,000 and 48,000 of 64,000 steps; --config.schedule.name=cosine is the other usual one.
Hardware: one GPU. What it reaches has not been measured yet.
"""

from ml_collections import ConfigDict

from configs.defaults import defaults

VARIANTS = ("seresnet20", "resnet20")


def get_config(variant: str = "seresnet20") -> ConfigDict:
    """The network of that name."""
    variant = variant or "seresnet20"
    if variant not in VARIANTS:
        raise ValueError(f"Unknown variant '{variant}'. There are: {', '.join(VARIANTS)}.")
    config = defaults()

    config.data.name = "folder"
    config.data.image_size = 32
    config.data.stored_size = 32
    config.data.in_memory = True
    config.data.batch_size = 128
    config.data.augment.crop_padding = 4
    config.data.augment.flip = True

    config.model.name = variant

    config.optimizer.name = "sgd"
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 1e-4

    config.schedule.name = "step"
    config.schedule.epochs = 182  # of 352 steps: 45,000 images
    config.schedule.learning_rate = 0.2  # for a batch of 256: 0.1 for these of 128
    config.schedule.warmup_epochs = 0.0
    config.schedule.milestones = (91, 136)

    config.evaluation.batch_size = 500
    return config
