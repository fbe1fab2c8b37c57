"""timm's mobile networks, small."""

from functools import partial
from typing import Any

from timm.layers import get_act_layer, make_divisible
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn


def make(
    rows: list[list[str]],
    *,
    act: str,
    stem_width: int,
    head_width: int,
    v3: bool = False,
    same: bool = False,
) -> nn.Module:
    """A network of rows in timm's notation: EfficientNet's head and SE, or MobileNetV3's."""
    options: dict[str, Any] = dict(
        block_args=decode_arch_def(rows),
        num_classes=10,
        stem_size=stem_width,
        num_features=head_width,
        act_layer=get_act_layer(act),
        pad_type="same" if same else "",
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3 if same else 1e-5),
    )
    if not v3:
        return EfficientNet(**options)
    se = partial(
        SqueezeExcite,
        gate_layer="hard_sigmoid",
        force_act_layer=nn.ReLU,
        rd_round_fn=partial(make_divisible, divisor=8),
    )
    return MobileNetV3(**options, se_layer=se)
