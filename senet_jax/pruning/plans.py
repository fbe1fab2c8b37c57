"""Which channels stay: by a share, or by a budget for the whole network.

A plan is a dict of the kept channels by block, `{"stage2/block1": (0, 3, 4), ...}`, ascending; what
it does not name stays whole.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Real
from typing import Any

import flax.linen as nn
import numpy as np

from senet_jax import summary
from senet_jax.pruning.description import kept_channels, narrowed

Plan = dict[str, tuple[int, ...]]
Scores = Mapping[str, np.ndarray]


def keep_share(scores: Scores, keep: float | Mapping[str, float], *, floor: float = 0.1) -> Plan:
    """The channels with the highest scores in each block.

    Args:
      scores: `[C]` by block, from `scores`.
      keep: a share of the channels by stage, `{"stage2": 0.5}`, of stages that are not named all;
        or the share of all channels together. Then low stages, whose channels are general and few,
        are spared: the i-th of S stages keeps the share q^(i/S), the last q.
      floor: share of each block's channels that stays in any case, at least one channel.

    Raises:
      ValueError: a share is not in (0, 1], the floor is not in [0, 1], there is no such stage, or a
        score is not finite.
    """
    _check_floor(floor)
    _check_scores(scores)
    stages = sorted({_stage(block) for block in scores}, key=lambda s: int(s.removeprefix("stage")))
    if isinstance(keep, Mapping):
        _check_shares(keep, stages)
        shares = {stage: keep.get(stage, 1.0) for stage in stages}
    else:
        _check_shares({"keep": keep}, ["keep"])
        shares = _sparing_shares(scores, stages, keep)
    return {
        block: _best(values, max(round(shares[_stage(block)] * len(values)), _least(values, floor)))
        for block, values in scores.items()
    }


def keep_budget(
    scores: Scores,
    model: nn.Module,
    *,
    parameters: int | None = None,
    multiply_adds: int | None = None,
    image_size: int | None = None,
    channels: int = 3,
    floor: float = 0.1,
) -> Plan:
    """The most channels with which the whole network meets a budget, the lowest scores of all
    blocks going first.

    Args:
      scores: `[C]` by block, from `scores`.
      model: the network, as it is.
      parameters: the budget; or
      multiply_adds: the budget, for one image, as `senet_jax.summary.multiply_adds` counts; then
        `image_size` is needed.
      image_size: height and width of the images, pixels.
      channels: of the images.
      floor: as in `keep_share`.

    Raises:
      ValueError: not one budget, or one below what the floors leave: says what they leave; scores
        that are not finite, or of another network.
    """
    _check_floor(floor)
    _check_scores(scores)
    cost, budget, what = _cost(parameters, multiply_adds, image_size, channels)
    _check_of(scores, model)
    spared = {block: set(_best(v, _least(v, floor))) for block, v in scores.items()}
    going = [
        (value, block, c)
        for block, values in scores.items()
        for c, value in enumerate(values.tolist())
        if c not in spared[block]
    ]
    going.sort(key=lambda each: each[0])

    def plan(count: int) -> Plan:
        gone = {(block, c) for _, block, c in going[:count]}
        return {
            block: tuple(c for c in range(len(values)) if (block, c) not in gone)
            for block, values in scores.items()
        }

    def costs(count: int) -> int:
        return cost(narrowed(model, plan(count), {b: len(v) for b, v in scores.items()}))

    if (least := costs(len(going))) > budget:
        raise ValueError(
            f"A budget of {budget:,} {what} cannot be met: with floor={floor} at least {least:,}"
            " are left. Lower the floor or raise the budget."
        )
    low, high = 0, len(going)  # the least number of channels to go is in between
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if costs(middle) <= budget else (middle + 1, high)
    return plan(low)


def _cost(
    parameters: int | None, multiply_adds: int | None, image_size: int | None, channels: int
) -> tuple[Callable[[nn.Module], int], int, str]:
    if (parameters is None) == (multiply_adds is None):
        raise ValueError(
            f"parameters={parameters} and multiply_adds={multiply_adds}, expected just one of the"
            " two budgets."
        )
    if parameters is not None:
        count: Callable[[nn.Module], int] = partial(summary.count_parameters, channels=channels)
        return count, parameters, "parameters"
    assert multiply_adds is not None
    if image_size is None:
        raise ValueError(
            "A budget of multiply-adds is for images of some size: say image_size=224, in pixels."
        )
    count = partial(summary.multiply_adds, image_size=image_size, channels=channels)
    return count, multiply_adds, "multiply-adds"


def _sparing_shares(scores: Scores, stages: list[str], keep: float) -> dict[str, float]:
    """q^(i/S) by stage, with q such that the channels that stay are `keep` of all."""
    depth = {stage: (i + 1) / len(stages) for i, stage in enumerate(stages)}
    total = sum(len(values) for values in scores.values())

    def kept(q: float) -> float:
        return sum(len(values) * q ** depth[_stage(block)] for block, values in scores.items())

    low, high = 0.0, 1.0
    for _ in range(60):
        q = (low + high) / 2
        low, high = (low, q) if kept(q) > keep * total else (q, high)
    return {stage: high ** depth[stage] for stage in stages}


def _best(values: np.ndarray, count: int) -> tuple[int, ...]:
    """The channels with the highest values, of equal ones the first, ascending."""
    return tuple(sorted(np.argsort(-values, kind="stable")[:count].tolist()))


def _least(values: np.ndarray, floor: float) -> int:
    return max(1, math.ceil(floor * len(values)))


def _stage(block: str) -> str:
    return block.split("/")[0]


def _check_scores(scores: Scores) -> None:
    if wrong := [block for block, values in scores.items() if not np.isfinite(values).all()]:
        raise ValueError(
            f"Scores of {', '.join(wrong)} are not finite, so nothing can be ranked by them: look"
            " for NaN in the variables and the images that were measured."
        )


def _check_of(scores: Scores, model: nn.Module) -> None:
    has = {block: now for block, (now, _) in kept_channels(model).items()}
    if wrong := [block for block, values in scores.items() if has.get(block) != len(values)]:
        first = wrong[0]
        raise ValueError(
            f"The scores are of another network: of {len(scores[first])} channels in {first}, where"
            f" this one has {has.get(first, 'none')} to cut. Give scores(name, model, variables,"
            " statistics) of this network."
        )


def _check_shares(shares: Mapping[str, Any], known: list[str]) -> None:
    if unknown := [stage for stage in shares if stage not in known]:
        raise ValueError(
            f"keep names {', '.join(unknown)}, expected stages in which channels can be cut:"
            f" {', '.join(known)}."
        )
    wrong = [f"{name}={share!r}" for name, share in shares.items() if not _is_share(share)]
    if wrong:
        raise ValueError(
            f"{', '.join(wrong)}: expected shares of the channels that stay, above 0 and up to 1."
        )


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0 < float(value) <= 1


def _check_floor(floor: float) -> None:
    if not 0 <= floor <= 1:
        raise ValueError(f"floor={floor}, expected a share of each block's channels, 0 to 1.")
