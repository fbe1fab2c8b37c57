"""Parameters whose shape follows from the features' size."""

from collections.abc import Callable

import flax.linen as nn
import jax
from jax.typing import DTypeLike


def sized_param(
    module: nn.Module,
    name: str,
    init: Callable,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    otherwise: str,
) -> jax.Array:
    """`module.param(name, init, shape, dtype)`.

    Args:
      otherwise: what to choose for features of any size; ends the sentence of the error.

    Raises:
      ValueError: the stored parameter was made for features of another size.
    """
    if module.has_variable("params", name):
        stored: tuple[int, ...] = module.get_variable("params", name).shape
        if stored != shape:
            raise ValueError(
                f"{'/'.join((*module.path, name))} has shape {stored} and these features need"
                f" {shape}: {type(module).__name__} has weights for every position or statistic,"
                " so give features of the size that the variables were made for, or choose"
                f" {otherwise}."
            )
    return module.param(name, init, shape, dtype)
