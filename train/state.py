"""All that a run is at one step, as one pytree."""

from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

Variables = dict[str, Any]  # {"params": ..., "batch_stats": ...}


class State(flax.struct.PyTreeNode):
    """What a checkpoint holds.

    Attributes:
      step: optimizer steps done, int32; the next one's data, rate and random keys follow from it.
      seed: of the run, uint32: here, and no constant of the compiled step, so that runs that differ
        in nothing else share one compilation.
      params, batch_stats: the model's variables.
      opt_state: Optax's.
      ema: moving averages {"params", "batch_stats"}; {} where the run keeps none.
    """

    step: jax.Array
    seed: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Variables

    @property
    def variables(self) -> Variables:
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    seed: ArrayLike,
    variables: Variables | None = None,
    *,
    ema: bool,
) -> State:
    """The state of step 0, a function of the seed; averages start at the parameters themselves.

    Args:
      variables: to start from instead of random ones.
    """
    seed = jnp.asarray(seed, jnp.uint32)
    if variables is None:
        images = jnp.zeros((1, *image_shape))
        begun: Any = model.init(jax.random.key(seed), images, train=False)
    else:  # copies: what jit passes through it hands out twice, and donating one deletes the other
        begun = jax.tree.map(jnp.copy, variables)
    params, batch_stats = begun["params"], begun.get("batch_stats", {})
    return State(
        step=jnp.zeros((), jnp.int32),
        seed=seed,
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        ema={"params": params, "batch_stats": batch_stats} if ema else {},
    )
