"""Published weights: their tags, and how their images were prepared.

The tables are in one file per kind of network.
"""

import difflib
from typing import NamedTuple

from senet_jax.models import (
    pretrained_attention,
    pretrained_mobile,
    pretrained_others,
    pretrained_residual,
)
from senet_jax.models.inputs import CAFFE, Input, Pretrained

# by name and tag; a name's first tag is its default, as in timm
PRETRAINED: dict[str, dict[str, Pretrained]] = {
    **pretrained_residual.PRETRAINED,
    **pretrained_attention.PRETRAINED,
    **pretrained_mobile.PRETRAINED,
    **pretrained_others.PRETRAINED,
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


class ReleasedFile(NamedTuple):
    """Weights that cannot be fetched by a program.

    Attributes:
      file: what it is called.
      page: where a person finds it.
      input: how its images are prepared.
    """

    file: str
    page: str
    input: Input


BY_HAND: dict[str, ReleasedFile] = {
    "sebn_inception": ReleasedFile(
        "SE-BN-Inception.caffemodel", "https://github.com/hujie-frank/SENet#trained-models", CAFFE
    ),
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
    if model in BY_HAND:
        file, page, _ = BY_HAND[model]
        raise ValueError(
            f"{model} has no weights that can be fetched: download {file} from {page} where you"
            f" can, and give the file itself: senet_jax.load({file!r}, {model!r})."
        )
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
