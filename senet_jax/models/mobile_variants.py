"""Mobile networks by name: rows for `MobileNet`, timm's names.

Stages, widths and options as in timm's efficientnet.py, mobilenetv3.py and hardcorenas.py;
SE-MobileNet (v1) as the counts of arXiv 1709.01507, Table 3, have it: after each block.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from senet_jax.layers import BatchNorm, SEBlock, make_divisible
from senet_jax.models.mobile import MobileNet
from senet_jax.models.mobile_blocks import Row
from senet_jax.models.spec import Variant

Options = dict[str, Any]
Stages = tuple[tuple[Row, ...], ...]

TENSORFLOW: Options = dict(padding="same", norm=BatchNorm(epsilon=1e-3))

# width of the SE blocks by the channels that enter, as their authors count, or by the gated ones
OF_INPUT = SEBlock(reduction=4, of_input=True)
EFFICIENT = OF_INPUT.clone(act="silu")
MOBILE_V3 = SEBlock(reduction=4, divisor=8, limit=0.9, gate="hard_sigmoid")


def inverted(
    kernel_size: int, strides: int, expansion: float, features: int, repeats: int = 1, **row: Any
) -> Row:
    """A row of inverted residuals, in the order in which papers print it."""
    return Row("inverted", kernel_size, strides, features, repeats, expansion, **row)


def fused(strides: int, expansion: float, features: int, repeats: int) -> Row:
    return Row("fused", 3, strides, features, repeats, expansion, attend=False)


def stages_of(*stages: Row | tuple[Row, ...]) -> Stages:
    """Stages of one row are written without their tuple."""
    return tuple((stage,) if isinstance(stage, Row) else stage for stage in stages)


separable = partial(Row, "separable")
v1 = partial(Row, "separable", skip=False, last_act=True)  # MobileNet v1's blocks
plain: Options = dict(attend=False)
plain_relu: Options = dict(attend=False, act="relu")


def last(features: int) -> Row:
    """The 1x1 convolution that ends MobileNetV3 and its relatives."""
    return Row("convolution", 1, 1, features, attend=False, skip=False, last_act=True)


MOBILENET_V1 = stages_of(
    v1(3, 1, 64), v1(3, 2, 128, 2), v1(3, 2, 256, 2), v1(3, 2, 512, 6), v1(3, 2, 1024, 2)
)
# arXiv 1905.02244, Tables 1 and 2
LARGE = stages_of(
    separable(3, 1, 16, **plain_relu),
    (inverted(3, 2, 4, 24, **plain_relu), inverted(3, 1, 3, 24, **plain_relu)),
    inverted(5, 2, 3, 40, 3, act="relu"),
    (
        inverted(3, 2, 6, 80, **plain),
        inverted(3, 1, 2.5, 80, **plain),
        inverted(3, 1, 2.3, 80, 2, **plain),
    ),
    inverted(3, 1, 6, 112, 2),
    inverted(5, 2, 6, 160, 3),
    last(960),
)
SMALL = stages_of(
    separable(3, 2, 16, act="relu"),
    (inverted(3, 2, 4.5, 24, **plain_relu), inverted(3, 1, 3.67, 24, **plain_relu)),
    (inverted(5, 2, 4, 40), inverted(5, 1, 6, 40, 2)),
    inverted(5, 1, 3, 48, 2),
    inverted(5, 2, 6, 96, 3),
    last(576),
)
EFFICIENTNET = stages_of(  # arXiv 1905.11946, Table 1
    separable(3, 1, 16),
    inverted(3, 2, 6, 24, 2),
    inverted(5, 2, 6, 40, 2),
    inverted(3, 2, 6, 80, 3),
    inverted(5, 1, 6, 112, 3),
    inverted(5, 2, 6, 192, 4),
    inverted(3, 1, 6, 320),
)
MNASNET_A1 = stages_of(  # arXiv 1807.11626, Figure 7
    separable(3, 1, 16, **plain, skip=False),
    inverted(3, 2, 6, 24, 2, **plain),
    inverted(5, 2, 3, 40, 3),
    inverted(3, 2, 6, 80, 4, **plain),
    inverted(3, 1, 6, 112, 2),
    inverted(5, 2, 6, 160, 3),
    inverted(3, 1, 6, 320, **plain),
)
LCNET = stages_of(  # arXiv 2109.15099, Table 1
    v1(3, 1, 32, **plain),
    v1(3, 2, 64, 2, **plain),
    v1(3, 2, 128, 2, **plain),
    (v1(3, 2, 256, **plain), v1(5, 1, 256, **plain)),
    v1(5, 1, 256, 4, **plain),
    v1(5, 2, 512, 2),
)


# arXiv 2104.00298, Table 4; B0 to B3 as in the authors' code
V2_BASE = stages_of(
    Row("convolution", 3, 1, 16, attend=False, last_act=True),
    fused(2, 4, 32, 2),
    fused(2, 4, 48, 2),
    inverted(3, 2, 4, 96, 3),
    inverted(3, 1, 6, 112, 5),
    inverted(3, 2, 6, 192, 8),
)


def efficientnet_v2(*repeats: int, widths: tuple[int, ...]) -> Stages:
    """The larger ones: two fused stages, then four or three inverted ones; expansions 4 and 6."""
    strides, expansions = (1, 2, 2, 2, 1, 2, 1), (1, 4, 4, 4, 6, 6, 6)
    rows = list(zip(strides, expansions, widths, repeats, strict=False))
    first = Row("convolution", 3, 1, widths[0], repeats[0], attend=False, last_act=True)
    return stages_of(
        first,
        *(fused(*row) for row in rows[1:3]),
        *(inverted(3, *row) for row in rows[3:]),
    )


V2_S = efficientnet_v2(2, 4, 4, 6, 9, 15, widths=(24, 48, 64, 128, 160, 256))
V2_M = efficientnet_v2(3, 5, 5, 7, 14, 18, 5, widths=(24, 48, 80, 160, 176, 304, 512))
V2_L = efficientnet_v2(4, 7, 7, 10, 19, 25, 7, widths=(32, 64, 96, 192, 224, 384, 640))
V2_XL = efficientnet_v2(4, 8, 8, 16, 24, 32, 8, widths=(32, 64, 96, 192, 256, 512, 640))
# timm's own small one, after the paper's figure
V2_RW_S = stages_of(fused(1, 1, 24, 2), *V2_S[1:5], inverted(3, 2, 6, 272, 15))
V2_RW_M = stages_of(  # deeper by 1.2, and by 1.6 in the last two stages
    fused(1, 1, 24, 3),
    fused(2, 4, 48, 5),
    fused(2, 4, 64, 5),
    inverted(3, 2, 4, 128, 8),
    inverted(3, 1, 6, 160, 15),
    inverted(3, 2, 6, 272, 24),
)

# arXiv 1905.11946: width, depth, and the sizes at which timm and TensorFlow train, pixels
EFFICIENTNETS = {
    "b0": (1.0, 1.0, 224, 224),
    "b1": (1.0, 1.1, 240, 240),
    "b2": (1.1, 1.2, 256, 260),
    "b3": (1.2, 1.4, 288, 300),
    "b4": (1.4, 1.8, 320, 380),
    "b5": (1.6, 2.2, 448, 456),
    "b6": (1.8, 2.6, 528, 528),
    "b7": (2.0, 3.1, 600, 600),
    "b8": (2.2, 3.6, 672, 672),
}
# arXiv 2010.14819: width, depth, size
TINYNETS = {
    "a": (1.0, 1.2, 192),
    "b": (0.75, 1.1, 188),
    "c": (0.54, 0.85, 184),
    "d": (0.54, 0.695, 152),
    "e": (0.51, 0.6, 106),
}
V2_SIZES = {
    "b0": (1.0, 1.0, 192),
    "b1": (1.0, 1.1, 192),
    "b2": (1.1, 1.2, 208),
    "b3": (1.2, 1.4, 240),
}

V3: Options = dict(
    act="hard_swish", stem_width=16, attention=MOBILE_V3, head_kind="hidden", head_width=1280
)
V3_SMALL: Options = V3 | dict(stages=SMALL, head_width=1024)


def minimal(stages: Stages) -> Options:
    """MobileNetV3 for hardware that is slow at the rest: 3x3 kernels, ReLU, no SE."""
    small = tuple(
        tuple(replace(row, kernel_size=min(row.kernel_size, 3), act="") for row in rows)
        for rows in stages
    )
    return dict(stages=small, act="relu", attention=None)


def _efficientnets() -> Iterator[tuple[str, Variant]]:
    shared: Options = dict(stages=EFFICIENTNET, act="silu", attention=EFFICIENT)
    for name, (width, depth, size, tf_size) in EFFICIENTNETS.items():
        options = shared | dict(width=width, depth=depth, head_width=make_divisible(1280 * width))
        yield f"efficientnet_{name}", Variant(MobileNet, options, size)
        yield f"tf_efficientnet_{name}", Variant(MobileNet, options | TENSORFLOW, tf_size)
    for name, (width, depth, size) in TINYNETS.items():
        options = shared | dict(width=width, depth=depth, deepen="nearest", stem_scales=False)
        yield f"tinynet_{name}", Variant(MobileNet, options, size)


def _efficientnet_v2() -> Iterator[tuple[str, Variant]]:
    shared: Options = dict(act="silu", attention=EFFICIENT)
    for name, (width, depth, size) in V2_SIZES.items():
        scaled = dict(width=width, depth=depth, width_limit=0.0)
        options = shared | scaled | dict(stages=V2_BASE, head_width=int(1280 * width) // 8 * 8)
        yield f"tf_efficientnetv2_{name}", Variant(MobileNet, options | TENSORFLOW, size)
    for name, stages, stem_width, size, tf_size in (
        ("s", V2_S, 24, 288, 300),
        ("m", V2_M, 24, 320, 384),
        ("l", V2_L, 32, 384, 384),
        ("xl", V2_XL, 32, 384, 384),
    ):
        options = shared | dict(stages=stages, stem_width=stem_width)
        yield f"efficientnetv2_{name}", Variant(MobileNet, options, size)
        yield f"tf_efficientnetv2_{name}", Variant(MobileNet, options | TENSORFLOW, tf_size)
    options = shared | dict(stem_width=24)
    tiny = dict(stages=V2_S, width=0.8, depth=0.9, head_width=make_divisible(1280 * 0.8))
    yield "efficientnetv2_rw_t", Variant(MobileNet, options | tiny, 224)
    small = dict(stages=V2_RW_S, head_width=1792)
    yield "efficientnetv2_rw_s", Variant(MobileNet, options | small, 288)
    middle = dict(stages=V2_RW_M, width=1.2, head_width=make_divisible(1792 * 1.2))
    yield "efficientnetv2_rw_m", Variant(MobileNet, options | middle, 320)


def _mobilenet_v3() -> Iterator[tuple[str, Variant]]:
    for name, width, options in (
        ("mobilenetv3_large_075", 0.75, V3 | dict(stages=LARGE)),
        ("mobilenetv3_large_100", 1.0, V3 | dict(stages=LARGE)),
        ("mobilenetv3_small_050", 0.5, V3_SMALL | dict(stem_scales=False)),
        ("mobilenetv3_small_075", 0.75, V3_SMALL),
        ("mobilenetv3_small_100", 1.0, V3_SMALL),
    ):
        options = options | dict(width=width)
        yield name, Variant(MobileNet, options)
        if width >= 0.75:
            yield f"tf_{name}", Variant(MobileNet, options | TENSORFLOW)
    for name, options in (
        ("tf_mobilenetv3_large_minimal_100", V3 | minimal(LARGE)),
        ("tf_mobilenetv3_small_minimal_100", V3_SMALL | minimal(SMALL)),
    ):
        yield name, Variant(MobileNet, options | TENSORFLOW)
    # timm's own reading of the paper, before its code was public: SE with the block's activation
    first = (replace(LARGE[0][0], skip=False),)
    attention = SEBlock(reduction=4, act="hard_swish", gate="hard_sigmoid")
    by_stage = (None, None, attention.clone(act="relu"), None, *(attention,) * 2, None)
    options = dict(
        stages=(first, *LARGE[1:]),
        attention=by_stage,
        head_bias=False,
        norm=BatchNorm(epsilon=1e-3),
    )
    yield "mobilenetv3_rw", Variant(MobileNet, V3 | options)


def _others() -> Iterator[tuple[str, Variant]]:
    options: Options = dict(stages=MOBILENET_V1, act="relu6", head_kind="plain")
    yield "mobilenetv1_100", Variant(MobileNet, options)
    with_se = dict(attention=SEBlock(), placement="output")
    yield "semobilenetv1_100", Variant(MobileNet, options | with_se)
    with_head = dict(head_kind="convolution", head_width=1024)
    yield "mobilenetv1_100h", Variant(MobileNet, options | with_head)
    yield "mobilenetv1_125", Variant(MobileNet, options | dict(width=1.25))
    for width in (0.5, 0.75, 1.0, 1.4):
        options = dict(stages=MNASNET_A1, width=width, attention=OF_INPUT)
        yield f"semnasnet_{round(100 * width):03}", Variant(MobileNet, options)
    for width in (0.35, 0.5, 0.75, 1.0, 1.5):
        attention = SEBlock(reduction=4, gate="hard_sigmoid")
        options = V3 | dict(stages=LCNET, width=width, attention=attention)
        yield f"lcnet_{round(100 * width):03}", Variant(MobileNet, options)


VARIANTS = dict([*_mobilenet_v3(), *_efficientnets(), *_efficientnet_v2(), *_others()])
