"""timm's state dicts, modern (resnet.py) and legacy (senet.py), and back.

The modern names of networks without a deep stem are also torchvision's.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from senet_jax.convert.tables import (
    CONV,
    DENSE,
    DENSE_AS_CONV,
    NORM,
    ConversionError,
    Row,
    Table,
    Variables,
    describe,
    module_there,
    read,
    tensors_of,
    write,
)
from senet_jax.layers import SEBlock
from senet_jax.models.resnet import ResNet, SEResNet
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


def _resnet(model: Any) -> Table:
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
    if model.bottleneck:
        first = (
            legacy and model.cardinality == 1
        )  # the Caffe release's SE-ResNets, not its ResNeXts
        expected["stride_at"] = "1x1" if first else "3x3"
    strangers = [
        f"{option}={getattr(model, option)!r}"
        for option, value in expected.items()
        if getattr(model, option) != value
    ]
    if model.attention is not None and not isinstance(model.attention, SEBlock):
        strangers.append("this attention")
    elif getattr(model.attention, "identity_start", False):
        strangers.append("SEBlock(identity_start=True)")
    if STEMS[model.stem].strides == 1:
        strangers.append(f"stem={model.stem!r}")
    if strangers:
        raise ConversionError(
            f"timm has no such network with {', '.join(strangers)}: expected one that it has, as"
            " create_model makes it by timm's name."
        )


TABLES: dict[type, Callable[[Any], Table]] = {ResNet: _resnet, SEResNet: _resnet}


def table_of(model: nn.Module) -> Table:
    """The names that timm gives to a network's modules.

    Raises:
      ConversionError: timm has no such network.
    """
    if type(model) not in TABLES:
        raise ConversionError(
            f"timm has no networks like {type(model).__name__}, so there are no names to convert:"
            f" expected {', '.join(kind.__name__ for kind in TABLES)}."
        )
    return TABLES[type(model)](model)


def from_timm(state_dict: Mapping[str, Any], model: nn.Module) -> Variables:
    """Variables of a model from timm's state dict of the same network.

    Args:
      state_dict: arrays by timm's names, as `read_weights` returns them (or a torch module's own
        `state_dict()` on the CPU, in float32): in the layout of `legacy_` networks for these, else
        in the modern one. Every tensor is used exactly once; only `num_batches_tracked` is dropped,
        for which there is no place here.
      model: the network, `create_model("seresnet50")`; its number of classes and its images'
        channels are those of the weights.

    Returns:
      `{"params": ..., "batch_stats": ...}`, of the model's `param_dtype`.

    Raises:
      ConversionError: names every tensor that is missing, left over, or has a wrong shape.
    """
    table = table_of(model)
    tensors = tensors_of(model, table, image_channels(state_dict, table))
    return read(state_dict, tensors, describe(model), _hint(state_dict, model))


def to_timm(variables: Mapping[str, Any], model: nn.Module) -> dict[str, np.ndarray]:
    """timm's state dict of a model's variables: the inverse of `from_timm`, exact to the bit.

    Args:
      variables: `{"params": ..., "batch_stats": ...}` of the model.
      model: the network that they belong to.

    Returns:
      Contiguous arrays by timm's names, of the variables' dtypes. `num_batches_tracked`, which
      torch wants beside running statistics and uses for none of these networks, is int64 0
      everywhere.

    Raises:
      ConversionError: the variables are not the model's, or timm has no such network.
    """
    kernel = variables.get("params", {}).get("stem", {}).get("conv1", {}).get("kernel")
    channels = 3 if kernel is None else np.shape(kernel)[2]
    return write(variables, tensors_of(model, table_of(model), channels), describe(model))


def image_channels(state_dict: Mapping[str, Any], table: Table) -> int:
    """Channels of the images that the first convolution takes; 3 if it is missing or no kernel."""
    first, _ = module_there("stem/conv1", table)
    shape = np.shape(state_dict.get(f"{first}.weight", ()))
    return shape[1] if len(shape) == 4 else 3


def _hint(state_dict: Mapping[str, Any], model: nn.Module) -> str:
    if any(".se.fc.0." in name for name in state_dict):
        return "They have the names of moskomule/senet.pytorch: use from_moskomule."
    if "last_linear.weight" in state_dict and not is_legacy(model):
        return "They have the names of timm's older networks: create_model('legacy_...')."
    if "fc.weight" in state_dict and is_legacy(model):
        return "They have the names of timm's modern networks: leave 'legacy_' out of the name."
    return ""
