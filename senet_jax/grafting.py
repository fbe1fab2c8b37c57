"""Attention for a network that was trained without.

    model, variables = senet_jax.load("resnet50")
    with_se = model.clone(attention=SEBlock(identity_start=True))
    variables = senet_jax.graft(variables, with_se, jax.random.key(0), images)

With `identity_start` every gate is exactly 1 at first, so the new network computes what the old one
did; training then moves the gates.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util


def graft(
    plain_variables: Mapping[str, Any], model: nn.Module, key: jax.Array, images: jax.Array
) -> dict[str, Any]:
    """Variables for a model from those of the same network without its attention.

    Every array of the plain network is taken as it is; only what it has not is newly initialised.

    Args:
      plain_variables: `{"params": ..., "batch_stats": ...}` of the plain network.
      model: the network with attention: of the zoo, or any Linen module. With
        `SEBlock(identity_start=True)` its logits are those of the plain network until it is
        trained; blocks of other kinds change them at once.
      key: for the attention.
      images: float `[N, H, W, C]`; only their shape counts.

    Returns:
      Variables for `model.apply`. Arrays of the plain network are shared, not copied: do not donate
      these while the others are in use.

    Raises:
      ValueError: the model does not have all of the plain network's arrays, in their shapes; names
        them.
    """
    plain = traverse_util.flatten_dict(dict(plain_variables))
    shapes = jax.eval_shape(model.init, key, images)
    wanted = traverse_util.flatten_dict({k: v for k, v in shapes.items() if k != "intermediates"})
    faults = [
        f"{'/'.join(path)} {plain[path].shape}"
        for path in plain
        if path not in wanted or wanted[path].shape != plain[path].shape
    ]
    if faults:
        raise ValueError(
            f"The model has no place for {', '.join(faults[:10])}: expected the plain network's own"
            " layers under their names, and attention beside them."
        )
    new = [path for path in wanted if path not in plain]

    @jax.jit
    def init(key):
        fresh = traverse_util.flatten_dict(model.init(key, images))
        return [fresh[path] for path in new]

    return traverse_util.unflatten_dict(plain | dict(zip(new, init(key), strict=True)))
