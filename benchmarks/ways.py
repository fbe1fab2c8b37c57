"""The ways of computing a block that benchmarks compare, on the same variables."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import flax.linen as nn

from senet_jax import create_model
from senet_jax.layers import conv

# what a model is told, `create_model(..., fused=...)`
WAYS: dict[str, bool | str] = {
    "usual": False,  # batch norm, attention and shortcut one pass after the other
    "norm": True,  # batch norm deferred into the block's tail; see `traced`
    "product": True,  # the widening 1x1 convolutions deferred, too
    "pallas": "pallas",  # the same, product and tail in a kernel of our own; GPUs alone
}
EVERYWHERE = ["usual", "norm", "product"]


def network(name: str, way: str, *, attention: bool = True, dtype: str = "bfloat16") -> nn.Module:
    """A model of the zoo; `attention=False` is the plain network.

    Raises:
      ValueError: there is no such model, or it is plain anyway.
    """
    model = create_model(name, fused=WAYS[way], dtype=dtype)
    if attention:
        return model
    if model.attention is None:
        raise ValueError(f"{name} has no attention to leave out: name its SE network.")
    return model.clone(attention=None)


@contextmanager
def traced(way: str) -> Iterator[None]:
    """Traces what is within this way, where the model alone does not: "norm"."""
    if way != "norm":
        yield
        return
    with mock.patch.object(conv, "defer", conv.pointwise):
        yield
