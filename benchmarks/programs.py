"""Programs to compile for chips that are not there: networks, ways and steps, by shapes alone."""

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.report import count
from benchmarks.ways import EVERYWHERE, WAYS, network, traced
from senet_jax.bench import compiled_inference, compiled_training, new_state

MODELS = [
    "seresnet50",
    "seresnext50_32x4d",
    "senet154",
    "efficientnet_b0",
    "mobilenetv3_large_100",
]
Place = Callable[[jax.ShapeDtypeStruct], jax.ShapeDtypeStruct]  # says on which devices


class Program(NamedTuple):
    """A step of a network, computed one way.

    Attributes:
      step: "train" or "inference".
    """

    model: str
    attention: bool
    way: str
    step: str

    @property
    def row(self) -> dict[str, Any]:
        """Its fields in a report."""
        name = self.model if self.attention else f"{self.model} without attention"
        return {"network": name, "way": self.way, "step": self.step}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to compile."""
    add = parser.add_argument
    add("--models", nargs="+", default=MODELS[:1], metavar="NAME", help="SE networks")
    add("--attention", nargs="+", default=["with", "without"], choices=["with", "without"])
    add("--ways", nargs="+", default=EVERYWHERE, choices=list(WAYS), help="of computing a block")
    add("--steps", nargs="+", default=["train"], choices=["train", "inference"])
    add("--batch", type=count, default=64, help="images on each chip")
    add("--size", type=count, default=224, help="pixels")


def chosen(options: argparse.Namespace) -> Iterator[Program]:
    """All that the options ask for; checked before the first is compiled, which takes minutes.

    Raises:
      ValueError: there is no such model, or it is plain anyway.
    """
    found = [
        Program(model, attention == "with", way, step)
        for step in options.steps
        for model in options.models
        for attention in options.attention
        for way in options.ways
    ]
    for program in found:
        network(program.model, program.way, attention=program.attention)
    return iter(found)


def compiled(
    program: Program, batch: int, size: int, place: Place, place_images: Place
) -> jax.stages.Compiled:
    """The program for images `[batch, size, size, 3]`, bfloat16; nothing is computed.

    Args:
      place: puts variables and momentum.
      place_images: puts images and labels.
    """
    model = network(program.model, program.way, attention=program.attention)
    images = place_images(jax.ShapeDtypeStruct((batch, size, size, 3), jnp.bfloat16))
    labels = place_images(jax.ShapeDtypeStruct((batch,), jnp.int32))
    with traced(program.way):
        state = jax.tree.map(place, _state(model, images))
        if program.step == "train":
            return compiled_training(model, state, images, labels)
        variables = {k: state[k] for k in ("params", "batch_stats")}
        return compiled_inference(model, variables, images)


def _state(model: nn.Module, images: jax.ShapeDtypeStruct) -> Any:
    small = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)  # not on the chip
    return jax.eval_shape(lambda x: new_state(dict(model.init(jax.random.key(0), x))), small)
