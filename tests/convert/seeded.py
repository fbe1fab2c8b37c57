"""Weights and images that anyone with NumPy makes again, so that none need be stored."""

import zlib
from typing import Any

import numpy as np

from senet_jax.convert.tables import Table, counters_of, tensors_of
from senet_jax.convert.timm import table_of


def tensor(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """The tensor of a torch state dict, a function of its name, its shape and the seed.

    Nothing is at zero or one, so that no mistake hides; the sizes keep deep networks from growing.
    """
    r = np.random.default_rng([zlib.crc32(name.encode()), seed])
    what = name.rpartition(".")[2]
    if what == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if what == "running_var":
        value = r.uniform(0.5, 1.5, shape)
    elif what == "weight" and len(shape) == 1:  # a norm's scale
        value = r.uniform(0.3, 1.0, shape)
    elif what == "weight":
        value = r.normal(scale=np.sqrt(2 / np.prod(shape[1:])), size=shape)
    else:
        value = r.normal(scale=0.2, size=shape)
    return value.astype(np.float32)


def state_dict(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    return {name: tensor(name, shape, seed) for name, shape in shapes.items()}


def weights(model: Any, table: Table, channels: int = 3) -> dict[str, np.ndarray]:
    """A state dict for a network of ours, with the names of a table and the counters of torch."""
    tensors = tensors_of(model, table, channels)
    shapes = {name: tensor.shape_there for name, tensor in tensors.items()}
    return state_dict(shapes | dict.fromkeys(counters_of(tensors), ()))


def timm_weights(model: Any, channels: int = 3) -> dict[str, np.ndarray]:
    return weights(model, table_of(model), channels)


def images(n: int, size: int, seed: int = 0) -> np.ndarray:
    """`[n, size, size, 3]`, about as normalised images are."""
    return np.random.default_rng([n, size, seed]).normal(size=(n, size, size, 3)).astype(np.float32)


def labels(n: int, classes: int) -> np.ndarray:
    return np.arange(n) * 3 % classes
