"""A checksum is of the numbers alone, and misses no change of one of them."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax.checksums import checksums, verify
from train.state import State


def test_it_is_the_crc_of_the_bytes_by_the_path_of_the_array():
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    tree = {"conv": {"kernel": jnp.asarray(kernel)}, "moments": (jnp.int32(7), [])}
    assert checksums(tree) == {
        "conv/kernel": zlib.crc32(kernel.tobytes()),
        "moments/0": zlib.crc32(b"\x07\x00\x00\x00"),
    }


def test_fields_keys_and_layout_in_memory_make_no_difference():
    whole = {"w": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)}
    state = State(jnp.int32(0), jnp.uint32(0), jax.tree.map(jnp.asarray, whole), {}, (), {})
    turned = {"params": {"w": np.asfortranarray(whole["w"]).astype(">f4")}}
    assert checksums(state)["params/w"] == checksums(turned)["params/w"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "bool"])
def test_every_flipped_bit_is_noticed_and_named(dtype):
    array = np.ones((3, 2), dtype=jnp.dtype(dtype))
    saved = checksums({"params": {"w": array, "b": array}})
    verify({"params": {"w": array}}, saved)  # a part will do
    places = range(array.nbytes * 8) if dtype != "bool" else range(0, array.nbytes * 8, 8)
    for place in places:
        damaged = array.copy()
        damaged.reshape(-1).view(np.uint8)[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError, match="checksum of params/w is not the one"):
            verify({"params": {"w": damaged, "b": array}}, saved)


def test_an_array_that_was_never_saved_is_noticed():
    tree = {name: np.ones(2) for name in "abcde"}
    with pytest.raises(ValueError, match="the checksum of a, b, c and 2 more is not"):
        verify(tree, {})
