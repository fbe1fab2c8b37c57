"""The paper's networks on CIFAR-10 and CIFAR-100, each with and without SE, by the recipes of the
papers that they come from.

    python -m train --config=configs/cifar.py:seresnet110 --workdir=runs/se --config.data.source=...
    python -m train --config=configs/cifar.py:seresnet110 ... --config.data.name=cifar100
    python -m train --config=configs/cifar.py:seresnet20 ... --config.data.name=folder \
        --config.data.folder=~/cifar10

The source is an official archive, see docs/data.md; a folder has train/<class>/ and test/<class>/.
The paper trains on all 50,000 images; here a fiftieth of them chooses the checkpoint, so that the
test images choose nothing. Images are padded with zeros by 4 pixels, cropped, and flipped.
Hardware: one GPU. Published test errors, plain and SE, per cent (arXiv 1709.01507, tables 4 and 5;
for depth 20 to 56 arXiv 1512.03385, table 6, plain only):

                           CIFAR-10       CIFAR-100      epochs
    resnet20               8.75           -              164
    resnet32               7.51           -              164
    resnet44               7.17           -              164
    resnet56               6.97           -              164
    resnet110              6.37  5.21     26.88  23.85   164
    resnet164              5.46  4.39     24.33  21.31   164
    wrn16_8                4.27  3.88     20.43  19.14   200
    shake_shake26_2x96d    2.56  2.12     -              1800   (with Cutout)
    resnext29_8x64d        3.65  -        17.77  -       300    (arXiv 1611.05431)

What this page reached is in docs/results.md.
"""

from ml_collections import ConfigDict

from configs.defaults import defaults

# fields and their values; the rates are for batches of 256, and these are of 128
RESNET = {
    "optimizer.nesterov": False,
    "optimizer.weight_decay": 1e-4,
    "schedule.name": "step",
    "schedule.epochs": 164,
    "schedule.milestones": (82, 123),
    "schedule.learning_rate": 0.2,
}
DEEP_RESNET = RESNET | {"schedule.warmup_epochs": 1.0}
WIDE_RESNET = {
    "optimizer.weight_decay": 5e-4,
    "schedule.name": "step",
    "schedule.epochs": 200,
    "schedule.milestones": (60, 120, 160),
    "schedule.factor": 0.2,
    "schedule.learning_rate": 0.2,
}
SHAKE_SHAKE = {
    "data.augment.cutout": 16,
    "optimizer.weight_decay": 1e-4,
    "schedule.name": "cosine",
    "schedule.epochs": 1800,
    "schedule.learning_rate": 0.4,
}
RESNEXT = {
    "optimizer.weight_decay": 5e-4,
    "schedule.name": "step",
    "schedule.epochs": 300,
    "schedule.milestones": (150, 225),
    "schedule.learning_rate": 0.2,
}
RECIPES = {
    **dict.fromkeys(("resnet20", "resnet32", "resnet44", "resnet56"), RESNET),
    **dict.fromkeys(("resnet110", "resnet164"), DEEP_RESNET),
    "wrn16_8": WIDE_RESNET,
    "resnext29_8x64d": RESNEXT,
}
RECIPES |= {f"se{name}": recipe for name, recipe in RECIPES.items()}
RECIPES |= dict.fromkeys(("shake_shake26_2x96d", "se_shake_shake26_2x96d"), SHAKE_SHAKE)
VARIANTS = tuple(RECIPES)


def get_config(variant: str = "seresnet20") -> ConfigDict:
    """The network of that name."""
    variant = variant or "seresnet20"
    if variant not in RECIPES:
        raise ValueError(f"Unknown variant '{variant}'. There are: {', '.join(RECIPES)}.")
    config = defaults()

    config.data.name = "cifar10"
    config.data.image_size = 32  # of a folder
    config.data.stored_size = 32
    config.data.validation_fraction = 0.02
    config.data.in_memory = True
    config.data.batch_size = 128
    config.data.augment.crop_padding = 4
    config.data.augment.flip = True

    config.model.name = variant
    config.schedule.warmup_epochs = 0.0
    config.evaluation.every_epochs = 2
    config.evaluation.batch_size = 500
    config.update_from_flattened_dict(RECIPES[variant])
    return config
