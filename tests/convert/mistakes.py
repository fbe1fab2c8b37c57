"""What goes wrong in a port, done on purpose: by how much does it change the logits?

`python -m tests.convert.mistakes` prints the table of docs/why-converted-differs.md.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from senet_jax import BatchNorm
from senet_jax.convert import from_timm
from tests.convert import ours, seeded
from tests.convert.twins import TWINS

SIZES = (64, 65)
convolve, max_pool, avg_pool = jax.lax.conv_general_dilated, nn.max_pool, nn.avg_pool


def same_convolutions():
    same = lambda x, k, padding, **options: convolve(x, k, padding="SAME", **options)
    return mock.patch.object(jax.lax, "conv_general_dilated", same)


def same_pool():
    return mock.patch.object(
        nn, "max_pool", lambda x, window, strides, padding: max_pool(x, window, strides, "SAME")
    )


def padding_counts():
    counting = lambda x, window, strides, *padding, **_: avg_pool(x, window, strides, *padding)
    return mock.patch.object(nn, "avg_pool", counting)


def tf32_operands():
    """What a GPU's TF32 convolutions see: 10 bits of the operands, sums in float32."""

    def rounded(x):
        bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
        return jax.lax.bitcast_convert_type((bits + 0x1000) & jnp.uint32(0xFFFFE000), jnp.float32)

    return mock.patch.object(
        jax.lax, "conv_general_dilated", lambda x, k, **o: convolve(rounded(x), rounded(k), **o)
    )


def swapped(first, second):
    """Exchanges two axes of every kernel whose shape stays the same: no check of shapes sees it."""

    def change(path, value):
        if path[-1] != "kernel" or value.ndim + first < 0:
            return value
        other = value.swapaxes(first, second)
        return other if other.shape == value.shape else value

    return lambda variables: traverse_util.path_aware_map(change, variables)


def no_se_biases(variables):
    zero = lambda path, value: value * (not ("se" in path and path[-1] == "bias"))
    return traverse_util.path_aware_map(zero, variables)


class Mistake(NamedTuple):
    """A change of the model, of the variables, of the images, or of a function of JAX."""

    what: str
    of: str = "seresnet50"
    model: Callable[[Any], Any] = lambda model: model
    variables: Callable[[Any], Any] = lambda variables: variables
    images: Callable[[np.ndarray], np.ndarray] = lambda images: images
    patch: Callable[[], Any] = nullcontext


MISTAKES = (
    Mistake('convolutions padded by "SAME"', patch=same_convolutions),
    Mistake('max-pool padded by "SAME"', patch=same_pool),
    Mistake("max-pool of the older networks", model=lambda m: m.clone(stem="legacy")),
    Mistake("average pool counts the padding", "seresnext26d_32x4d", patch=padding_counts),
    Mistake("stride in the first 1x1 convolution", model=lambda m: m.clone(stride_at="1x1")),
    Mistake(
        "stride in the 3x3 convolution", "legacy_seresnet50", lambda m: m.clone(stride_at="3x3")
    ),
    Mistake("no ReLU before SE", "legacy_seresnet18", lambda m: m.clone(placement="standard")),
    Mistake("ReLU before SE", model=lambda m: m.clone(placement="activated")),
    Mistake("SE without its biases", variables=no_se_biases),
    Mistake("epsilon 1e-3", model=lambda m: m.clone(norm=BatchNorm(epsilon=1e-3))),
    Mistake("kernels' height and width swapped", variables=swapped(-4, -3)),
    Mistake("square kernels transposed", variables=swapped(-2, -1)),
    Mistake("BGR for RGB", images=lambda x: x[..., ::-1]),
    Mistake("bfloat16", model=lambda m: m.clone(dtype="bfloat16")),
    Mistake("TF32", patch=tf32_operands),
)


def error(mistake: Mistake, size: int) -> float:
    """Relative to the greatest logit."""
    twin = next(twin for twin in TWINS if twin.name == mistake.of and twin.source == "timm")
    model = twin.model()
    variables = from_timm(seeded.timm_weights(model), model)
    images = seeded.images(2, size)
    right, _ = ours.evaluate(model, variables, images)
    with mistake.patch():
        wrong = jax.jit(mistake.model(model).apply)(
            mistake.variables(variables), mistake.images(images)
        )
    return ours.relative_error(wrong, right)


def main() -> None:
    print("| mistake | in | " + " | ".join(f"{size} pixels" for size in SIZES) + " |")
    print("| --- " * (2 + len(SIZES)) + "|")
    for mistake in MISTAKES:
        row = " | ".join(f"{error(mistake, size):.1e}" for size in SIZES)
        print(f"| {mistake.what} | {mistake.of} | {row} |")


if __name__ == "__main__":
    main()
