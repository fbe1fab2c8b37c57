"""What is known about a model beside its layers, and the checks that all families share."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from senet_jax.layers import BatchNorm, Conv

# None: the plain network; an unbound module, made anew in every block; or one of these per stage
Attention = nn.Module | tuple[nn.Module | None, ...] | None


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row of a family's table.

    Attributes:
      model: the family's class.
      options: what to build it with.
      image_size: height and width of the images it is trained on, pixels.
      counted_at: at which its multiply-adds are published, pixels; None: `image_size`.
    """

    model: type[nn.Module]
    options: Mapping[str, Any]
    image_size: int = 224
    counted_at: int | None = None


class FeatureInfo(NamedTuple):
    """A level of a pyramid: its name, its stride in pixels of the image, its channels."""

    name: str
    stride: int
    channels: int


def options_of(module: nn.Module) -> dict[str, Any]:
    """A module's fields, to make another with some of them changed."""
    return {
        f.name: getattr(module, f.name)
        for f in dataclasses.fields(module)
        if f.name not in ("parent", "name")
    }


def bound_layers(
    model: Any, train: bool, **conv_options: Any
) -> tuple[Callable[..., Conv], Callable[..., BatchNorm]]:
    """Convolution and norm for a model's blocks, which know neither its dtypes nor `train`.

    Every convolution is followed by a norm, which takes one that is `deferred`; a model where some
    are not says `deferred=False`.

    Raises:
      TypeError: the model's norm is none of ours.
    """
    if not isinstance(model.norm, BatchNorm):
        raise TypeError(
            f"norm={model.norm!r}, expected senet_jax.BatchNorm(...) as a template: gates and"
            " shortcuts are computed together with it."
        )
    dtypes = dict(dtype=model.dtype, param_dtype=model.param_dtype)
    norm_options = dict(use_running_average=not train, param_dtype=model.param_dtype)
    conv = partial(Conv, **dtypes, **dict(deferred=True) | conv_options)
    return conv, partial(BatchNorm, **options_of(model.norm) | norm_options)


def per_stage(field: str, value: Any, stages: int) -> tuple[Any, ...]:
    """A field's value for every stage: a tuple has one for each, anything else is for all.

    Raises:
      ValueError: a tuple of another length.
    """
    if not isinstance(value, tuple):
        return (value,) * stages
    if len(value) != stages:
        raise ValueError(
            f"{field} has {len(value)} entries, expected one for each of {stages} stages."
        )
    return value


def any_images(channels: int = 3) -> jax.ShapeDtypeStruct:
    """The shape of images that are large enough for every network, for what depends on no size."""
    return jax.ShapeDtypeStruct((1, 256, 256, channels), jnp.float32)


def check_images(images: jax.Array) -> None:
    """Refuses what isn't a batch of float images `[N, H, W, C]`.

    Raises:
      ValueError: the shape is another, or there is no image or no pixel.
      TypeError: the values are integers.
    """
    shape = images.shape
    if images.ndim == 3 and shape[-1] in (1, 3, 4):
        raise ValueError(
            f"images has shape {shape}, expected [N, H, W, C]: add a batch axis with image[None]."
        )
    if images.ndim == 3:
        raise ValueError(
            f"images has shape {shape}, expected [N, H, W, C]: add a channel axis with "
            "images[..., None]."
        )
    if images.ndim != 4 or 0 in shape:
        raise ValueError(
            f"images has shape {shape}, expected [N, H, W, C] with at least one image and one "
            "pixel."
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(
            f"images are {images.dtype}, expected floats: scale to 0..1, subtract the mean, "
            "divide by the standard deviation."
        )


def some_left(x: jax.Array) -> jax.Array:
    """Refuses features without a pixel.

    Raises:
      ValueError: convolutions and pools without padding have used up the images.
    """
    if 0 in x.shape:
        raise ValueError("Nothing is left of the images inside this network: give larger ones.")
    return x


def check_option(field: str, value: str, known: Collection[str]) -> None:
    """Refuses a name that a table doesn't have.

    Raises:
      ValueError: with the names it has.
    """
    if value not in known:
        raise ValueError(f"Unknown {field} {value!r}: expected {', '.join(map(repr, known))}.")
