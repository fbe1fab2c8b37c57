"""timm's VGG as a small twin."""

from typing import Any

import torch

from tests.convert.small_rows import VGG
from tests.parity.reference import timm


def make(batch_norm: bool = True, **options: Any) -> torch.nn.Module:
    """10 classes; options are timm's own.

    timm's head has always 4096 channels, so it is put in anew, as its class makes it.
    """
    vgg, norm = timm.models.vgg, torch.nn.BatchNorm2d if batch_norm else None
    layers: list[int | str] = []
    for size, width in zip(VGG["stage_sizes"], VGG["widths"], strict=True):
        layers += [*[width] * size, "M"]
    model = vgg.VGG(layers, **dict(num_classes=10, norm_layer=norm, mlp_ratio=1 / 512) | options)
    head_width = VGG["head_width"]
    model.pre_logits = vgg.ConvMlp(model.num_features, head_width, 7, drop_rate=model.drop_rate)
    model.head = vgg.ClassifierHead(head_width, model.num_classes, drop_rate=model.drop_rate)
    return model
