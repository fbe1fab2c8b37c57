"""The residual networks by name: rows for `ResNet` and `SEResNet`, timm's names.

Depths, widths and suffixes as in timm's resnet.py (modern) and senet.py (`legacy_`, the Caffe
release's networks), CIFAR networks as in arXiv 1512.03385, section 4.2, with option-B shortcuts.
"""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn

from senet_jax.layers import SEBlock
from senet_jax.models.resnet import ResNet, SEResNet
from senet_jax.models.spec import Variant

Options = dict[str, Any]

BASIC: dict[int, Options] = {
    18: dict(stage_sizes=(2, 2, 2, 2), bottleneck=False),
    34: dict(stage_sizes=(3, 4, 6, 3), bottleneck=False),
}
DEPTHS: dict[int, Options] = BASIC | {
    26: dict(stage_sizes=(2, 2, 2, 2)),
    50: dict(stage_sizes=(3, 4, 6, 3)),
    101: dict(stage_sizes=(3, 4, 23, 3)),
    152: dict(stage_sizes=(3, 8, 36, 3)),
    200: dict(stage_sizes=(3, 24, 36, 3)),
    269: dict(stage_sizes=(3, 30, 48, 8)),
}
GROUPS: dict[str, Options] = {
    "32x4d": dict(cardinality=32, base_width=4),
    "32x8d": dict(cardinality=32, base_width=8),
    "64x4d": dict(cardinality=64, base_width=4),
}
DEEP: Options = dict(stem="deep", shortcut="average")
TIERED: Options = dict(stem="tiered", shortcut="average")
ANTIALIAS: Options = dict(stem="deep-aa", shortcut="average", antialias=True)
SENET: Options = DEPTHS[152] | dict(cardinality=64, base_width=4, reduce_first=2, shortcut="3x3")

# timm's rule of widths: at least 8, so C = 64 differs from C // 16
MODERN_SE = SEBlock(divisor=8)

# name of the SE network, name of the plain one (None: timm has none), what to build
MODERN: list[tuple[str, str | None, Options]] = [
    ("seresnet18", "resnet18", DEPTHS[18]),
    ("seresnet34", "resnet34", DEPTHS[34]),
    ("seresnet50", "resnet50", DEPTHS[50]),
    ("seresnet101", "resnet101", DEPTHS[101]),
    ("seresnet152", "resnet152", DEPTHS[152]),
    ("seresnet50t", "resnet50t", DEPTHS[50] | TIERED),
    ("seresnet152d", "resnet152d", DEPTHS[152] | DEEP),
    ("seresnet200d", "resnet200d", DEPTHS[200] | DEEP),
    ("seresnet269d", None, DEPTHS[269] | DEEP),
    ("seresnetaa50d", "resnetaa50d", DEPTHS[50] | ANTIALIAS),
    ("seresnext26d_32x4d", None, DEPTHS[26] | GROUPS["32x4d"] | DEEP),
    ("seresnext26t_32x4d", None, DEPTHS[26] | GROUPS["32x4d"] | TIERED),
    ("seresnext50_32x4d", "resnext50_32x4d", DEPTHS[50] | GROUPS["32x4d"]),
    ("seresnext101_32x4d", "resnext101_32x4d", DEPTHS[101] | GROUPS["32x4d"]),
    ("seresnext101_32x8d", "resnext101_32x8d", DEPTHS[101] | GROUPS["32x8d"]),
    ("seresnext101_64x4d", "resnext101_64x4d", DEPTHS[101] | GROUPS["64x4d"]),
    ("seresnext101d_32x8d", None, DEPTHS[101] | GROUPS["32x8d"] | DEEP),
    ("seresnextaa101d_32x8d", None, DEPTHS[101] | GROUPS["32x8d"] | ANTIALIAS),
    (
        "seresnextaa201d_32x8d",
        None,
        dict(stage_sizes=(3, 24, 36, 4)) | GROUPS["32x8d"] | ANTIALIAS | dict(stem="senet-aa"),
    ),
    ("senet154", None, SENET | dict(stem="senet")),
]

# timm's senet.py drops out a fifth of the features before every classifier, not SENet-154's alone
RELEASE: Options = dict(stem="legacy", zero_init_last=False, dropout=0.2)
LEGACY: dict[str, Options] = {
    "legacy_seresnet18": DEPTHS[18] | RELEASE | dict(placement="activated"),
    "legacy_seresnet34": DEPTHS[34] | RELEASE | dict(placement="activated"),
    "legacy_seresnet50": DEPTHS[50] | RELEASE | dict(stride_at="1x1"),
    "legacy_seresnet101": DEPTHS[101] | RELEASE | dict(stride_at="1x1"),
    "legacy_seresnet152": DEPTHS[152] | RELEASE | dict(stride_at="1x1"),
    "legacy_seresnext26_32x4d": DEPTHS[26] | GROUPS["32x4d"] | RELEASE,
    "legacy_seresnext50_32x4d": DEPTHS[50] | GROUPS["32x4d"] | RELEASE,
    "legacy_seresnext101_32x4d": DEPTHS[101] | GROUPS["32x4d"] | RELEASE,
    "legacy_senet154": SENET | RELEASE | dict(stem="legacy-senet"),
}

# ResNet-RS: arXiv 2103.07579, Table 11: SE ratio 0.25; depth, training size in pixels
RS: dict[int, tuple[tuple[int, ...], int]] = {
    50: ((3, 4, 6, 3), 160),
    101: ((3, 4, 23, 3), 192),
    152: ((3, 8, 36, 3), 256),
    200: ((3, 24, 36, 3), 256),
    270: ((4, 29, 53, 4), 256),
    350: ((4, 36, 72, 4), 288),
    420: ((4, 44, 87, 4), 320),
}
CIFAR_DEPTHS = (20, 32, 44, 56, 110)


def _cifar(depth: int) -> Options:
    return dict(
        stage_sizes=((depth - 2) // 6,) * 3,
        bottleneck=False,
        width=16,
        stem="cifar",
        zero_init_last=False,
        num_classes=10,
    )


def _variants() -> Iterator[tuple[str, Variant]]:
    for se, plain, options in MODERN:
        yield se, Variant(SEResNet, options | dict(attention=MODERN_SE))
        if plain is not None:
            yield plain, Variant(ResNet, options)
    for name, options in LEGACY.items():
        yield name, Variant(SEResNet, options)
    for depth, (sizes, image_size) in RS.items():
        attention: nn.Module = SEBlock(reduction=4, divisor=8)
        options = dict(stage_sizes=sizes, stem="rs", shortcut="average", attention=attention)
        yield f"resnetrs{depth}", Variant(SEResNet, options, image_size, counted_at=224)
    for depth in CIFAR_DEPTHS:
        yield f"resnet{depth}", Variant(ResNet, _cifar(depth), image_size=32)
        yield f"seresnet{depth}", Variant(SEResNet, _cifar(depth), image_size=32)


VARIANTS = dict(_variants())
