"""Networks for inference alone: batch norm folded into the convolutions.

model, variables = fold_batch_norm(model, variables)
logits = model.apply(variables, images, train=False)      # the same, with nothing left to norm
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util
from flax.errors import FlaxError
from jax.ad_checkpoint import checkpoint_name

from senet_jax.adapting import image_channels
from senet_jax.layers import BatchNorm, Conv
from senet_jax.models.spec import any_images

Path = tuple[str, ...]

NORM = "read by a batch norm"


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
    shape: Any = any_images(_channels(variables)) if images is None else images
    params = traverse_util.flatten_dict(dict(variables["params"]))
    stats = traverse_util.flatten_dict(dict(variables.get("batch_stats", {})))
    for path, (epsilon, conv) in _norms(model, variables, shape).items():
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
    lighter = {"params": traverse_util.unflatten_dict(params)}
    try:
        jax.eval_shape(partial(folded.apply, train=False), lighter, shape)
    except FlaxError as error:
        raise ValueError(
            f"{type(model).__name__} has norms that are not made of its field `norm`, and these"
            f" cannot be folded: {error}"
        ) from error
    return folded, lighter


def _norms(
    model: nn.Module, variables: Mapping[str, Any], images: Any
) -> dict[Path, tuple[float, Path | None]]:
    """Every batch norm's epsilon, and the convolution whose output it alone gets, if it is one."""
    outputs: dict[int, tuple[Any, Path]] = {}  # holds the objects, so that no id is used again
    calls: list[tuple[Path, float, Path | None]] = []
    convs: Counter[Path] = Counter()

    def watch(call, args, kwargs, context):
        module = context.module
        if context.method_name == "__call__" and isinstance(module, BatchNorm):
            conv = outputs.get(id(args[0]), (None, None))[1]
            calls.append((module.path, module.epsilon, conv))
            return call(_named(args[0], NORM), *args[1:], **kwargs)
        out = call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(module, Conv):
            convs[module.path] += 1
            out = _named(out, "/".join(module.path))
            outputs[id(out)] = (out, module.path)
        return out

    with nn.intercept_methods(watch):
        traced = jax.make_jaxpr(partial(model.apply, train=False))(variables, images)
    shared = _read_by_others(traced.jaxpr)
    norms = Counter(path for path, _, _ in calls)
    return {
        path: (epsilon, conv)
        if conv and norms[path] == convs[conv] == 1 and "/".join(conv) not in shared
        else (epsilon, None)
        for path, epsilon, conv in calls
    }


def _named(x: Any, name: str) -> Any:
    """x with a name in the traced program; a `Product` is handed to its norm alone anyway."""
    return checkpoint_name(x, name) if isinstance(x, jax.Array) else x


def _read_by_others(jaxpr: Any) -> set[str]:
    """Names of the convolutions whose outputs something else than one norm reads."""
    names, readers = {}, Counter[Any](jaxpr.outvars)
    for equation in jaxpr.eqns:
        name = equation.params.get("name") if equation.primitive.name == "name" else None
        for variable in equation.invars:
            if not hasattr(variable, "val"):  # no literal
                readers[variable] += 1 if name == NORM else 2
        if name not in (None, NORM):
            names[equation.outvars[0]] = name
    return {name for variable, name in names.items() if readers[variable] != 1}


def _channels(variables: Mapping[str, Any]) -> int:
    try:
        return image_channels(variables)
    except KeyError:
        raise ValueError(
            "This network's first convolution is not where the zoo's is: give images=..., of any"
            " values and of the shape that it takes."
        ) from None
