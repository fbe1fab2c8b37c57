"""Residual networks with other attention than SE by name: rows for `ResNet`, timm's names.

Depths, widths and stems as in timm's resnet.py (ECA, arXiv 1910.03151), sknet.py (selective
kernels, 1903.06586) and resnest.py (split attention, 2004.08955).
"""

from typing import Any

from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.excitations import AcrossChannels
from senet_jax.layers.selective_kernel import SelectiveKernel
from senet_jax.layers.split_attention import SplitAttention
from senet_jax.models.resnet import ResNet
from senet_jax.models.resnet_variants import DEEP, DEPTHS, GROUPS, TIERED
from senet_jax.models.spec import Variant

Options = dict[str, Any]

# kernel sizes by the rule, 5, 5, 5, 7 by stage; the authors' networks of 50 layers have 3, 5, 5, 7
ECA: Options = dict(attention=ChannelAttention(excite=AcrossChannels()))

# timm's own; its skresnext50 has the paper's
SPLIT_INPUT = SelectiveKernel(split_input=True, divisor=8, least=0)
NARROW: Options = dict(inner=SPLIT_INPUT.clone(reduction=8, divisor=16), zero_init_last=False)
SK: Options = dict(inner=SPLIT_INPUT, zero_init_last=False)
PAPERS_SK: Options = dict(inner=SelectiveKernel(), zero_init_last=False)

SPLIT: Options = DEEP | dict(inner=SplitAttention(pool="after"))
WIDE_STEM: Options = SPLIT | dict(stem="senet")  # timm's suffix e
ONE_SPLIT: Options = dict(
    cardinality=4, base_width=24, inner=SplitAttention(radix=1, pool="before")
)
FOUR_SPLITS: Options = dict(
    cardinality=2, base_width=40, inner=SplitAttention(radix=4, pool="before")
)

# name, what to build, height and width of the images in pixels
ROWS: list[tuple[str, Options, int]] = [
    ("ecaresnet26t", DEPTHS[26] | TIERED | ECA, 256),
    ("ecaresnet50d", DEPTHS[50] | DEEP | ECA, 224),
    ("ecaresnet50t", DEPTHS[50] | TIERED | ECA, 256),
    ("ecaresnet101d", DEPTHS[101] | DEEP | ECA, 224),
    ("ecaresnet200d", DEPTHS[200] | DEEP | ECA, 256),
    ("ecaresnet269d", DEPTHS[269] | DEEP | ECA, 320),
    ("ecaresnetlight", dict(stage_sizes=(1, 1, 11, 3), shortcut="average") | ECA, 224),
    ("ecaresnext26t_32x4d", DEPTHS[26] | GROUPS["32x4d"] | TIERED | ECA, 224),
    ("ecaresnext50t_32x4d", DEPTHS[50] | GROUPS["32x4d"] | TIERED | ECA, 224),
    ("skresnet18", DEPTHS[18] | NARROW, 224),
    ("skresnet34", DEPTHS[34] | NARROW, 224),
    ("skresnet50", DEPTHS[50] | SK, 224),
    ("skresnet50d", DEPTHS[50] | DEEP | SK, 224),
    ("skresnext50_32x4d", DEPTHS[50] | GROUPS["32x4d"] | PAPERS_SK, 224),
    ("resnest14d", dict(stage_sizes=(1, 1, 1, 1)) | SPLIT, 224),
    ("resnest26d", DEPTHS[26] | SPLIT, 224),
    ("resnest50d", DEPTHS[50] | SPLIT, 224),
    ("resnest101e", DEPTHS[101] | WIDE_STEM, 256),
    ("resnest200e", DEPTHS[200] | WIDE_STEM, 320),
    ("resnest269e", DEPTHS[269] | WIDE_STEM, 416),
    ("resnest50d_1s4x24d", DEPTHS[50] | SPLIT | ONE_SPLIT, 224),
    ("resnest50d_4s2x40d", DEPTHS[50] | SPLIT | FOUR_SPLITS, 224),
]

VARIANTS = {name: Variant(ResNet, options, size) for name, options, size in ROWS}
