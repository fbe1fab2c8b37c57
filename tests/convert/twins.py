"""Small networks, one of each kind that other people's weights come in, and their stored outputs.

A twin has the real names, widths and strides, but two stages, few blocks and few groups. Its
weights are made from its names (`tests.convert.seeded`), so a golden file holds outputs alone.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from senet_jax import SEBlock, create_model
from tests.convert import small_rows as small

GOLDEN = Path(__file__).parents[1] / "golden"
CLASSES = 10
TRAINING_BATCH = 4


class Twin(NamedTuple):
    """A row: the name, our options, and the options that say the same where it comes from.

    `trains`: whether its gradients and running statistics are stored, too; one of each family.
    `rounding`: how exact these are in float64.
    `sizes`, `training_size`: of the images, in pixels; even and odd.
    """

    name: str
    ours: dict[str, Any]
    theirs: dict[str, Any]
    source: str = "timm"
    trains: bool = False
    rounding: float = 1e-10
    sizes: tuple[int, int] = (64, 65)
    training_size: int = 17

    @property
    def id(self) -> str:
        return f"{self.source}-{self.name}"

    def model(self, **options: Any) -> Any:
        """Our network; without dropout, which is random."""
        options = {"num_classes": CLASSES, "dropout": 0.0, **self.ours, **options}
        return create_model(self.name, **options)


def _timm(
    name: str,
    groups: int | None = None,
    base_width: int = 4,
    sizes: tuple[int, int] = (1, 1),
    **twin: Any,
) -> Twin:
    ours: dict[str, Any] = dict(stage_sizes=sizes)
    theirs: dict[str, Any] = dict(layers=(*sizes, 1, 1), stages=2, num_classes=CLASSES)
    if groups is not None:
        ours |= dict(cardinality=groups, base_width=base_width)
        legacy = name.startswith("legacy")  # its widths of groups cannot be chosen
        theirs |= dict(groups=groups) if legacy else dict(cardinality=groups, base_width=base_width)
    return Twin(name, ours, theirs, **twin)


def _moskomule(name: str, sizes: tuple[int, ...], trains: bool = False, **theirs: Any) -> Twin:
    ours = dict(stage_sizes=sizes, attention=SEBlock(use_bias=False))
    return Twin(name, ours, dict(sizes=sizes, **theirs), "moskomule", trains)


def _inception(name: str, **twin: Any) -> Twin:
    theirs = dict(small="inception", network=name)
    sizes = dict(sizes=(96, 97), training_size=80)  # 75 pixels are the least
    return Twin(name, small.inception(name), theirs, **sizes, **twin)


def with_dtype(model: Any, dtype: str) -> Any:
    """A model with computation and variables, its modules' too, of another type."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        parts = value if isinstance(value, tuple) else (value,)
        if field.name in ("dtype", "param_dtype"):
            changed[field.name] = dtype
        elif field.name != "parent" and any(isinstance(part, nn.Module) for part in parts):
            new = [with_dtype(p, dtype) if isinstance(p, nn.Module) else p for p in parts]
            changed[field.name] = tuple(new) if isinstance(value, tuple) else new[0]
    return model.clone(**changed)


TWINS = (
    Twin("efficientnet_b0", small.EFFICIENT_ROWS, small.EFFICIENT_TIMM, trains=True),
    Twin("tf_efficientnet_b0", small.EFFICIENT_ROWS, small.EFFICIENT_TIMM | dict(same=True)),
    # torch rounds the slope of its hard sigmoid, 1 / 6, to float32
    Twin(
        "mobilenetv3_large_100",
        small.MOBILE_V3_ROWS,
        small.MOBILE_V3_TIMM,
        trains=True,
        rounding=1e-6,
    ),
    Twin("mobilenetv1_100", small.V1_ROWS, small.V1_TIMM),
    Twin("tf_efficientnetv2_b0", small.V2_ROWS, small.V2_TIMM, trains=True),
    Twin("regnety_002", small.REGNET, dict(small="regnet"), trains=True),
    Twin("cspdarknet53", small.CSPDARKNET, dict(small="cspdarknet"), trains=True),
    Twin(
        "secspdarknet53",
        small.CSPDARKNET_INNER,
        dict(small="cspdarknet", act_layer="mish", attn_layer="se"),
        trains=True,
    ),
    _inception("inception_v3", trains=True),
    _inception("inception_v4"),
    _inception("inception_resnet_v2"),
    Twin("vgg16", small.VGG, dict(small="vgg", batch_norm=False)),
    Twin("vgg16_bn", small.VGG, dict(small="vgg"), trains=True),
    _timm("legacy_seresnet18", trains=True),
    _timm("legacy_seresnet50", sizes=(2, 1), trains=True),
    _timm("legacy_seresnext26_32x4d", groups=4),
    _timm("legacy_senet154", groups=4, base_width=64, trains=True),
    _timm("resnet50"),
    _timm("seresnet18"),
    _timm("seresnet50", sizes=(2, 1), trains=True),
    _timm("seresnet50t"),
    _timm("seresnext50_32x4d", groups=4, trains=True),
    _timm("seresnext26d_32x4d", groups=4, trains=True),
    _timm("seresnetaa50d", trains=True),
    _timm("seresnextaa201d_32x8d", groups=4),
    _timm("resnetrs50", trains=True),
    _timm("senet154", groups=4, base_width=64),
    _timm("ecaresnet50t", sizes=(2, 1), trains=True),
    _timm("skresnet50", trains=True),
    _timm("skresnext50_32x4d", groups=4),
    _timm("resnest50d", trains=True),
    _timm("resnest50d_4s2x40d", groups=2, base_width=40),
    _moskomule("seresnet20", (1, 1, 1), trains=True, cifar=True),
    _moskomule("seresnet50", (2, 1), cifar=False, bottleneck=True),
)


# whose gates are stored, too
WITH_GATES = tuple(
    twin
    for twin in TWINS
    if twin.name in ("legacy_seresnet50", "efficientnet_b0", "mobilenetv3_large_100")
)


def summary(values: Any) -> np.ndarray:
    """What is stored of a tensor: its root mean square and 7 of its values, float64 [8]."""
    values = np.asarray(values, np.float64).ravel()
    some = values[np.linspace(0, values.size - 1, 7).astype(int)]
    return np.array([np.sqrt(np.mean(values**2)), *some])


def assert_alike(
    ours: Any, golden: np.ndarray, tolerance: float, what: str, least: float = 0.0
) -> None:
    """The summaries agree, in units of the tensor's root mean square, or of `least` if that is
    less: some gradients are zero but for rounding, as of a bias whose every path ends in a norm.
    """
    error = np.max(np.abs(summary(ours) - golden)) / max(golden[0], least)
    assert error <= tolerance, f"{what}: relative error {error:.1e}"


def read_golden(twin: Twin) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{twin.id}.npz") as file:
        return dict(file)
