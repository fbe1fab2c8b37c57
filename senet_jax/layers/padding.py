"""Padding rules of published networks, and the pools that follow them.

"torch"  size // 2 on every side, as PyTorch's and Caffe's networks state it
"same"   TensorFlow's: at even sizes, strided windows pad on the far side only
"valid"  none
"ceil"   none but what a last, incomplete window needs: Caffe rounds a pool's size up
"""

from typing import Literal

import flax.linen as nn
import jax

Size = int | tuple[int, int]
Padding = Literal["SAME"] | tuple[tuple[int, int], tuple[int, int]]


def pair(size: Size) -> tuple[int, int]:
    """Height and width."""
    return (size, size) if isinstance(size, int) else size


def padding_of(rule: str, size: Size, strides: int) -> Padding:
    """What a rule pads for windows of this size, as JAX's windows want it.

    Raises:
      ValueError: no such rule.
    """
    if rule == "same":
        return "SAME"
    return _sides(rule, pair(size)[0], strides), _sides(rule, pair(size)[1], strides)


def _sides(rule: str, length: int, strides: int) -> tuple[int, int]:
    match rule:
        case "torch":
            return length // 2, length // 2
        case "valid":
            return 0, 0
        case "ceil":
            return 0, strides - 1
    raise ValueError(f"Unknown padding {rule!r}: expected 'torch', 'same', 'valid' or 'ceil'.")


def avg_pool(
    x: jax.Array,
    size: int,
    strides: int,
    padding: str = "torch",
    *,
    count_padding: bool = False,
) -> jax.Array:
    """`[N, H, W, C]`; with `count_padding` padding counts as zeros, otherwise the mean is of the
    valid positions alone.
    """
    pads = padding_of(padding, size, strides)
    return nn.avg_pool(x, (size, size), (strides, strides), pads, count_include_pad=count_padding)
