"""What is added to the loss so that channels become dispensable, see docs/pruning.md.

Of the gates, with m_b the mean over a block's channels of the mean gate over images and positions,
and m the mean of m_b over the blocks, so that neither width nor depth changes what a weight means:

    l1         m                          pulls at every gate, for ever
    hinge      max(0, m - rate)           until the mean gate has come down to the rate
    target     (m - rate)^2               to the rate, from either side
    relative   mean over blocks of sum_c g_c / (sqrt(C) |g|_2), g_c the mean gate of a channel: no
               factor common to a block changes it, at most 1, and least where few are open

each plus polarisation * mean of g (1 - g), least where gates are open or shut. Of the batch norms'
scales (network slimming, arXiv 1708.06519, with its normalisation):

    slimming            sum of |scale|, whose gradient is sign(scale)
    slimming_proximal   the same sum, by soft thresholding after each update: exact zeros. (With
                        momentum m, a gradient is followed for 1 / (1 - m) times as far.)

A gate can be small because the weights that read its channel are large: weight decay of those, and
none of the gates' own layers (config.optimizer.decay_attention=False), belongs to the first four.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from ml_collections import ConfigDict

from senet_jax.attention import sown_gates

Tree = Mapping[str, Any]

NONE = "none"
OF_SCALES = ("slimming", "slimming_proximal")


def _mean(gates: Sequence[jax.Array]) -> jax.Array:
    return jnp.mean(jnp.stack([jnp.mean(g) for g in gates]))


def _relative(gates: Sequence[jax.Array]) -> jax.Array:
    # gates of a ReLU may all be 0, where the root alone has no slope
    roots = [jnp.sqrt(g.size * jnp.sum(jnp.square(g)) + 1e-12) for g in gates]
    shares = [jnp.sum(g) / root for g, root in zip(gates, roots, strict=True)]
    return jnp.mean(jnp.stack(shares))


# By config.penalty.name: from mean gates [C] of each block, and the rate.
OF_GATES: dict[str, Callable[[Sequence[jax.Array], float], jax.Array]] = {
    "l1": lambda gates, rate: _mean(gates),
    "hinge": lambda gates, rate: jnp.maximum(0.0, _mean(gates) - rate),
    "target": lambda gates, rate: jnp.square(_mean(gates) - rate),
    "relative": lambda gates, rate: _relative(gates),
}
PENALTIES = (NONE, *OF_GATES, *OF_SCALES)


@dataclass(frozen=True)
class Penalty:
    """A penalty by name, with its weight.

    Attributes:
      name: of `PENALTIES`, not "none".
      weight: at the end of the warm-up, `warmup` steps in which it grows linearly.
    """

    name: str
    weight: float
    rate: float = 0.0
    polarisation: float = 0.0
    warmup: int = 0

    @property
    def of_gates(self) -> bool:
        return self.name in OF_GATES

    def weight_at(self, step: jax.Array) -> jax.Array:
        """float32: during the warm-up (step + 1) / steps of the weight."""
        return self.weight * jnp.minimum(1.0, (step + 1) / max(self.warmup, 1))


def make_penalty(config: ConfigDict, steps_per_epoch: int) -> Penalty | None:
    """What `config.penalty` asks for, None for "none"."""
    options = config.penalty
    if options.name == NONE:
        return None
    return Penalty(
        options.name,
        options.weight,
        options.rate,
        options.polarisation,
        round(options.warmup_epochs * steps_per_epoch),
    )


def check_penalty(penalty: Penalty | None, model: nn.Module, image_shape: Sequence[int]) -> None:
    """Raises ValueError where gates are to be penalised and a network has none."""
    if penalty is None or not penalty.of_gates:
        return
    init = partial(model.init, train=False, mutable=True)
    sown = jax.eval_shape(
        init, jax.random.key(0), jax.ShapeDtypeStruct((1, *image_shape), "float32")
    )
    if not sown_gates(sown.get("intermediates", {})):
        raise ValueError(
            f"config.penalty.name is {penalty.name!r}, which is of gates, and the network has none:"
            " give it attention, or take --config.penalty.name=slimming, of batch norms' scales."
        )


def gate_penalty(
    penalty: Penalty, intermediates: Tree, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """The penalty without its weight, and the mean gate; of all devices' images alike.

    Args:
      intermediates: what a forward pass has sown.
      axis_name: of the devices, where each has its own images.
    """

    def whole(mean):
        return mean if axis_name is None else jax.lax.pmean(mean, axis_name)

    sown = sown_gates(intermediates).values()
    # Gates of other functions than a sigmoid may be negative.
    gates = [whole(jnp.mean(jnp.abs(g), axis=range(g.ndim - 1))) for g in sown]
    value = OF_GATES[penalty.name](gates, penalty.rate)
    if penalty.polarisation:
        value += penalty.polarisation * _mean([whole(jnp.mean(g * (1 - g))) for g in sown])
    return value, _mean(gates)


def scale_penalty(params: Tree, batch_stats: Tree) -> jax.Array:
    """Sum of the absolute scales of all batch norms."""
    scales = _scales(params, batch_stats).values()
    # Not of jnp.abs, whose slope at 0 is 1: a zero, as norms may start, is to stay where it is.
    sums = [jnp.sum(s * jax.lax.stop_gradient(jnp.sign(s))) for s in scales]
    return sum(sums, start=jnp.zeros(()))


def shrunk_scales(params: Tree, batch_stats: Tree, by: jax.Array) -> Tree:
    """Parameters with the batch norms' scales nearer to zero: sign(s) max(|s| - by, 0)."""
    flat = traverse_util.flatten_dict(params)
    for path, scale in _scales(params, batch_stats).items():
        flat[path] = jnp.sign(scale) * jnp.maximum(jnp.abs(scale) - by, 0.0)
    return traverse_util.unflatten_dict(flat)


def _scales(params: Tree, batch_stats: Tree) -> dict[tuple[str, ...], jax.Array]:
    """Batch norms are what has running statistics; other norms and gates have scales, too."""
    norms = {path[:-1] for path in traverse_util.flatten_dict(batch_stats)}
    flat = traverse_util.flatten_dict(params)
    return {path: p for path, p in flat.items() if path[-1] == "scale" and path[:-1] in norms}
