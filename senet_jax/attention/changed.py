"""A network run with other gates than its own."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax

from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.se import SEBlock

Change = Callable[[str, jax.Array], jax.Array]


def changed_gates(
    model: nn.Module, variables: Mapping[str, Any], images: jax.Array, change: Change
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The output of a network whose gates are changed on their way, at inference.

    Usable inside `jit` and `grad`; it is Python that runs once for each block while it is traced.

    Args:
      model, variables, images: as for `attention_weights`.
      change: called with a block's path and its gates `[N, C]`; returns what the block is to take
        for them. Blocks come in the order in which they run, so a change in one is felt by those
        after it.

    Returns:
      What the model returns, and by path each block's own gates, before the change. Only
      `SEBlock`s and `ChannelAttention`s take part: gates that differ by position stay as they are.
    """
    seen: dict[str, jax.Array] = {}

    def look(call, args, kwargs, context):
        answer = call(*args, **kwargs)
        method = METHODS.get(type(context.module))
        if method is None or context.method_name != method:
            return answer
        path = "/".join(context.module.path)
        gates, *shift = answer if isinstance(answer, tuple) else (answer,)
        seen[path] = gates
        gates = change(path, gates)
        return (gates, *shift) if shift else gates

    with nn.intercept_methods(look):
        output: Any = model.apply(variables, images, train=False)
    return output, seen


# the one method of each that every way to its gates leads through
METHODS: dict[type, str] = {SEBlock: "gates", ChannelAttention: "gates_and_shift"}


def changeable_blocks(
    model: nn.Module, variables: Mapping[str, Any], images: Any
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the gates that `changed_gates` can change, by path; nothing is computed.

    Raises:
      ValueError: there are none.
    """

    def own(variables, images):
        return changed_gates(model, variables, images, lambda path, gates: gates)[1]

    blocks = jax.eval_shape(own, variables, images)
    if not blocks:
        raise ValueError(
            f"This {type(model).__name__} has no gates that can be changed: expected blocks of"
            " SEBlock or ChannelAttention."
        )
    return blocks


def count_classes(model: nn.Module, variables: Mapping[str, Any], images: Any) -> int:
    """How many logits the model returns for an image; nothing is computed.

    Raises:
      ValueError: it returns no logits.
    """
    known: int | None = getattr(model, "num_classes", None)
    if known is None:  # a module that is not of the zoo
        logits: Any = jax.eval_shape(partial(model.apply, train=False), variables, images)
        known = logits.shape[-1] if len(getattr(logits, "shape", ())) == 2 else 0
    if not known:
        raise ValueError(
            f"This {type(model).__name__} has no classifier: expected logits [N, classes], as of a"
            " model of create_model with num_classes of 1 or more."
        )
    return known
