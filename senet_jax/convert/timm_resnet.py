"""timm's names for residual networks, modern (resnet.py, sknet.py, resnest.py) and legacy
(senet.py).

The modern names of networks without a deep stem are also torchvision's.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from senet_jax.convert.tables import (
    BIASED_CONV,
    CONV,
    DENSE,
    DENSE_AS_CONV,
    NORM,
    Axes,
    Row,
    Table,
    refuse,
    strange_attention,
    strange_options,
)
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.excitations import AcrossChannels
from senet_jax.layers.selective_kernel import SelectiveKernel
from senet_jax.layers.split_attention import SplitAttention
from senet_jax.layers.squeezes import Pool
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

ONE_1K = Axes(lambda k: k.T[None], lambda w: w[0].T)  # ours is [k, 1]
ECA: Table = (
    Row(
        "stage{s}/block{b}/se/excite",
        "layer{s}.{b-1}.se.conv",
        {("params", "kernel"): ("weight", ONE_1K)},
    ),
)

# timm's sknet.py: every convolution is one module with its norm
SELECTIVE_BLOCKS: Table = (
    Row("stage{s}/block{b}/conv{i}", "layer{s}.{b-1}.conv{i}.conv", CONV),
    Row("stage{s}/block{b}/bn{i}", "layer{s}.{b-1}.conv{i}.bn", NORM),
    Row("stage{s}/block{b}/conv{i}/conv{k}", "layer{s}.{b-1}.conv{i}.paths.{k-1}.conv", CONV),
    Row("stage{s}/block{b}/conv{i}/bn{k}", "layer{s}.{b-1}.conv{i}.paths.{k-1}.bn", NORM),
    Row("stage{s}/block{b}/conv{i}/fc1", "layer{s}.{b-1}.conv{i}.attn.fc_reduce", DENSE_AS_CONV),
    Row("stage{s}/block{b}/conv{i}/bn", "layer{s}.{b-1}.conv{i}.attn.bn", NORM),
    Row("stage{s}/block{b}/conv{i}/fc2", "layer{s}.{b-1}.conv{i}.attn.fc_select", DENSE_AS_CONV),
)
SPLIT_BLOCKS: Table = (
    *BLOCKS,
    Row("stage{s}/block{b}/conv2/conv1", "layer{s}.{b-1}.conv2.conv", CONV),
    Row("stage{s}/block{b}/conv2/bn1", "layer{s}.{b-1}.conv2.bn0", NORM),
    Row("stage{s}/block{b}/conv2/fc{i}", "layer{s}.{b-1}.conv2.fc{i}", BIASED_CONV),
    Row("stage{s}/block{b}/conv2/bn", "layer{s}.{b-1}.conv2.bn1", NORM),
)
BLOCKS_WITH: dict[type, Table] = {SelectiveKernel: SELECTIVE_BLOCKS, SplitAttention: SPLIT_BLOCKS}

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
    blocks = BLOCKS_WITH.get(type(model.inner), BLOCKS)
    attention = ECA if isinstance(model.attention, ChannelAttention) else MODERN_ATTENTION
    return (*stem, *blocks, *attention, *shortcut, *HEAD)


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
    if isinstance(model.attention, ChannelAttention) and not legacy:
        strangers += _strange_eca(model.attention)
    else:
        strangers += strange_attention(model.attention, act="relu", gate="sigmoid")
    refuse(strangers + _strange_inner(model))


def _strange_eca(attention: ChannelAttention) -> list[str]:
    """What is not as in timm's ECA; kernel sizes show in the shapes."""
    if not isinstance(attention.excite, AcrossChannels):
        return ["this attention"]
    expected = dict(squeeze=Pool(), gate="sigmoid", combine="multiply", shift=None)
    return strange_options(attention, expected) + strange_options(
        attention.excite, dict(circular=False)
    )


def _strange_inner(model: Any) -> list[str]:
    """What timm's sknet.py and resnest.py do not have in place of a 3x3 convolution."""
    inner = model.inner
    if inner is None:
        return []
    if type(inner) not in BLOCKS_WITH or is_legacy(model):
        return ["this inner"]
    strangers = strange_options(model, dict(antialias=False))
    if isinstance(inner, SelectiveKernel):
        return strangers + strange_options(inner, dict(kernel_sizes=(3, 5), keep_3x3=True))
    if inner.pool == "before":  # same names as "after", and timm's networks have one or the other
        return strangers
    return strangers + strange_options(inner, dict(pool="after"))


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
