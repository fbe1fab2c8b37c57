"""Small twins of the families beside the residual one: our options, and what makes them of timm's
classes (`tests.parity.small_<family>`).
"""

from typing import Any

from senet_jax import SEBlock
from senet_jax.models.inception_variants import VARIANTS
from senet_jax.models.mobile_blocks import Row

# the kinds of blocks of mobile networks, timm's notation and ours
EFFICIENT_ROWS = dict(
    stages=(
        (Row("separable", 3, 1, 16, 2),),
        (Row("inverted", 3, 2, 24, 2, 6),),
        (Row("inverted", 5, 2, 40, 1, 6),),
    ),
    stem_width=24,
    head_width=64,
)
EFFICIENT_TIMM = dict(
    small="mobile",
    rows=[
        ["ds_r2_k3_s1_e1_c16_se0.25"],
        ["ir_r2_k3_s2_e6_c24_se0.25"],
        ["ir_r1_k5_s2_e6_c40_se0.25"],
    ],
    act="silu",
    stem_width=24,
    head_width=64,
)
MOBILE_V3_ROWS = dict(
    stages=(
        (Row("separable", 3, 1, 16, attend=False, act="relu"),),
        (Row("inverted", 3, 2, 24, 1, 4.5, attend=False, act="relu"),),
        (Row("inverted", 5, 2, 40, 2, 3, act="relu"), Row("inverted", 5, 1, 40, 1, 2.3)),
        (Row("convolution", 1, 1, 64, skip=False, last_act=True),),
    ),
    head_width=48,
)
MOBILE_V3_TIMM = dict(
    small="mobile",
    rows=[
        ["ds_r1_k3_s1_e1_c16_nre"],
        ["ir_r1_k3_s2_e4.5_c24_nre"],
        ["ir_r2_k5_s2_e3_c40_se0.25_nre", "ir_r1_k5_s1_e2.3_c40_se0.25"],
        ["cn_r1_k1_s1_c64"],
    ],
    act="hard_swish",
    stem_width=16,
    head_width=48,
    v3=True,
)
V1_ROWS = dict(stages=((Row("separable", 3, 2, 32, 2, skip=False, last_act=True),),), stem_width=16)
V1_TIMM = dict(
    small="mobile", rows=[["dsa_r2_k3_s2_c32"]], act="relu6", stem_width=16, head_width=0
)
V2_ROWS = dict(
    stages=(
        (Row("convolution", 3, 1, 16, 2, last_act=True),),
        (Row("fused", 3, 2, 24, 2, 4, attend=False),),
        (Row("inverted", 3, 2, 40, 1, 4),),
    ),
    stem_width=16,
    head_width=48,
    width_limit=0.9,
)
V2_TIMM = dict(
    small="mobile",
    rows=[
        ["cn_r2_k3_s1_e1_c16_skip"],
        ["er_r2_k3_s2_e4_c24"],
        ["ir_r1_k3_s2_e4_c40_se0.25"],
    ],
    act="silu",
    stem_width=16,
    head_width=48,
    same=True,
)

REGNET = dict(depths=(1, 1, 1, 2), widths=(8, 16, 32, 64), group_width=8, stem_width=16)
CSPDARKNET = dict(stage_sizes=(1, 2, 1), widths=(8, 16, 32), stem_width=4)
CSPDARKNET_INNER = CSPDARKNET | dict(attention=SEBlock(divisor=8, act="mish"), placement="inner")
VGG = dict(stage_sizes=(1, 2, 1), widths=(8, 16, 24), head_width=32)


def inception(name: str) -> dict[str, Any]:
    """The first modules of each stage, the last ones where they are residual; 1/16 of the width."""
    first, second, third = VARIANTS[name].options["stages"]
    last = third[-2:] if any(module.scale is not None for module in third) else ()
    return dict(stages=(first[:2], second[:2], third[:2] + last), width=1 / 16)
