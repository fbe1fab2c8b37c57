"""Every model of the zoo as a small twin: fewer blocks, narrower, everything else as it is."""

import dataclasses
from typing import Any, NamedTuple

from senet_jax import BatchNorm, SEBlock, create_model
from senet_jax.models.cspdarknet import CSPDarknet
from senet_jax.models.inception import Inception, scaled
from senet_jax.models.mobile import MobileNet
from senet_jax.models.regnet import RegNet
from senet_jax.models.shufflenet import ShuffleNet
from senet_jax.models.vgg import VGG


class Small(NamedTuple):
    """A twin, how many attentions it has if it has any, and images it can take, in pixels."""

    model: Any
    attentions: int
    size: int = 16


def shrink(name: str) -> Small:
    model = create_model(name, num_classes=10)
    model = model.clone(attention=narrow(model.attention))
    if hasattr(model, "dropout"):
        model = model.clone(dropout=0.0)
    match model:
        case MobileNet():
            return _mobile(model)
        case Inception():
            return _inception(model)
        case RegNet():
            options = dict(depths=(1, 2), widths=(16, 24), group_width=8, stem_width=8)
            return Small(model.clone(**options), 3)
        case CSPDarknet():
            return Small(model.clone(stage_sizes=(1, 2), widths=(16, 32), stem_width=8), 3)
        case VGG():
            return Small(model.clone(stage_sizes=(1, 2), widths=(8, 16), head_width=16), 3)
        case ShuffleNet():
            return Small(model.clone(stage_sizes=(1, 2), widths=(24, 48), stem_width=12), 3)
    small: dict[str, Any] = dict(stage_sizes=(1, 1), width=8, path_width=4)
    if getattr(model, "cardinality", 1) > 1:
        small |= dict(base_width=32, cardinality=2)
    return Small(model.clone(**{k: v for k, v in small.items() if hasattr(model, k)}), 2)


def narrow(attention: Any) -> Any:
    """The same SE blocks at a ratio that leaves units of few channels."""
    if isinstance(attention, tuple):
        return next(narrow(block) for block in attention if block is not None)
    return attention.clone(reduction=2) if isinstance(attention, SEBlock) else attention


def _mobile(model: MobileNet) -> Small:
    """One block of each kind that the network has, wherever its widths and repeats differ."""
    rows = [row for rows in model.stages for row in rows]
    plain = dict(kernel_size=3, strides=1, features=8, repeats=1, expansion=2, act="")
    kinds = list(dict.fromkeys(dataclasses.replace(row, **plain) for row in rows))
    kinds.sort(key=repr)
    kinds[-1] = dataclasses.replace(kinds[-1], strides=2)
    options = dict(width=1.0, depth=1.0, stem_width=8, head_width=16, deepen="up", width_limit=0.9)
    attentions = sum(row.attend for row in kinds)
    return Small(model.clone(stages=tuple((row,) for row in kinds), **options), attentions)


def _inception(model: Inception) -> Small:
    """One module of each structure, whatever its widths."""
    stages = tuple(
        tuple({scaled(b, 0): b for b in reversed(blocks)}.values()) for blocks in model.stages
    )
    stages = tuple(blocks[::-1] for blocks in stages)
    attentions = sum(block.attend for blocks in stages for block in blocks)
    padded = model.stem[0][0].padding != "valid"
    size = 16 if model.margin else 64 if padded else 80  # what windows without padding leave
    return Small(model.clone(stages=stages, width=1 / 16), attentions, size)


def kind_of(model: Any) -> str:
    """Equal for twins that compute the same but for attention, activation, epsilon and padding."""
    plain = dict(attention=None, norm=BatchNorm(), act="relu", padding="torch", head_bias=True)
    plain |= dict(stem_scales=True, width_limit=0.9)
    same = model.clone(**{k: v for k, v in plain.items() if hasattr(model, k)})
    return repr(same).removeprefix("SE")
