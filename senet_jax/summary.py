"""What models cost, and the table of the zoo.

    count_parameters(model)               # 28_088_024
    multiply_adds(model, image_size=224)  # 4_091_699_...: what papers call FLOPs or GMACs

Nothing is computed here: shapes alone go through the network.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from senet_jax.layers import BatchNorm
from senet_jax.models import create_model
from senet_jax.models.pretrained import CIFAR10_ERRORS, PRETRAINED
from senet_jax.models.registry import VARIANTS


def count_parameters(model: nn.Module, *, image_size: int = 256, channels: int = 3) -> int:
    """The number of a model's parameters; running statistics are none.

    Args:
      model: any Linen module that takes images `[N, H, W, C]`.
      image_size: height and width it is given; no convolutional network depends on it.
      channels: of the images.
    """
    return _counts(model, image_size, channels)[0]


def multiply_adds(model: nn.Module, image_size: int, *, channels: int = 3) -> int:
    """Multiply-adds of the convolutions and linear layers for one image, at inference.

    Counted from their shapes, as papers do: at the borders, multiplications with padding count.
    Biases, batch norm, activations, pooling and the scaling by gates do not. XLA's own figures
    (`cost_analysis`) are two per multiply-add, leave out the padding and count everything else.

    Args:
      model: any Linen module that takes images `[N, H, W, C]`.
      image_size: height and width, pixels.
      channels: of the images.

    Raises:
      ValueError: the model has a loop of unknown length.
    """
    return _counts(model, image_size, channels)[1]


class Row(NamedTuple):
    """A model in the table.

    Attributes:
      name: of the model.
      parameters: with its own number of classes.
      multiply_adds: of one image of `counted_at` pixels, see `multiply_adds`.
      counted_at: height and width of that image, at which it is published.
      image_size: height and width of the images it is trained on; of its default weights, if any.
      test_size: at which its default weights are tested; None: at `image_size`.
      published: accuracy (top-1, per cent) and where it is from.
    """

    name: str
    parameters: int
    multiply_adds: int
    counted_at: int
    image_size: int
    test_size: int | None
    published: str


def model_table(names: Iterable[str]) -> Iterator[Row]:
    """A row for each of the names, one by one: deep networks take seconds."""
    for name in names:
        variant = VARIANTS[name]
        counted_at = variant.counted_at or variant.image_size
        image_size, test_size = variant.image_size, None
        if name in PRETRAINED:
            size = next(iter(PRETRAINED[name].values())).input
            image_size, test_size = size.size, size.test_size
        counts = _counts(create_model(name), counted_at, channels=3)
        yield Row(name, *counts, counted_at, image_size, test_size, _published(name))


LINE = "| {:<32} | {:>11} | {:>15} | {:>10} | {:>9} | {} |\n"  # names have 32 letters at most
HEADER = (
    "# Models\n\n"
    + LINE.format(
        *("model", "parameters", "10⁹ mult.-adds", "image size", "test size", "published top-1, %")
    )
    + "| :--- | ---: | ---: | ---: | ---: | :--- |\n"
)
LEGEND = """
Multiply-adds are those of convolutions and linear layers for one image of so many pixels (in
brackets), padding included. Sizes are in pixels; the test size is a larger one at which the default
weights do better. Top-1 is the accuracy of the default weights on ImageNet-1k's validation images,
at the image size and then at the test size ("?": not known here), with their tag; of CIFAR networks
the paper's accuracy on CIFAR-10 (arXiv 1709.01507, Table 4).
"""


def write_table(names: Iterable[str]) -> Iterator[str]:
    """The table as Markdown, piece by piece; docs/models.md is the whole of it."""
    yield HEADER
    for row in model_table(names):
        yield LINE.format(
            row.name,
            f"{row.parameters:,}",
            f"{row.multiply_adds / 1e9:.6f} ({row.counted_at})",
            row.image_size,
            row.test_size or "-",
            row.published,
        )
    yield LEGEND


def _published(name: str) -> str:
    if name in CIFAR10_ERRORS:
        return f"{100 - CIFAR10_ERRORS[name]:.2f} (paper)"
    if name not in PRETRAINED:
        return "-"
    tag, weights = next(iter(PRETRAINED[name].items()))
    accuracies = [f"{top1:.3f}" if top1 else "?" for top1 in (weights.top1, weights.test_top1)]
    if weights.input.test_size is None:
        accuracies.pop()
    return f"{', '.join(accuracies)} ({tag})"


def _counts(model: Any, image_size: int, channels: int) -> tuple[int, int]:
    """Parameters and multiply-adds, from one tracing of the model's initialisation."""
    if isinstance(getattr(model, "norm", None), BatchNorm):  # deferring it changes no product
        model = model.clone(norm=model.norm.clone(fused=False))
    images = jax.ShapeDtypeStruct((1, image_size, image_size, channels), jnp.float32)
    jaxpr, (_, variables) = jax.make_jaxpr(
        lambda images: model.init_with_output(jax.random.key(0), images), return_shape=True
    )(images)
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    return parameters, _products(jaxpr.jaxpr)


def _products(jaxpr: Any) -> int:
    """Multiply-adds in a traced program and in the programs within."""
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, parameters = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = kernel[parameters["dimension_numbers"].rhs_spec[0]]
        return math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // outputs
    if name == "dot_general":
        ((contracted, _), _) = parameters["dimension_numbers"]
        inner = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return math.prod(equation.outvars[0].aval.shape) * inner
    within = [_products(jaxpr) for jaxpr in _programs(parameters)]
    if name == "while" and any(within):
        raise ValueError("The model has a loop of unknown length: multiply-adds are not countable.")
    if name == "cond":  # one branch runs; for platforms, they compute the same
        return max(within)
    return sum(within) * parameters.get("length", 1) if name == "scan" else sum(within)


def _programs(parameters: dict[str, Any]) -> Iterator[Any]:
    for value in parameters.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if hasattr(item, "eqns"):
                yield item
