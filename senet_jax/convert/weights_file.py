"""Named arrays from a file of weights, whatever wrote it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from senet_jax.convert.torch_file import read_torch_file

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar", ".pkl")
# where checkpoints keep their state dict; averaged weights first, as timm does
NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")
WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")  # of data-parallel and compiled torch modules


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The state dict in a file: arrays by name, with the names and axes of who wrote it.

    Args:
      path: `.safetensors`, or what torch.save wrote (`.pth`, `.pt`, `.bin`, `.tar`, `.pkl`): a
        state dict, or a checkpoint with one under "state_dict" or "model" (under "state_dict_ema"
        or "model_ema", if averages are there). torch is not needed, and no code in the file is run.

    Returns:
      Arrays of the stored dtypes; the prefixes "module." and "_orig_mod." are taken off.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is of another format, is damaged, holds no state dict, or asks for
        anything but tensors; says which.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: expected a file of weights.")
    if path.suffix == ".safetensors":
        weights: Any = _read_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        weights = _state_dict(read_torch_file(path), path)
    else:
        raise ValueError(
            f"{path} has the unknown ending {path.suffix!r}: expected .safetensors or one of"
            f" {', '.join(TORCH_SUFFIXES)}."
        )
    return {WRAPPERS.sub("", name): value for name, value in weights.items()}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "Reading .safetensors needs a package: pip install 'senet_jax[weights]'."
        ) from error
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is truncated or no safetensors file ({error}): fetch or save it again."
        ) from error


def _state_dict(checkpoint: Any, path: Path) -> Mapping[str, np.ndarray]:
    nested = checkpoint
    if isinstance(checkpoint, Mapping):
        names = [name for name in NESTED if isinstance(checkpoint.get(name), Mapping)]
        nested = checkpoint[names[0]] if names else checkpoint
    if not isinstance(nested, Mapping) or not nested:
        raise ValueError(
            f"{path} holds a {type(nested).__name__} and no state dict:"
            " expected torch.save(model.state_dict(), path)."
        )
    strangers = [str(name) for name, value in nested.items() if not isinstance(value, np.ndarray)]
    if strangers:
        raise ValueError(
            f"{path} holds no state dict: {', '.join(strangers[:5])} are no tensors. Expected one"
            f" at the top or under {', '.join(NESTED)}."
        )
    return nested
