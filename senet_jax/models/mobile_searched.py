"""Mobile networks that a search found, by name: HardCoRe-NAS (arXiv 2102.11646) and FBNetV3
(2006.02049), rows for `MobileNet` as in timm's hardcorenas.py and mobilenetv3.py.
"""

from collections.abc import Iterator

from senet_jax.layers import SEBlock
from senet_jax.models.mobile import MobileNet
from senet_jax.models.mobile_variants import (
    MOBILE_V3,
    Options,
    Stages,
    inverted,
    last,
    plain,
    plain_relu,
    separable,
    stages_of,
)
from senet_jax.models.spec import Variant

# of each block of five stages: kernel size, expansion, and s where it has SE
HARDCORE = {
    "a": "53 53s | 53 56s | 56s 56s | 56s 56s | 56s 56s",
    "b": "53 53s 33 | 53 53 53 | 53 53 33 33 | 53 33 33 33 | 56s 56s 33s",
    "c": "53 53s | 53 53 53 53 | 54 56s 33 33 | 56s 33 33 33 | 56s 56s 33s",
    "d": "53s 53s | 53s 54s 33s | 54s 33s 33s 33s | 34s 54s 33s 53s | 56s 56s 56s 36s",
    "e": "53s 53s | 56s 54s 54s 33s | 54s 36s | 56s 56s 56s 53s | 56s 56s 56s 36s",
    "f": "53s 53s | 56s 56s | 56s 56s 33s 33s | 36s 56s 56s 33s | 56s 56s 36s 36s",
}
# of each of those stages: width, stride, activation ("": hard swish, the network's)
HARDCORE_STAGES = ((24, 2, "relu"), (40, 2, "relu"), (80, 2, ""), (112, 1, ""), (192, 2, ""))


def hardcore(blocks: str) -> Stages:
    stages = []
    for codes, (width, strides, act) in zip(blocks.split("|"), HARDCORE_STAGES, strict=True):
        rows = [
            inverted(
                int(code[0]),
                strides if i == 0 else 1,
                int(code[1]),
                width,
                attend=code.endswith("s"),
                act=act,
            )
            for i, code in enumerate(codes.split())
        ]
        stages.append(tuple(rows))
    return stages_of(separable(3, 1, 16, **plain_relu), *stages, last(960))


FBNET_B = stages_of(
    separable(3, 1, 16, 2, **plain),
    (inverted(5, 2, 4, 24, **plain), inverted(5, 1, 2, 24, 3, **plain)),
    (inverted(5, 2, 5, 40), inverted(5, 1, 3, 40, 4)),
    (inverted(5, 2, 5, 72, **plain), inverted(3, 1, 3, 72, 4, **plain)),
    (inverted(3, 1, 5, 120), inverted(5, 1, 3, 120, 5)),
    (inverted(3, 2, 6, 184), inverted(5, 1, 4, 184, 5), inverted(5, 1, 6, 224)),
    last(1344),
)
FBNET_D = stages_of(
    separable(3, 1, 16, 2, **plain),
    (inverted(3, 2, 5, 24, **plain), inverted(3, 1, 2, 24, 5, **plain)),
    (inverted(5, 2, 4, 40), inverted(3, 1, 3, 40, 4)),
    (inverted(3, 2, 5, 72, **plain), inverted(3, 1, 3, 72, 4, **plain)),
    (inverted(3, 1, 5, 128), inverted(5, 1, 3, 128, 6)),
    (inverted(3, 2, 6, 208), inverted(5, 1, 5, 208, 5), inverted(5, 1, 6, 240)),
    last(1440),
)
FBNET_G = stages_of(
    separable(3, 1, 24, 3, **plain),
    (inverted(5, 2, 4, 40, **plain), inverted(5, 1, 2, 40, 4, **plain)),
    (inverted(5, 2, 4, 56), inverted(5, 1, 3, 56, 4)),
    (inverted(5, 2, 5, 104, **plain), inverted(3, 1, 3, 104, 4, **plain)),
    (inverted(3, 1, 5, 160), inverted(5, 1, 3, 160, 8)),
    (inverted(3, 2, 6, 264), inverted(5, 1, 5, 264, 6), inverted(5, 1, 6, 288, 2)),
    last(1728),
)
FBNETS = {"b": (FBNET_B, 16, 224), "d": (FBNET_D, 24, 224), "g": (FBNET_G, 32, 240)}


def _variants() -> Iterator[tuple[str, Variant]]:
    shared: Options = dict(act="hard_swish", head_kind="hidden")
    for name, blocks in HARDCORE.items():
        options = shared | dict(stages=hardcore(blocks), head_width=1280, attention=MOBILE_V3)
        yield f"hardcorenas_{name}", Variant(MobileNet, options)
    attention = SEBlock(
        reduction=4, divisor=8, limit=0.95, of_input=True, act="hard_swish", gate="hard_sigmoid"
    )
    for name, (stages, stem_width, size) in FBNETS.items():
        options = shared | dict(head_width=1984, head_bias=False, attention=attention)
        options |= dict(stages=stages, stem_width=stem_width)
        yield f"fbnetv3_{name}", Variant(MobileNet, options, size)


VARIANTS = dict(_variants())
