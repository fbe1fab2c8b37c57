"""Metrics as sums and counts, which merge over batches, devices and processes without weights."""

import functools
import operator
from collections.abc import Mapping
from typing import Any

import jax

# What a step sums over examples, and the name of its mean. Anything else that a step hands out (the
# learning rate, the gradient's norm) is one number per step already.
MEANS = {"loss": "loss", "correct": "accuracy"}

Sums = Mapping[str, Any]  # numbers or arrays of no dimension


def merge(*sums: Sums) -> dict[str, Any]:
    """The sums over all examples of several batches; on the device, if they lie there.

    Raises:
      ValueError: nothing to merge.
    """
    if not sums:
        raise ValueError("There are no sums to merge: the split has no batches.")
    return functools.reduce(functools.partial(jax.tree.map, operator.add), map(dict, sums))


def summarise(sums: Sums) -> dict[str, float]:
    """Means over examples, as Python floats.

    {"loss": 12.8, "correct": 3, "count": 4} gives {"loss": 3.2, "accuracy": 0.75}. Numbers that are
    no sums stay as they are, and groups of sums are left out.

    Raises:
      ValueError: the count is zero.
    """
    count = float(sums["count"])
    if count == 0:
        raise ValueError("The sums are over no examples, so there is no mean: is the split empty?")
    return {
        MEANS.get(name, name): float(value) / (count if name in MEANS else 1)
        for name, value in sums.items()
        if name != "count" and not isinstance(value, Mapping)
    }
