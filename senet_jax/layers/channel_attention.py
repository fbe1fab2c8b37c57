"""Channel attention as a product of three choices."""

import flax.linen as nn
import jax

from senet_jax import fused
from senet_jax.fused import AffineMap, Features
from senet_jax.layers.activations import gate
from senet_jax.layers.excitations import Bottleneck
from senet_jax.layers.parts import own
from senet_jax.layers.squeezes import Pool

__all__ = ["ChannelAttention"]

COMBINES = ("multiply", "add")


class ChannelAttention(nn.Module):
    """`u * gate(excite(squeeze(u)))`, shape and dtype as the input's, `[N, *spatial, C]`.

    With the defaults it is the SE block. Given a batch norm's deferred map it returns one; a
    squeeze by the mean then costs no pass over memory. Published ones have names, see
    `senet_jax.layers.named`.

    Variables: `squeeze`, `excite` and `shift`, each those of the module of that field.

    Attributes:
      squeeze: an unbound module `[N, *spatial, C]` -> statistics `[N, S, C]`, see
        `senet_jax.layers.squeezes`, `learned_squeezes` and `frequencies`.
      excite: an unbound module `[N, S, C]` -> `[N, C]`, see `senet_jax.layers.excitations` and
        `relative_excitations`.
      gate: the last function, a name from `senet_jax.layers.activations`.
      combine: "multiply", or "add" what comes out of the gate to every position (global context).
      shift: a second excitation of the same statistics, whose answer is added to every position
        after that, without a gate: global context with both of its fusions.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from senet_jax.layers.excitations import AcrossChannels
      >>> u = jnp.ones((8, 7, 7, 64))
      >>> eca = ChannelAttention(Pool(), AcrossChannels())
      >>> v, variables = eca.init_with_output(jax.random.key(0), u)
      >>> jax.tree.map(jnp.shape, variables)
      {'params': {'excite': {'kernel': (3, 1)}}}

    Raises:
      ValueError: squeeze and excitation do not fit together; says what they give.
    """

    squeeze: nn.Module = Pool()
    excite: nn.Module = Bottleneck()
    gate: str = "sigmoid"
    combine: str = "multiply"
    shift: nn.Module | None = None

    @nn.compact
    def gates_and_shift(self, u: Features) -> tuple[jax.Array, jax.Array | None]:
        """`[N, *spatial, C]` -> the gates and what is added, each `[N, C]`, float32."""
        features = u.x if isinstance(u, AffineMap) else u
        if features.ndim < 3:
            raise ValueError(
                f"features have shape {features.shape}, expected [N, *spatial, C], for example"
                " [N, H, W, C]."
            )
        n, channels = features.shape[0], features.shape[-1]
        z = own(self, "squeeze")(u)
        if z.ndim != 3 or (z.shape[0], z.shape[2]) != (n, channels):
            raise ValueError(
                f"{type(self.squeeze).__name__} gives statistics of shape {z.shape}, expected"
                f" [N, S, C] = ({n}, S, {channels}): choose one of senet_jax.layers.squeezes."
            )
        s = gate(self.gate)(self._answers("excite", z))
        self.sow("intermediates", "gates", s)
        return s, None if self.shift is None else self._answers("shift", z)

    def gates(self, u: Features) -> jax.Array:
        """`[N, *spatial, C]` -> `[N, C]`, float32."""
        return self.gates_and_shift(u)[0]

    def __call__(self, u: Features) -> Features:
        if self.combine not in COMBINES:
            raise ValueError(
                f"Unknown combine {self.combine!r}: expected {', '.join(map(repr, COMBINES))}."
            )
        s, t = self.gates_and_shift(u)
        v = fused.scale(u, s) if self.combine == "multiply" else fused.shift(u, s)
        return v if t is None else fused.shift(v, t)

    def _answers(self, field: str, z: jax.Array) -> jax.Array:
        answers = own(self, field)(z)
        expected = (z.shape[0], z.shape[2])
        if answers.shape != expected:
            raise ValueError(
                f"{type(getattr(self, field)).__name__} gives answers of shape {answers.shape},"
                f" expected [N, C] = {expected}: choose one of senet_jax.layers.excitations."
            )
        return answers
