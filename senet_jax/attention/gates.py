"""The attention weights of a whole model."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util


def attention_weights(
    model: nn.Module, variables: Mapping[str, Any], images: jax.Array
) -> dict[str, jax.Array]:
    """The gates of every attention block, as the model computes them at inference.

    Blocks hand their gates out only when asked, so a model that isn't looked at pays nothing.

    Args:
      model: a model of the zoo, or any Linen module with `SEBlock`s that takes `(images,
        train=False)`.
      variables: its variables, as `model.init` made them or `load` read them.
      images: `[N, H, W, C]`, prepared as for `model.apply`.

    Returns:
      Gates `[N, C]`, float32, by the block's path (`"stage1/block1/se"`) in the order of the
      network; attention that differs by position has maps, `[N, H, W, 1]` and the like, and what
      has several kinds of gates a path for each. Empty for a plain network. Compiled once per
      model and image shape, and usable inside `jit`.
    """
    sown = _sown(model, {k: variables[k] for k in variables if k != "intermediates"}, images)
    return sown_gates(sown)


def sown_gates(intermediates: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The gates in the collection "intermediates" of a call of `model.apply` that was asked for it,
    by path and in the order of `attention_weights`.
    """
    gates = traverse_util.flatten_dict(intermediates, sep="/")
    return {
        _place(path): values[0]
        for path, values in sorted(gates.items(), key=lambda item: network_order(item[0]))
        if path.endswith(("/gates", "_gates"))
    }


def _place(path: str) -> str:
    """se/gates -> se, and se/spatial_gates -> se/spatial."""
    block, name = path.rsplit("/", 1)
    return block if name == "gates" else f"{block}/{name.removesuffix('_gates')}"


@partial(jax.jit, static_argnums=0)
def _sown(model, variables, images):
    return model.apply(variables, images, train=False, mutable=["intermediates"])[1].get(
        "intermediates", {}
    )


def network_order(path: str) -> tuple:
    """A key to sort paths by: the stem first, and stage1/block2 before stage1/block10."""
    parts = [
        (part.rstrip("0123456789"), int("0" + part[len(part.rstrip("0123456789")) :]))
        for part in path.split("/")
    ]
    return parts[0][0] != "stem", parts
