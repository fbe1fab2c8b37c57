"""How a pruned network says what is left of it: fields of the model, which `create_model` takes as
options and checkpoints and exports carry along.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from senet_jax.models.single_blocks import USUAL
from senet_jax.models.spec import any_images
from senet_jax.pruning.layers import channels_of, cuttable_layers, layers_of

CHANNELS = ("inner_widths", "kept_outputs", "middle_widths")


def cut_options(model: nn.Module) -> dict[str, Any]:
    """The options of `create_model` by which a cut or un-grafted network differs from the usual
    one; numbers, names and tuples of these, so JSON can hold them.
    """
    return {
        field: getattr(model, field)
        for field, usual in USUAL.items()
        if getattr(model, field, usual) != usual
    }


def narrowed(
    model: Any, plan: Mapping[str, Sequence[int]], channels: Mapping[str, int]
) -> nn.Module:
    """The model with just the channels of a plan.

    Args:
      model: a `ResNet` or `MobileNet`.
      plan: kept channels by block.
      channels: that these blocks have now.
    """
    layers = layers_of(model)
    changed: dict[str, list[list[Any]]] = {}
    for block, kept in plan.items():
        if len(kept) == channels[block]:
            continue
        field = layers[block].field
        stage, number = (int(re.sub(r"\D", "", part)) - 1 for part in block.split("/"))
        if field not in changed:
            changed[field] = _entries(model, field)
        before = changed[field][stage][number]
        if field != "kept_outputs":
            entry: Any = len(kept)
        elif before is None:
            entry = tuple(int(c) for c in kept)
        else:
            entry = tuple(before[c] for c in kept)
        changed[field][stage][number] = entry
    return model.clone(**{field: tuple(map(tuple, stages)) for field, stages in changed.items()})


def kept_channels(model: Any) -> dict[str, tuple[int, int]]:
    """By block, how many channels it has where it can be cut, and how many it had uncut.

    Raises:
      ValueError: no channel of the network can be cut.
    """
    uncut = model.clone(**{field: None for field in CHANNELS if hasattr(model, field)})
    now, before = (jax.eval_shape(m.init, jax.random.key(0), any_images()) for m in (model, uncut))
    return {
        block: (channels_of(now, block, layer), channels_of(before, block, layer))
        for block, layer in cuttable_layers(model).items()
    }


def _entries(model: Any, field: str) -> list[list[Any]]:
    """A field's value by stage and block, as lists."""
    value = getattr(model, field)
    if value is not None:
        return [list(stage) for stage in value]
    return [[None] * len(stage) for stage in model.single_blocks()]
