"""Inception-v4 and Inception-ResNet-v2 for CIFAR-10 as in taki0112/SENet-Tensorflow.

Images are put into the middle of 96x96 zeros, and the grids are 9x9, 4x4 and 1x1. Norms are at the
end of modules. There are fewer residual modules than in arXiv 1602.07261, and of (1, k) and (k, 1)
convolutions the order, and sometimes the number, is another one. SE has a reduction of 4; in the
residual network it sits on the trunk, after the sum's norm and ReLU. The plain networks are these
without SE; that code has none.
"""

from typing import Any

from senet_jax.layers import BatchNorm, SEBlock
from senet_jax.models.inception import Conv, Inception, mixed
from senet_jax.models.inception_variants import AVERAGE, MAX, valid
from senet_jax.models.spec import Variant

Options = dict[str, Any]

# in both networks
STEM = (
    (valid(32, strides=2), valid(32), Conv(64, 3)),
    (mixed(MAX, valid(96, strides=2)),),
    (
        mixed(
            (Conv(64), valid(96)),
            (Conv(64), Conv(64, (7, 1)), Conv(64, (1, 7)), valid(96)),
        ),
        mixed(valid(192, strides=2), MAX),
    ),
)
REDUCTION_A = (MAX, valid(384, strides=2), (Conv(256), Conv(256, 3), valid(384, strides=2)))
REDUCTION_B = (
    MAX,
    (Conv(256), valid(384, strides=2)),
    (Conv(256), valid(288, strides=2)),
    (Conv(256), Conv(288, 3), valid(320, strides=2)),
)

V4_A = mixed(
    (AVERAGE, Conv(96)),
    Conv(96),
    (Conv(64), Conv(96, 3)),
    (Conv(64), Conv(96, 3), Conv(96, 3)),
)
V4_B = mixed(
    (AVERAGE, Conv(128)),
    Conv(384),
    (Conv(192), Conv(224, (1, 7)), Conv(256, (1, 7))),
    (Conv(192), Conv(192, (1, 7)), Conv(224, (7, 1)), Conv(224, (1, 7)), Conv(256, (7, 1))),
)
V4_C = mixed(
    (AVERAGE, Conv(256)),
    Conv(256),
    (Conv(384), (Conv(256, (1, 3)), Conv(256, (3, 1)))),
    (Conv(384), Conv(448, (1, 3)), Conv(512, (3, 1)), (Conv(256, (3, 1)), Conv(256, (1, 3)))),
)

residual: Options = dict(scale=0.1, act=False)  # activated after the norm
RESIDUAL_A = mixed(
    Conv(32), (Conv(32), Conv(32, 3)), (Conv(32), Conv(48, 3), Conv(64, 3)), **residual
)
RESIDUAL_B = mixed(Conv(192), (Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1))), **residual)
RESIDUAL_C = mixed(Conv(192), (Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1))), **residual)

COMMON: Options = dict(
    stem=STEM,
    num_classes=10,
    normalised="modules",
    margin=32,
    dropout=0.2,
    norm=BatchNorm(epsilon=1e-3),  # tf.contrib's default
)
PLAIN: dict[str, Options] = {
    "inception_v4_cifar": dict(
        stages=(
            (V4_A,) * 4,
            (mixed(*REDUCTION_A, attend=False), *(V4_B,) * 7),
            (mixed(*REDUCTION_B, attend=False), *(V4_C,) * 3),
        )
    ),
    "inception_resnet_v2_cifar": dict(
        stages=(
            (RESIDUAL_A,) * 5,
            (mixed(*REDUCTION_A), *(RESIDUAL_B,) * 10),
            (mixed(*REDUCTION_B), *(RESIDUAL_C,) * 5),
        )
    ),
}
VARIANTS = {name: Variant(Inception, COMMON | options, 32) for name, options in PLAIN.items()} | {
    f"se{name}": Variant(Inception, COMMON | options | dict(attention=SEBlock(reduction=4)), 32)
    for name, options in PLAIN.items()
}
