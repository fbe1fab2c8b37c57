"""Published weights: their tags, and how their images were prepared.

The tags, sizes, crops and interpolations are those of timm 1.0.31 (its `pretrained_cfg`s); the
accuracies are from its results/results-imagenet.csv (ImageNet-1k validation), where plain networks
have one at their test size alone.
"""

import difflib
from typing import NamedTuple

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


class Input(NamedTuple):
    """How images are prepared for a network: the short side is resized to size / crop, and a
    square of that size is cut out of the middle.

    Attributes:
      size: height and width, pixels, at which it was trained.
      crop: the share of the resized short side that the square keeps.
      interpolation: "bilinear" or "bicubic".
      test_size: a larger size at which it does better; None: there is none.
      test_crop: the share at that size; None: the same.
      mean, std: per channel, of values from 0 to 1.
    """

    size: int
    crop: float
    interpolation: str
    test_size: int | None = None
    test_crop: float | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


class Pretrained(NamedTuple):
    """What is known about published weights.

    Attributes:
      input: how their images are prepared.
      num_classes: of their classifier.
      top1, test_top1: accuracy on ImageNet-1k's validation images in per cent, at `input.size` and
        at `input.test_size`; None: not published.
    """

    input: Input
    num_classes: int = 1000
    top1: float | None = None
    test_top1: float | None = None


BICUBIC = Input(224, 0.875, "bicubic")
BILINEAR = Input(224, 0.875, "bilinear")
LARGER_TEST = Input(224, 0.875, "bicubic", 288, 0.95)
RA2_256 = Input(256, 0.95, "bicubic", 320, 1.0)
RSB = Input(224, 0.95, "bicubic", 288, 1.0)  # "ResNet strikes back", arXiv 2110.00476
RSB_SHORT = Input(160, 0.95, "bicubic", 224, 0.95)  # its procedure A3
CIFAR10 = Input(32, 1.0, "bicubic", mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616))
TORCHVISION_2 = Input(176, 0.875, "bilinear", 224, 0.965)

# by name and tag; a name's first tag is its default, as in timm
PRETRAINED: dict[str, dict[str, Pretrained]] = {
    "senet154": {
        "gluon_in1k": Pretrained(BICUBIC, top1=81.258),
    },
    "seresnet152d": {
        "ra2_in1k": Pretrained(RA2_256, top1=83.702, test_top1=84.344),
    },
    "seresnet50": {
        "a1_in1k": Pretrained(RSB, top1=80.012, test_top1=81.114),
        "a2_in1k": Pretrained(RSB, top1=80.102, test_top1=81.094),
        "a3_in1k": Pretrained(RSB_SHORT, top1=75.104, test_top1=77.036),
        "ra2_in1k": Pretrained(LARGER_TEST, top1=80.26, test_top1=81.288),
    },
    "seresnext101_32x4d": {
        "gluon_in1k": Pretrained(BICUBIC, top1=80.886),
    },
    "seresnext101_32x8d": {
        "ah_in1k": Pretrained(RSB, top1=83.618, test_top1=84.192),
    },
    "seresnext101_64x4d": {
        "gluon_in1k": Pretrained(BICUBIC, top1=80.884),
    },
    "seresnext101d_32x8d": {
        "ah_in1k": Pretrained(RSB, top1=83.702, test_top1=84.38),
    },
    "seresnext26d_32x4d": {
        "bt_in1k": Pretrained(LARGER_TEST, top1=77.592, test_top1=78.816),
    },
    "seresnext26t_32x4d": {
        "bt_in1k": Pretrained(LARGER_TEST, top1=77.98, test_top1=78.736),
    },
    "seresnext50_32x4d": {
        "racm_in1k": Pretrained(LARGER_TEST, top1=81.268, test_top1=82.186),
        "gluon_in1k": Pretrained(BICUBIC, top1=79.916),
    },
    "seresnextaa101d_32x8d": {
        "sw_in12k_ft_in1k_288": Pretrained(
            Input(288, 0.95, "bicubic", 320, 1.0), top1=86.53, test_top1=86.722
        ),
        "ah_in1k": Pretrained(RSB, top1=83.9, test_top1=84.58),
        "sw_in12k": Pretrained(RSB, num_classes=11821),
        "sw_in12k_ft_in1k": Pretrained(
            Input(224, 0.875, "bicubic", 288, 1.0), top1=85.956, test_top1=86.524
        ),
    },
    "seresnextaa201d_32x8d": {
        "sw_in12k_ft_in1k_384": Pretrained(Input(384, 1.0, "bicubic"), top1=87.304),
        "sw_in12k": Pretrained(Input(320, 0.95, "bicubic", 384, 1.0), num_classes=11821),
    },
    "legacy_senet154": {
        "in1k": Pretrained(BILINEAR, top1=81.32),
    },
    "legacy_seresnet101": {
        "in1k": Pretrained(BILINEAR, top1=78.37),
    },
    "legacy_seresnet152": {
        "in1k": Pretrained(BILINEAR, top1=78.662),
    },
    "legacy_seresnet18": {
        "in1k": Pretrained(BICUBIC, top1=71.742),
    },
    "legacy_seresnet34": {
        "in1k": Pretrained(BILINEAR, top1=74.788),
    },
    "legacy_seresnet50": {
        "in1k": Pretrained(BILINEAR, top1=77.65),
    },
    "legacy_seresnext101_32x4d": {
        "in1k": Pretrained(BILINEAR, top1=80.274),
    },
    "legacy_seresnext26_32x4d": {
        "in1k": Pretrained(BICUBIC, top1=77.1),
    },
    "legacy_seresnext50_32x4d": {
        "in1k": Pretrained(BILINEAR, top1=79.08),
    },
    "resnet101": {
        "a1h_in1k": Pretrained(RSB, test_top1=82.778),
        "a1_in1k": Pretrained(RSB, test_top1=82.322),
        "a2_in1k": Pretrained(RSB, test_top1=82.236),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=79.814),
        "gluon_in1k": Pretrained(BICUBIC, top1=79.31),
        "tv2_in1k": Pretrained(TORCHVISION_2, test_top1=81.89),
        "tv_in1k": Pretrained(BILINEAR, top1=77.376),
    },
    "resnet152": {
        "a1h_in1k": Pretrained(RSB, test_top1=83.45),
        "a1_in1k": Pretrained(RSB, test_top1=82.732),
        "a2_in1k": Pretrained(RSB, test_top1=82.608),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=80.546),
        "gluon_in1k": Pretrained(BICUBIC, top1=79.694),
        "tv2_in1k": Pretrained(TORCHVISION_2, test_top1=82.288),
        "tv_in1k": Pretrained(BILINEAR, top1=78.322),
    },
    "resnet152d": {
        "ra2_in1k": Pretrained(RA2_256, test_top1=83.684),
        "gluon_in1k": Pretrained(BICUBIC, top1=80.476),
    },
    "resnet18": {
        "a1_in1k": Pretrained(RSB, test_top1=73.158),
        "a2_in1k": Pretrained(RSB, test_top1=72.372),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=68.254),
        "fb_ssl_yfcc100m_ft_in1k": Pretrained(BILINEAR, top1=72.594),
        "fb_swsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=73.282),
        "gluon_in1k": Pretrained(BICUBIC, top1=70.838),
        "tv_in1k": Pretrained(BILINEAR, top1=69.76),
    },
    "resnet200d": {
        "ra2_in1k": Pretrained(RA2_256, test_top1=83.964),
    },
    "resnet34": {
        "a1_in1k": Pretrained(RSB, test_top1=77.918),
        "a2_in1k": Pretrained(RSB, test_top1=77.158),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=72.97),
        "bt_in1k": Pretrained(LARGER_TEST, test_top1=76.48),
        "gluon_in1k": Pretrained(BICUBIC, top1=74.578),
        "ra4_e3600_r224_in1k": Pretrained(
            Input(224, 0.9, "bicubic", 288, 1.0, mean=HALF, std=HALF)
        ),
        "tv_in1k": Pretrained(BILINEAR),
    },
    "resnet50": {
        "a1_in1k": Pretrained(RSB, test_top1=81.214),
        "a1h_in1k": Pretrained(Input(176, 0.9, "bicubic", 224, 1.0), test_top1=80.676),
        "a2_in1k": Pretrained(RSB, test_top1=80.772),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=78.048),
        "am_in1k": Pretrained(BICUBIC, top1=78.998),
        "b1k_in1k": Pretrained(RSB, test_top1=80.706),
        "b2k_in1k": Pretrained(RSB, test_top1=80.454),
        "bt_in1k": Pretrained(LARGER_TEST, test_top1=79.64),
        "c1_in1k": Pretrained(RSB, test_top1=80.912),
        "c2_in1k": Pretrained(RSB, test_top1=80.87),
        "d_in1k": Pretrained(RSB, test_top1=80.972),
        "fb_ssl_yfcc100m_ft_in1k": Pretrained(BILINEAR, top1=79.234),
        "fb_swsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=81.182),
        "gluon_in1k": Pretrained(BICUBIC, top1=77.58),
        "ra_in1k": Pretrained(LARGER_TEST, test_top1=79.836),
        "ram_in1k": Pretrained(LARGER_TEST, test_top1=79.976),
        "tv2_in1k": Pretrained(TORCHVISION_2, test_top1=80.85),
        "tv_in1k": Pretrained(BILINEAR, top1=76.13),
    },
    "resnetaa50d": {
        "sw_in12k_ft_in1k": Pretrained(RSB, test_top1=82.6),
        "d_in12k": Pretrained(RSB, num_classes=11821),
        "sw_in12k": Pretrained(RSB, num_classes=11821),
    },
    "resnetrs101": {
        "tf_in1k": Pretrained(Input(192, 0.94, "bicubic", 288), test_top1=82.284),
    },
    "resnetrs152": {
        "tf_in1k": Pretrained(Input(256, 1.0, "bicubic", 320), test_top1=83.702),
    },
    "resnetrs200": {
        "tf_in1k": Pretrained(Input(256, 1.0, "bicubic", 320), test_top1=84.444),
    },
    "resnetrs270": {
        "tf_in1k": Pretrained(Input(256, 1.0, "bicubic", 352), test_top1=84.428),
    },
    "resnetrs350": {
        "tf_in1k": Pretrained(Input(288, 1.0, "bicubic", 384), test_top1=84.714),
    },
    "resnetrs420": {
        "tf_in1k": Pretrained(Input(320, 1.0, "bicubic", 416), test_top1=85.006),
    },
    "resnetrs50": {
        "tf_in1k": Pretrained(Input(160, 0.91, "bicubic", 224), test_top1=79.896),
    },
    "resnext101_32x4d": {
        "fb_ssl_yfcc100m_ft_in1k": Pretrained(BILINEAR, top1=80.924),
        "fb_swsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=83.232),
        "gluon_in1k": Pretrained(BICUBIC, top1=80.34),
    },
    "resnext101_32x8d": {
        "tv_in1k": Pretrained(BILINEAR, top1=79.31),
        "fb_ssl_yfcc100m_ft_in1k": Pretrained(BILINEAR, top1=81.606),
        "fb_swsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=84.302),
        "fb_wsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=82.698),
        "tv2_in1k": Pretrained(TORCHVISION_2, test_top1=82.832),
    },
    "resnext101_64x4d": {
        "c1_in1k": Pretrained(RSB, test_top1=83.156),
        "gluon_in1k": Pretrained(BICUBIC, top1=80.6),
        "tv_in1k": Pretrained(BILINEAR, top1=82.992),
    },
    "resnext50_32x4d": {
        "a1h_in1k": Pretrained(RSB, test_top1=82.014),
        "a1_in1k": Pretrained(RSB, test_top1=81.466),
        "a2_in1k": Pretrained(RSB, test_top1=81.304),
        "a3_in1k": Pretrained(RSB_SHORT, test_top1=79.268),
        "fb_ssl_yfcc100m_ft_in1k": Pretrained(BILINEAR, top1=80.338),
        "fb_swsl_ig1b_ft_in1k": Pretrained(BILINEAR, top1=82.174),
        "gluon_in1k": Pretrained(BICUBIC, top1=79.36),
        "ra_in1k": Pretrained(LARGER_TEST, test_top1=80.698),
        "tv2_in1k": Pretrained(TORCHVISION_2, test_top1=81.182),
        "tv_in1k": Pretrained(BILINEAR, top1=77.618),
    },
}
# the files that timm 1.0.31 takes these from
RELEASES = "https://github.com/rwightman/pytorch-image-models/releases/download/"
RELEASED: dict[str, str] = {
    "legacy_senet154.in1k": "v0.1-weights/legacy_senet154-e9eb9fe6.pth",
    "legacy_seresnet101.in1k": "v0.1-cadene/se_resnet101-7e38fcc6.pth",
    "legacy_seresnet152.in1k": "v0.1-cadene/se_resnet152-d17c99b7.pth",
    "legacy_seresnet18.in1k": "v0.1-weights/seresnet18-4bb0ce65.pth",
    "legacy_seresnet34.in1k": "v0.1-weights/seresnet34-a4004e63.pth",
    "legacy_seresnet50.in1k": "v0.1-cadene/se_resnet50-ce0d4300.pth",
    "legacy_seresnext101_32x4d.in1k": "v0.1-weights/legacy_se_resnext101_32x4d-37725eac.pth",
    "legacy_seresnext26_32x4d.in1k": "v0.1-weights/seresnext26_32x4d-65ebdb501.pth",
    "legacy_seresnext50_32x4d.in1k": "v0.1-weights/legacy_se_resnext50_32x4d-f3651bad.pth",
}

# top-1 errors in per cent, arXiv 1709.01507, Table 4; Shake-Shake with Cutout
CIFAR10_ERRORS: dict[str, float] = {
    "resnet110": 6.37,
    "seresnet110": 5.21,
    "resnet164": 5.46,
    "seresnet164": 4.39,
    "wrn16_8": 4.27,
    "sewrn16_8": 3.88,
    "shake_shake26_2x96d": 2.56,
    "se_shake_shake26_2x96d": 2.12,
}


def find_pretrained(name: str) -> tuple[str, str]:
    """The model and the tag of published weights: "seresnet50.ra2_in1k", or "seresnet50" for its
    default tag.

    Raises:
      ValueError: the model has no published weights, or none with that tag; says which are there.
    """
    model, _, tag = name.partition(".")
    if model not in PRETRAINED:
        near = " or ".join(map(repr, nearest_pretrained(model)))
        raise ValueError(
            f"{model} has no published weights: train it, or take {near}, which have."
            f" list_models(pretrained=True) shows all {len(PRETRAINED)}."
        )
    tags = PRETRAINED[model]
    if tag and tag not in tags:
        raise ValueError(
            f"{model} has no published weights {tag!r}: expected one of {', '.join(tags)}."
        )
    return model, tag or next(iter(tags))


def nearest_pretrained(model: str) -> list[str]:
    """The two names with published weights that are most like this one, SE networks for SE ones."""
    alike = [name for name in PRETRAINED if ("se" in name) == ("se" in model)]

    def likeness(name: str) -> float:
        a, b = (n.removeprefix("legacy_") for n in (name, model))
        return difflib.SequenceMatcher(None, a, b).ratio()

    return sorted(alike, key=likeness, reverse=True)[:2]
