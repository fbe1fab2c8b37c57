"""Networks for inference alone: batch norm folded into the convolutions.

model, variables = fold_batch_norm(model, variables)
logits = model.apply(variables, images, train=False)      # the same, with nothing left to norm
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util

from senet_jax.adapting import image_channels
from senet_jax.layers import BatchNorm, Conv
from senet_jax.models.spec import any_images

Path = tuple[str, ...]


def fold_batch_norm(
    model: nn.Module, variables: Mapping[str, Any], *, images: jax.Array | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """The network at inference, with one bias in place of each batch norm.

    With running mean m and variance v, `gamma * (w x - m) / sqrt(v + eps) + beta` is `(a w) x + b`
    with `a = gamma / sqrt(v + eps)`, `b = beta - a m`: a goes into the kernel of the convolution
    before, b stays in the norm's place. A norm without a convolution before it, as in
    pre-activation networks, keeps a as its `scale`. What a squeeze of a widening 1x1 convolution
    needs is still read off its smaller input (`senet_jax.product`).

    Args:
      model: of the zoo; or any Linen module that takes `(images, train=False)`, whose norms are
        made of its field `norm`, a `BatchNorm`.
      variables: its variables, which stay as they are.
      images: float `[N, H, W, C]`, of which only the shape counts, for networks that are not of
        the zoo or whose attention has weights for every position.

    Returns:
      The folded network and its variables, `{"params"}` alone, whose names are the model's. It
      refuses to train. Logits agree within rounding.

    Raises:
      ValueError: the model is folded already, or has norms outside its field `norm`.
    """
    norm = getattr(model, "norm", None)
    if not isinstance(norm, BatchNorm):
        raise ValueError(f"{type(model).__name__} has no field `norm` with a BatchNorm to fold.")
    if norm.folded:
        raise ValueError("This network's batch norms are folded already.")
    params = traverse_util.flatten_dict(dict(variables["params"]))
    stats = traverse_util.flatten_dict(dict(variables.get("batch_stats", {})))
    for path, (epsilon, conv) in _norms(model, variables, images).items():
        mean, var = (stats[(*path, name)] for name in ("mean", "var"))
        a = params.pop((*path, "scale")) * jax.lax.rsqrt(var + epsilon)
        params[(*path, "bias")] -= a * mean
        if conv is None:
            params[(*path, "scale")] = a
            continue
        params[(*conv, "kernel")] *= a[None, None, None]
        if (*conv, "bias") in params:
            params[(*conv, "bias")] *= a
    folded = model.clone(norm=norm.clone(folded=True))
    return folded, {"params": traverse_util.unflatten_dict(params)}


def _norms(
    model: nn.Module, variables: Mapping[str, Any], images: Any
) -> dict[Path, tuple[float, Path | None]]:
    """Every batch norm's epsilon, and the convolution whose output it alone gets, if it is one."""
    outputs: dict[int, tuple[Any, Path]] = {}  # holds the objects, so that no id is used again
    calls: list[tuple[Path, float, Path | None]] = []

    def watch(call, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(module, BatchNorm):
            conv = outputs.get(id(args[0]), (None, None))[1]
            calls.append((module.path, module.epsilon, conv))
        out = call(*args, **kwargs)
        if isinstance(module, Conv):
            outputs[id(out)] = (out, module.path)
        return out

    if images is None:
        images = any_images(_channels(variables))
    with nn.intercept_methods(watch):
        jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, images)
    norms, convs = Counter(path for path, _, _ in calls), Counter(conv for _, _, conv in calls)
    return {
        path: (epsilon, conv if norms[path] == convs[conv] == 1 else None)
        for path, epsilon, conv in calls
    }


def _channels(variables: Mapping[str, Any]) -> int:
    try:
        return image_channels(variables)
    except KeyError:
        raise ValueError(
            "This network's first convolution is not where the zoo's is: give images=..., of any"
            " values and of the shape that it takes."
        ) from None
