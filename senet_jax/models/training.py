"""What training does to whole blocks: leaves their branches out, and computes them twice."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from senet_jax import fused
from senet_jax.fused import Features


def drop_rates(rate: float, sizes: Sequence[int], train: bool) -> list[list[float]]:
    """How often each block's branch is left out: by stage and block, from 0 in the first block of
    all linearly to `rate` in the last (arXiv 1603.09382, section 3). All 0 when not training.

    Raises:
      ValueError: the rate is no share, or all.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"stochastic_depth={rate}, expected at least 0 and less than 1.")
    last = max(sum(sizes) - 1, 1)
    blocks = iter(range(sum(sizes)))
    return [[rate * next(blocks) / last if train else 0.0 for _ in range(size)] for size in sizes]


def drop_branch(block: nn.Module, branch: Features, rate: float) -> Features:
    """The branch of some images set to zero, that of the others enlarged, so that the mean stays.

    What is deferred stays so: one factor for each image joins those of the norm.

    Args:
      block: the module that calls, for its random stream "dropout".
      branch: features of N images.
    """
    if not rate:
        return branch
    images = (branch if isinstance(branch, jax.Array) else branch.x).shape[0]
    kept = jax.random.bernoulli(block.make_rng("dropout"), 1 - rate, (images, 1))
    return fused.scale(branch, kept / (1 - rate))


def run(block: nn.Module, x: jax.Array, remat: bool) -> jax.Array:
    """`block(x)`; with `remat` nothing inside is kept for the gradient, but computed again."""
    return nn.remat(lambda block, x: block(x))(block, x) if remat else block(x)
