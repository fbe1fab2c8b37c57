"""Inceptions for ImageNet by name: tables for `Inception`.

Inception-v3, v4 and Inception-ResNet-v2 have timm's names and layers; arXiv 1512.00567 and
1602.07261 draw them. SE-BN-Inception is that of arXiv 1709.01507's Caffe release, and BN-Inception
the same without SE. Of the others with SE no working code is public: as in that paper it is at the
end of every module (Figure 2), and in residual networks in their residual modules alone, before the
sum (Figure 3).
"""

from functools import partial
from typing import Any

from senet_jax.layers import BatchNorm, SEBlock
from senet_jax.models.inception import Conv, Inception, Mixed, Pool, mixed
from senet_jax.models.spec import Variant

Options = dict[str, Any]

valid = partial(Conv, size=3, padding="valid")  # 3x3, loses a border

MAX = Pool("max", 2, "valid")
AVERAGE = Pool("average")
COUNTING = Pool("average", count_padding=True)

STEM = (
    (valid(32, strides=2), valid(32), Conv(64, 3)),
    (MAX, Conv(80), valid(192)),
    (MAX,),
)


def v3_a(pool_width: int) -> Mixed:
    """arXiv 1512.00567, Figure 5, with a 5x5 convolution as in the released code."""
    return mixed(
        Conv(64),
        (Conv(48), Conv(64, 5)),
        (Conv(64), Conv(96, 3), Conv(96, 3)),
        (COUNTING, Conv(pool_width)),
    )


V3_B = mixed(valid(384, strides=2), (Conv(64), Conv(96, 3), valid(96, strides=2)), MAX)


def v3_c(inner: int) -> Mixed:
    """Figure 6."""
    return mixed(
        Conv(192),
        (Conv(inner), Conv(inner, (1, 7)), Conv(192, (7, 1))),
        (
            Conv(inner),
            Conv(inner, (7, 1)),
            Conv(inner, (1, 7)),
            Conv(inner, (7, 1)),
            Conv(192, (1, 7)),
        ),
        (COUNTING, Conv(192)),
    )


V3_D = mixed(
    (Conv(192), valid(320, strides=2)),
    (Conv(192), Conv(192, (1, 7)), Conv(192, (7, 1)), valid(192, strides=2)),
    MAX,
)
V3_E = mixed(  # Figure 7
    Conv(320),
    (Conv(384), (Conv(384, (1, 3)), Conv(384, (3, 1)))),
    (Conv(448), Conv(384, 3), (Conv(384, (1, 3)), Conv(384, (3, 1)))),
    (COUNTING, Conv(192)),
)

INCEPTION_V3: Options = dict(
    stem=STEM,
    stages=(
        (v3_a(32), v3_a(64), v3_a(64)),
        (V3_B, v3_c(128), v3_c(160), v3_c(160), v3_c(192)),
        (V3_D, V3_E, V3_E),
    ),
    norm=BatchNorm(epsilon=1e-3),
)

# arXiv 1602.07261, Figures 3 to 8
V4_A = mixed(
    Conv(96),
    (Conv(64), Conv(96, 3)),
    (Conv(64), Conv(96, 3), Conv(96, 3)),
    (AVERAGE, Conv(96)),
)
V4_REDUCTION_A = mixed(valid(384, strides=2), (Conv(192), Conv(224, 3), valid(256, strides=2)), MAX)
V4_B = mixed(
    Conv(384),
    (Conv(192), Conv(224, (1, 7)), Conv(256, (7, 1))),
    (Conv(192), Conv(192, (7, 1)), Conv(224, (1, 7)), Conv(224, (7, 1)), Conv(256, (1, 7))),
    (AVERAGE, Conv(128)),
)
V4_REDUCTION_B = mixed(
    (Conv(192), valid(192, strides=2)),
    (Conv(256), Conv(256, (1, 7)), Conv(320, (7, 1)), valid(320, strides=2)),
    MAX,
)
V4_C = mixed(
    Conv(256),
    (Conv(384), (Conv(256, (1, 3)), Conv(256, (3, 1)))),
    (Conv(384), Conv(448, (3, 1)), Conv(512, (1, 3)), (Conv(256, (1, 3)), Conv(256, (3, 1)))),
    (AVERAGE, Conv(256)),
)

INCEPTION_V4: Options = dict(
    stem=(
        (valid(32, strides=2), valid(32), Conv(64, 3)),
        (mixed(MAX, valid(96, strides=2)),),
        (
            mixed(
                (Conv(64), valid(96)),
                (Conv(64), Conv(64, (1, 7)), Conv(64, (7, 1)), valid(96)),
            ),
            mixed(valid(192, strides=2), MAX),
        ),
    ),
    stages=((V4_A,) * 4, (V4_REDUCTION_A, *(V4_B,) * 7), (V4_REDUCTION_B, *(V4_C,) * 3)),
    norm=BatchNorm(epsilon=1e-3),
)

# arXiv 1602.07261, Figures 15 to 19, with the widths and scales of the released code
RESIDUAL_5B = mixed(
    Conv(96),
    (Conv(48), Conv(64, 5)),
    (Conv(64), Conv(96, 3), Conv(96, 3)),
    (AVERAGE, Conv(64)),
    attend=False,
)
RESIDUAL_A = mixed(
    Conv(32), (Conv(32), Conv(32, 3)), (Conv(32), Conv(48, 3), Conv(64, 3)), scale=0.17
)
RESIDUAL_6A = mixed(
    valid(384, strides=2), (Conv(256), Conv(256, 3), valid(384, strides=2)), MAX, attend=False
)
RESIDUAL_B = mixed(Conv(192), (Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1))), scale=0.1)
RESIDUAL_7A = mixed(
    (Conv(256), valid(384, strides=2)),
    (Conv(256), valid(288, strides=2)),
    (Conv(256), Conv(288, 3), valid(320, strides=2)),
    MAX,
    attend=False,
)
residual_c = partial(mixed, Conv(192), (Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1))))

INCEPTION_RESNET_V2: Options = dict(
    stem=STEM,
    stages=(
        (RESIDUAL_5B, *(RESIDUAL_A,) * 10),
        (RESIDUAL_6A, *(RESIDUAL_B,) * 20),
        (
            RESIDUAL_7A,
            *(residual_c(scale=0.2),) * 9,
            residual_c(scale=1.0, act=False),
            mixed(Conv(1536), attend=False),
        ),
    ),
    norm=BatchNorm(epsilon=1e-3),
)


def bn(
    first: int, triple: tuple[int, int], double: tuple[int, int], pool: Pool, proj: int
) -> Mixed:
    """arXiv 1502.03167, Table 1, in its columns' order: 1x1, 3x3 reduce and 3x3, double 3x3 reduce
    and both double 3x3, pool and its projection.
    """
    return mixed(
        Conv(first),
        (Conv(triple[0]), Conv(triple[1], 3)),
        (Conv(double[0]), Conv(double[1], 3), Conv(double[1], 3)),
        (pool, Conv(proj)),
    )


def bn_reduction(triple: tuple[int, int], double: tuple[int, int]) -> Mixed:
    """The same where the grid is halved; the pool's branch has no projection, nor the first one."""
    return mixed(
        (Conv(triple[0]), Conv(triple[1], 3, 2)),
        (Conv(double[0]), Conv(double[1], 3), Conv(double[1], 3, 2)),
        CEIL,
    )


CEIL = Pool("max", 2, "ceil")

BN_INCEPTION: Options = dict(
    stem=((Conv(64, 7, 2),), (CEIL, Conv(64), Conv(192, 3)), (CEIL,)),
    stages=(
        (
            bn(64, (64, 64), (64, 96), COUNTING, 32),  # 3a
            bn(64, (64, 96), (64, 96), COUNTING, 64),
        ),
        (
            bn_reduction((128, 160), (64, 96)),  # 3c
            bn(224, (64, 96), (96, 128), COUNTING, 128),  # 4a
            bn(192, (96, 128), (96, 128), COUNTING, 128),
            bn(160, (128, 160), (128, 160), COUNTING, 128),
            bn(96, (128, 192), (160, 192), COUNTING, 128),
        ),
        (
            bn_reduction((128, 192), (192, 256)),  # 4e
            bn(352, (192, 320), (160, 224), COUNTING, 128),  # 5a
            bn(352, (192, 320), (192, 224), Pool("max"), 128),
        ),
    ),
)

PLAIN = {
    "inception_v3": (INCEPTION_V3, 299),
    "inception_v4": (INCEPTION_V4, 299),
    "inception_resnet_v2": (INCEPTION_RESNET_V2, 299),
    "bn_inception": (BN_INCEPTION, 224),
}
VARIANTS = {name: Variant(Inception, options, size) for name, (options, size) in PLAIN.items()} | {
    f"se{name}": Variant(Inception, options | dict(attention=SEBlock()), size)
    for name, (options, size) in PLAIN.items()
}
