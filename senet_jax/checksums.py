"""Checksums of arrays, so that a disk that gives back other numbers than it was given is noticed.

Orbax stores its arrays without any: a flipped bit in a data file comes back as another number.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def checksums(tree: Any) -> dict[str, int]:
    """CRC-32 of each array of a tree, by its path: {"params/stem/conv/kernel": 3421780262, ...}.

    Of the bytes in row-major order, little-endian: the same wherever the array lives and however it
    is split over devices. Of several processes, all must ask, and all get the same.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): zlib.crc32(_bytes(leaf)) for path, leaf in leaves}


def verify(tree: Any, expected: Mapping[str, int]) -> None:
    """Raises `ValueError` with the names of the arrays that are not what was saved.

    Args:
      tree: of arrays, or a part of what was saved.
      expected: `checksums` of what was saved.
    """
    wrong = [name for name, crc in checksums(tree).items() if expected.get(name) != crc]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"the checksum of {', '.join(wrong[:3])}{more} is not the one that was saved"
        )


def _name(path: tuple[Any, ...]) -> str:
    """As a dict, a list and a dataclass would be written: their keys, positions and fields."""
    return "/".join(
        str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path
    )


def _bytes(leaf: Any) -> memoryview:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if leaf.is_fully_replicated:
            leaf = leaf.addressable_data(0)
        else:  # a shard of each process
            from jax.experimental import multihost_utils

            leaf = multihost_utils.process_allgather(leaf, tiled=True)
    array = np.asarray(leaf)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
