"""How a block gets its attention."""

import dataclasses
from typing import Any, TypeVar

import flax.linen as nn

from senet_jax.fused import Features
from senet_jax.layers.norm import BatchNorm
from senet_jax.layers.se import SEBlock, reduced_channels

F = TypeVar("F", bound=Features)

# what a model decides for all norms in it; epsilon and momentum are each norm's own
OF_THE_MODEL = ("use_running_average", "groups", "axis_name", "folded", "fused")


def attach(
    attention: nn.Module | None,
    block: nn.Module,
    u: F,
    inputs: int,
    name: str = "se",
    uncut: int | None = None,
) -> F:
    """A block's attention, made anew from its template and applied to features.

    Args:
      attention: an unbound module; None: the features stay as they are.
      block: the module that is to hold it, inside its compact method.
      u: features, an array or deferred.
      inputs: channels that enter the block, for `SEBlock(of_input=True)`.
      name: of the module in the block.
      uncut: channels that the features had before some were cut away: an `SEBlock` keeps the hidden
        width that it has for these. None: none were cut.

    Raises:
      TypeError: the attention is no module.

    Norms inside the attention use batch statistics where the block's own norms do.
    """
    if attention is None:
        return u
    if not isinstance(attention, nn.Module):
        raise TypeError(
            f"attention={attention!r}, expected None or an unbound module: SEBlock(), with"
            " brackets."
        )
    if isinstance(attention, SEBlock):
        attention = attention.clone(hidden=_hidden(attention, inputs, uncut))
    bound = getattr(block, "norm", None)  # partial(BatchNorm, use_running_average=..., ...)
    options = getattr(bound, "keywords", {})  # a template has none bound
    told = {k: v for k, v in options.items() if k in OF_THE_MODEL}
    return with_norms(attention, told).clone(name=name, parent=block)(u)


def _hidden(block: SEBlock, inputs: int, uncut: int | None) -> int | None:
    if block.of_input:
        return reduced_channels(inputs, block.reduction, block.divisor, block.limit)
    if block.hidden is None and uncut is not None:
        return reduced_channels(uncut, block.reduction, block.divisor, block.limit)
    return block.hidden


def with_norms(module: Any, options: dict[str, Any]) -> Any:
    """An unbound module whose `BatchNorm` templates, its own and its parts', have other options."""
    changed = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        if isinstance(value, BatchNorm):
            changed[field.name] = value.clone(**options)
        elif isinstance(value, nn.Module) and field.name != "parent":
            part = with_norms(value, options)
            if part is not value:
                changed[field.name] = part
    return module.clone(**changed) if changed else module
