"""Squeeze-and-excitation for Flax NNX: a native block, and the zoo's models as NNX modules.

    block = SEBlock(64, rngs=nnx.Rngs(0))             # in your own NNX network
    model = from_linen(*senet_jax.load("seresnet50"))  # a model of the zoo, with its weights

Both take channels last, as all of Flax does.
"""

from collections.abc import Mapping
from typing import Any

import flax
import flax.linen
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from senet_jax import functional
from senet_jax.layers import reduced_channels

if tuple(int(part) for part in flax.__version__.split(".")[:3] if part.isdigit()) < (0, 10, 2):
    raise ImportError(
        f"senet_jax.nnx needs flax 0.10.2 or newer, and this is {flax.__version__}:"
        " pip install -U flax."
    )
from flax import nnx


class SEBlock(nnx.Module):
    """Squeeze-and-excitation (arXiv 1709.01507, section 3): `[N, *spatial, C]` -> the same shape
    and dtype.

    Variables are those of the Linen `senet_jax.SEBlock`, under the same names: `fc1/{kernel, bias}`
    and `fc2/{kernel, bias}`, kernels `[C, h]` and `[h, C]`.

    Args:
      channels: C.
      reduction: the ratio r between C and the bottleneck's width h.
      divisor: how h is rounded, see `senet_jax.layers.reduced_channels`.
      use_bias: of both layers.
      identity_start: as in the Linen block: gates `2 sigmoid(...)` that are all 1 at first.
      param_dtype: of the variables.
      rngs: for the kernels.

    Example:
      >>> from flax import nnx
      >>> SEBlock(64, rngs=nnx.Rngs(0))(jnp.ones((8, 7, 7, 64))).shape
      (8, 7, 7, 64)
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        divisor: int | None = None,
        use_bias: bool = True,
        identity_start: bool = False,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        hidden = reduced_channels(channels, reduction, divisor)
        options: dict[str, Any] = dict(use_bias=use_bias, param_dtype=param_dtype, rngs=rngs)
        self.fc1 = nnx.Linear(channels, hidden, **options)
        if identity_start:
            options["kernel_init"] = nnx.initializers.zeros_init()
        self.fc2 = nnx.Linear(hidden, channels, **options)
        self.use_bias = use_bias
        self.identity_start = identity_start
        self.watched = False

    def gates(self, z: jax.Array) -> jax.Array:
        """The gates of squeezed features: `[..., C]` -> `[..., C]`, float32, in (0, 1), or (0, 2)
        with `identity_start`.
        """
        names = ("kernel", "bias") if self.use_bias else ("kernel",)
        params = {
            layer: {name: getattr(getattr(self, layer), name)[...] for name in names}
            for layer in ("fc1", "fc2")
        }
        s = functional.excite(z, params)
        return 2 * s if self.identity_start else s

    def __call__(self, u: jax.Array) -> jax.Array:
        if u.ndim < 3:
            raise ValueError(
                f"features have shape {u.shape}, expected [N, *spatial, C], for example [N, H, W,"
                " C]: for features that are pooled already call the block's method gates."
            )
        spatial_rank = u.ndim - 2
        s = self.gates(functional.squeeze(u, spatial_rank=spatial_rank))
        if self.watched:
            self.seen = nnx.Intermediate(s)
        return functional.scale(u, s, spatial_rank=spatial_rank)


def attention_weights(module: nnx.Module, *args: Any, **kwargs: Any) -> dict[str, jax.Array]:
    """The gates of every `SEBlock` in an NNX module, as it computes them for `module(*args)`.

    The module itself is left as it is, and computes nothing more than before.

    Returns:
      Gates `[N, C]`, float32, by the block's path ("stage1/se"). Of a block that is called several
      times, those of its last call. (For a model of the zoo that `from_linen` made, use
      `senet_jax.attention_weights(module.model, module.variables(), images)`.)
    """
    copy = nnx.clone(module)
    blocks = {
        "/".join(map(str, path)): part
        for path, part in nnx.iter_graph(copy)
        if isinstance(part, SEBlock)
    }
    for block in blocks.values():
        block.watched = True
    copy(*args, **kwargs)
    return {path: block.seen[...] for path, block in blocks.items() if hasattr(block, "seen")}


class LinenModel(nnx.Module):
    """A Linen model as an NNX module: see `from_linen`."""

    def __init__(
        self, model: flax.linen.Module, variables: Mapping[str, Any], rngs: nnx.Rngs | None
    ):
        self.model = model
        self.rngs = rngs
        self.use_running_average = True
        self.params = Tree(variables["params"], nnx.Param)
        self.batch_stats = Tree(variables.get("batch_stats", {}), nnx.BatchStat)

    def __call__(self, images: jax.Array) -> jax.Array:
        if self.use_running_average:
            return self.model.apply(self.variables(), images, train=False)  # type: ignore[return-value]
        # Linen takes the key of "params" for every stream that isn't given, such as "dropout"
        rngs = None if self.rngs is None else {"params": self.rngs.params()}
        logits, updates = self.model.apply(
            self.variables(), images, train=True, rngs=rngs, mutable=["batch_stats"]
        )
        self.batch_stats.set(updates.get("batch_stats", {}))
        return logits

    def variables(self) -> dict[str, Any]:
        """`{"params", "batch_stats"}` as Linen has them, for `model.apply`, saving or export."""
        return {"params": self.params.get(), "batch_stats": self.batch_stats.get()}


def from_linen(
    model: flax.linen.Module, variables: Mapping[str, Any], *, rngs: nnx.Rngs | None = None
) -> LinenModel:
    """A model of the zoo as an NNX module, with its weights.

    As `flax.nnx.bridge.ToNNX`, but `module.train()` and `module.eval()` (as at first) say whether
    batch norm uses and updates its statistics, alone or inside another module, and it works from
    flax 0.10.2 on.

    Args:
      model: `senet_jax.create_model(...)`, or any Linen module that takes `(images, train=...)`
        and has no other collections.
      variables: of the model, from `model.init` or `senet_jax.load`.
      rngs: for dropout and the like in training; networks without need none.

    Returns:
      A module that maps images `[N, H, W, C]` to logits. Its state is `params/...` (`nnx.Param`)
      and `batch_stats/...` (`nnx.BatchStat`) under the model's own names.
    """
    return LinenModel(model, variables, rngs)


class Tree(nnx.Module):
    """Nested dictionaries of arrays as NNX variables of one kind, by attribute."""

    def __init__(self, arrays: Mapping[str, Any], kind: type[nnx.Variable]):
        self.names = tuple(arrays)
        for name, value in arrays.items():
            nested = isinstance(value, Mapping)
            setattr(self, name, Tree(value, kind) if nested else kind(jnp.asarray(value)))

    def get(self) -> dict[str, Any]:
        """The arrays."""
        parts = {name: getattr(self, name) for name in self.names}
        return {
            name: part.get() if isinstance(part, Tree) else part[...]
            for name, part in parts.items()
        }

    def set(self, arrays: Mapping[str, Any]) -> None:
        """Other arrays in their place."""
        for name, value in arrays.items():
            part = getattr(self, name)
            if isinstance(part, Tree):
                part.set(value)
            elif hasattr(nnx.Variable, "set_value"):
                part.set_value(value)
            else:  # before flax 0.12
                part.value = value
