"""timm's names for residual networks, modern (resnet.py) and legacy (senet.py).

The modern names of networks without a deep stem are also torchvision's.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from senet_jax.convert.tables import (
    CONV,
    DENSE,
    DENSE_AS_CONV,
    NORM,
    Row,
    Table,
    refuse,
    strange_attention,
    strange_options,
)
from senet_jax.models.stems import STEMS

BLOCKS: Table = (
    Row("stage{s}/block{b}/conv{i}", "layer{s}.{b-1}.conv{i}", CONV),
    Row("stage{s}/block{b}/bn{i}", "layer{s}.{b-1}.bn{i}", NORM),
)
SHORTCUT: Table = (
    Row("stage{s}/block{b}/shortcut_conv", "layer{s}.{b-1}.downsample.0", CONV),
    Row("stage{s}/block{b}/shortcut_bn", "layer{s}.{b-1}.downsample.1", NORM),
)
AVERAGED_SHORTCUT: Table = (  # 0 is the pool
    Row("stage{s}/block{b}/shortcut_conv", "layer{s}.{b-1}.downsample.1", CONV),
    Row("stage{s}/block{b}/shortcut_bn", "layer{s}.{b-1}.downsample.2", NORM),
)

LEGACY: Table = (
    Row("stem/conv{i}", "layer0.conv{i}", CONV),
    Row("stem/bn{i}", "layer0.bn{i}", NORM),
    *BLOCKS,
    Row("stage{s}/block{b}/se/fc{i}", "layer{s}.{b-1}.se_module.fc{i}", DENSE_AS_CONV),
    *SHORTCUT,
    Row("head/fc", "last_linear", DENSE),
)

PLAIN_STEM: Table = (
    Row("stem/conv1", "conv1", CONV),
    Row("stem/bn1", "bn1", NORM),
)
DEEP_STEM: Table = (
    Row("stem/conv1", "conv1.0", CONV),
    Row("stem/bn1", "conv1.1", NORM),
    Row("stem/conv2", "conv1.3", CONV),
    Row("stem/bn2", "conv1.4", NORM),
    Row("stem/conv3", "conv1.6", CONV),
    Row("stem/bn3", "bn1", NORM),
    Row("stem/pool_conv", "maxpool.0", CONV),  # ResNet-RS
    Row("stem/pool_bn", "maxpool.1", NORM),
)
MODERN_ATTENTION: Table = (
    Row("stage{s}/block{b}/se/fc{i}", "layer{s}.{b-1}.se.fc{i}", DENSE_AS_CONV),
)
HEAD: Table = (Row("head/fc", "fc", DENSE),)


def is_legacy(model: nn.Module) -> bool:
    """Whether timm has the network in senet.py, under the names with `legacy_`."""
    return getattr(model, "stem", "").startswith("legacy")


def table(model: Any) -> Table:
    """The names that timm gives to a residual network's modules."""
    _check_options(model)
    if is_legacy(model):
        return LEGACY
    stem = PLAIN_STEM if len(STEMS[model.stem].widths) == 1 else DEEP_STEM
    shortcut = AVERAGED_SHORTCUT if model.shortcut == "average" else SHORTCUT
    return (*stem, *BLOCKS, *MODERN_ATTENTION, *shortcut, *HEAD)


def _check_options(model: Any) -> None:
    """Refuses options that change the function and not the names: the answers would be others."""
    legacy = is_legacy(model)
    expected: dict[str, Any] = {"antialias": STEMS[model.stem].pool == "average"}
    if model.attention is not None:
        expected["placement"] = "activated" if legacy and not model.bottleneck else "standard"
    if model.bottleneck:  # first in the Caffe release's SE-ResNets, not in its ResNeXts
        expected["stride_at"] = "1x1" if legacy and model.cardinality == 1 else "3x3"
    if STEMS[model.stem].strides == 1:
        expected["stem"] = "imagenet"
    strangers = strange_options(model, expected)
    refuse(strangers + strange_attention(model.attention, act="relu", gate="sigmoid"))


def arguments(model: Any) -> dict[str, dict[str, Any]]:
    """By option of ours, timm's arguments that say the same."""
    layers = list(model.stage_sizes)
    if is_legacy(model):
        return {"stage_sizes": {"layers": layers}} if len(layers) == 4 else {}
    channels = [model.width * 2**stage for stage in range(len(layers))]
    found: dict[str, dict[str, Any]] = {
        "stage_sizes": {"layers": layers, "channels": channels},
        "cardinality": {"cardinality": model.cardinality},
        "base_width": {"base_width": model.base_width},
    }
    stem = STEMS[model.stem]
    if len(stem.widths) > 1:  # timm's 7x7 stem has always 64 channels
        stem_width = int(model.width * stem.widths[1])
        found["width"] = {"channels": channels, "stem_width": stem_width}
    return found


def hint(state_dict: Mapping[str, Any], model: nn.Module) -> str:
    """What to do about weights that do not fit, where their names tell it."""
    if any(".se.fc.0." in name for name in state_dict):
        return "They have the names of moskomule/senet.pytorch: use from_moskomule."
    if "last_linear.weight" in state_dict and not is_legacy(model):
        return "They have the names of timm's older networks: create_model('legacy_...')."
    if "fc.weight" in state_dict and is_legacy(model):
        return "They have the names of timm's modern networks: leave 'legacy_' out of the name."
    return ""
