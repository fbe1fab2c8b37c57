"""timm's CSPDarknet as a small twin."""

import dataclasses
from typing import Any

import torch

from tests.convert.small_rows import CSPDARKNET
from tests.parity.reference import timm


def make(
    act_layer: str = "leaky_relu", attn_layer: str | None = None, **options: Any
) -> torch.nn.Module:
    """10 classes; `attn_layer="se"` has `SEBlock(divisor=8, act=act_layer)` at our place "inner".

    Other options are timm's own.
    """
    published = timm.models.cspnet.model_cfgs["cspdarknet53"]
    stem = dataclasses.replace(published.stem, out_chs=CSPDARKNET["stem_width"])
    sizes = dict(depth=CSPDARKNET["stage_sizes"], out_chs=CSPDARKNET["widths"])
    stages = dataclasses.replace(published.stages, attn_layer=attn_layer, **sizes)
    cfg = dataclasses.replace(published, stem=stem, stages=stages, act_layer=act_layer)
    return timm.models.cspnet.CspNet(cfg, **dict(num_classes=10) | options)
