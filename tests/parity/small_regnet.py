"""timm's RegNetY as a small twin."""

from typing import Any

import torch

from tests.parity.reference import timm


def make(**options: Any) -> torch.nn.Module:
    """10 classes; options are timm's own, `se_ratio=0.0` for the plain network.

    timm computes depths and widths from slope, initial width and factor: these give ours.
    """
    cfg = timm.models.regnet.RegNetCfg(
        w0=8, wa=14.0, wm=2.0, depth=5, group_size=8, stem_width=16, se_ratio=0.25
    )
    return timm.models.regnet.RegNet(cfg, **dict(num_classes=10) | options)
