"""timm's state dicts, and back; the names are in one file per family."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from senet_jax.convert import (
    timm_cspdarknet,
    timm_inception,
    timm_mobile,
    timm_regnet,
    timm_resnet,
    timm_vgg,
)
from senet_jax.convert.tables import (
    ConversionError,
    Table,
    Variables,
    describe,
    module_there,
    read,
    tensors_of,
    write,
)
from senet_jax.models.cspdarknet import CSPDarknet
from senet_jax.models.inception import Inception
from senet_jax.models.mobile import MobileNet
from senet_jax.models.regnet import RegNet
from senet_jax.models.resnet import ResNet, SEResNet
from senet_jax.models.vgg import VGG


class Family(NamedTuple):
    """What is known of timm's networks of one class.

    Attributes:
      table: the names of a network's modules.
      hint: what to do about weights that do not fit, where it can be told.
      arguments: by option of ours, timm's arguments that say the same, see `timm_folder`.
      is_torchvision: whether weights have other names, torchvision's, by these names.
      torchvision: those names.
      dropped: beginnings of names of tensors that no network here has a place for.
    """

    table: Callable[[Any], Table]
    hint: Callable[[Mapping[str, Any], Any], str] = lambda state_dict, model: ""
    arguments: Callable[[Any], dict[str, dict[str, Any]]] = lambda model: {}
    is_torchvision: Callable[[Iterable[str]], bool] = lambda names: False
    torchvision: Callable[[Any], Table] | None = None
    dropped: tuple[str, ...] = ()


RESIDUAL = Family(timm_resnet.table, timm_resnet.hint, timm_resnet.arguments)
FAMILIES: dict[type, Family] = {
    ResNet: RESIDUAL,
    SEResNet: RESIDUAL,
    MobileNet: Family(timm_mobile.table, timm_mobile.hint),
    RegNet: Family(
        timm_regnet.table,
        is_torchvision=timm_regnet.is_torchvision,
        torchvision=timm_regnet.torchvision_table,
    ),
    CSPDarknet: Family(timm_cspdarknet.table),
    VGG: Family(
        timm_vgg.table,
        is_torchvision=timm_vgg.is_torchvision,
        torchvision=timm_vgg.torchvision_table,
    ),
    Inception: Family(timm_inception.table, dropped=timm_inception.DROPPED),
}


def family_of(model: nn.Module) -> Family:
    """What is known of timm's networks like this one.

    Raises:
      ConversionError: timm has none.
    """
    if type(model) not in FAMILIES:
        raise ConversionError(
            f"timm has no networks like {type(model).__name__}, so there are no names to convert:"
            f" expected {', '.join(kind.__name__ for kind in FAMILIES)}."
        )
    return FAMILIES[type(model)]


def table_of(model: nn.Module) -> Table:
    """The names that timm gives to a network's modules.

    Raises:
      ConversionError: timm has no such network.
    """
    return family_of(model).table(model)


def from_timm(state_dict: Mapping[str, Any], model: nn.Module) -> Variables:
    """Variables of a model from timm's state dict of the same network.

    Args:
      state_dict: arrays by timm's names, as `read_weights` returns them (or a torch module's own
        `state_dict()` on the CPU, in float32): in the layout of `legacy_` networks for these, else
        in the modern one. torchvision's names of RegNets and VGGs will do, too. Every tensor is
        used exactly once; only `num_batches_tracked` and Inception-v3's auxiliary classifier are
        dropped, for which there is no place here.
      model: the network, `create_model("seresnet50")`; its number of classes and its images'
        channels are those of the weights.

    Returns:
      `{"params": ..., "batch_stats": ...}`, of the model's `param_dtype`.

    Raises:
      ConversionError: names every tensor that is missing, left over, or has a wrong shape.
    """
    family = family_of(model)
    table = family.table(model)
    if family.torchvision is not None and family.is_torchvision(state_dict):
        table = family.torchvision(model)
    kept = {k: v for k, v in state_dict.items() if not k.startswith(family.dropped)}
    tensors = tensors_of(model, table, image_channels(kept, table))
    return read(kept, tensors, describe(model), family.hint(kept, model))


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
