"""The feature maps that a block's gates multiply."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from senet_jax import fused
from senet_jax.attention.changed import METHODS, changeable_blocks


def gated_features(
    model: nn.Module, variables: Mapping[str, Any], images: jax.Array, block: str
) -> jax.Array:
    """What a block's attention is given, before its gates multiply it: `[N, h, w, C]`, float32.

    Args:
      model, variables, images: as for `attention_weights`.
      block: its path there, of a block that `changed_gates` knows.

    Raises:
      ValueError: there is no such block.
    """
    known = changeable_blocks(model, variables, images)
    if block not in known:
        raise ValueError(f"There is no block {block!r}: expected one of {', '.join(known)}.")
    return _maps(model, block, variables, images)


@partial(jax.jit, static_argnums=(0, 1))
def _maps(model, block, variables, images):
    seen = {}

    def look(call, args, kwargs, context):
        is_attention = type(context.module) in METHODS and context.method_name == "__call__"
        if is_attention and "/".join(context.module.path) == block:
            seen["u"] = fused.finish(args[0], act=None).astype(jnp.float32)
        return call(*args, **kwargs)

    with nn.intercept_methods(look):
        model.apply(variables, images, train=False)
    return seen["u"]
