"""Files of weights: read without torch, refused in one sentence, and nothing in them executed.

checkpoint.pth and before_1_6.pth were written by torch itself (tests.parity.make_golden).
"""

import os
import pickle
import zipfile
from collections import OrderedDict

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from senet_jax.convert import read_weights
from senet_jax.convert.torch_file import read_torch_file
from tests.convert import seeded
from tests.convert.twins import GOLDEN

CHECKPOINT = GOLDEN / "checkpoint.pth"
VALUES = seeded.tensor("a.weight", (4, 6))


def test_tensors_of_every_type_and_stride_are_read_to_the_bit():
    weights = read_weights(CHECKPOINT)  # nested, and with the prefix "module."
    expected = {
        "a.weight": VALUES,
        "a.transposed": VALUES.T,
        "a.slice": VALUES[1:3, ::2],
        "a.parameter": VALUES[0],
        "a.half": VALUES.astype(np.float16),
        "a.bfloat16": VALUES.astype(jnp.bfloat16),
        "a.double": VALUES.astype(np.float64),
        "a.empty": VALUES[:0],
        "a.num_batches_tracked": np.array(7),
    }
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert weights[name].dtype == value.dtype and weights[name].shape == value.shape
        np.testing.assert_array_equal(weights[name], value)
    weights["a.weight"][0] = 0  # its own memory


def test_what_surrounds_the_tensors_is_read_too():
    checkpoint = read_torch_file(CHECKPOINT)
    assert (checkpoint["epoch"], checkpoint["arch"], checkpoint["metric"]) == (3, "a", 1.5)
    assert vars(checkpoint["args"]) == dict(lr=0.1, model="a", sizes=(1, 2))
    assert isinstance(checkpoint["state_dict"], OrderedDict)


def test_safetensors_are_read(tmp_path):
    path = tmp_path / "x.safetensors"
    stored = {"module.a": VALUES, "b": VALUES.astype(jnp.bfloat16), "se_module.fc1": VALUES}
    save_file(stored, path)
    weights = read_weights(path)
    assert weights.keys() == {"a", "b", "se_module.fc1"}
    np.testing.assert_array_equal(weights["a"], VALUES)
    np.testing.assert_array_equal(weights["b"], stored["b"])


# ---- archives as torch writes them, with a pickle of ours ----


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def archive(path, description: bytes, **storages: bytes):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", description)
        for key, content in storages.items():
            file.writestr(f"x/data/{key}", content)
    return path


class Global:
    """A pickle's way to name something of a module, whether it exists or not."""

    def __init__(self, module, name):
        self.code = f"c{module}\n{name}\n".encode()


def pickled(*parts) -> bytes:
    """A pickle by its opcodes."""
    return b"\x80\x02" + b"".join(p.code if isinstance(p, Global) else p for p in parts) + b"."


def plain(value) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def tensor(offset, size, stride, key=b"k", count=24) -> bytes:
    """The opcodes of a float32 tensor that is a view of a storage."""
    storage = (
        b"(" + plain("storage") + Global("torch", "FloatStorage").code + plain(key.decode())
    ) + (plain("cpu") + plain(count) + b"tQ")
    arguments = b"(" + storage + plain(offset) + plain(size) + plain(stride) + plain(False) + b"Nt"
    return Global("torch._utils", "_rebuild_tensor_v2").code + arguments + b"R"


def state(*tensors: bytes) -> bytes:
    items = b"".join(plain(f"t{i}") + t for i, t in enumerate(tensors))
    return pickled(b"}(", items, b"u")


def test_our_own_archives_are_read_as_torchs(tmp_path):
    path = archive(tmp_path / "x.pth", state(tensor(6, (3, 6), (6, 1))), k=VALUES.tobytes())
    np.testing.assert_array_equal(read_weights(path)["t0"], VALUES[1:])


@pytest.mark.parametrize("nest", [lambda v: v, lambda v: {"state_dict": {"w": v}}])
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, f"{os.system.__module__}.system"), (eval, "builtins.eval"), (open, "io.open")],
)
def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path, function, named, nest):
    trace = tmp_path / "trace"
    argument = {
        os.system: f"touch {trace}",
        eval: f"open({str(trace)!r}, 'w')",
        open: str(trace),
    }[function]
    arguments = (argument, "w") if function is open else (argument,)
    description = pickle.dumps(nest(Call(function, *arguments)), protocol=2)
    path = archive(tmp_path / "x.pth", description)
    with pytest.raises(ValueError, match="nothing was executed") as caught:
        read_weights(path)
    message = str(caught.value)
    assert named in message.replace("__builtin__", "builtins") and message.count("\n") == 0
    assert not trace.exists()
    pickle.loads(description)  # an ordinary reader runs it: the test would see it
    assert trace.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections", "OrderedDict.fromkeys"),
        ("argparse", "FileType"),
        ("numpy", "load"),
        ("copyreg", "_reconstructor"),
    ],
)
def test_only_names_on_the_list_are_known(tmp_path, module, name):
    path = archive(tmp_path / "x.pth", pickled(Global(module, name)))
    with pytest.raises(ValueError, match=f"asks for {module}.{name}, which is no part of a tensor"):
        read_weights(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (25,), (1,)),  # behind the end
        (20, (5,), (1,)),
        (0, (4, 6), (7, 1)),
        (-1, (2,), (1,)),  # before the start
        (5, (3,), (-3,)),
        (0, (1 << 40,), (0,)),  # more than there is, by repetition
        (0, (2,), (1, 1)),
    ],
)
def test_a_tensor_never_reaches_out_of_its_storage(tmp_path, offset, size, stride):
    path = archive(tmp_path / "x.pth", state(tensor(offset, size, stride)), k=VALUES.tobytes())
    with pytest.raises(ValueError, match=r"x\.pth is damaged"):
        read_weights(path)


def test_a_pickle_cannot_change_the_interpreter(tmp_path):
    """BUILD sets attributes of what is on the stack: it must be nothing that lives on."""
    import argparse

    slots = b"(N" + plain({"__init__": 1}) + b"tb"  # (None, {...}): by setattr
    for name in (
        Global("argparse", "Namespace"),
        Global("collections", "OrderedDict"),
        Global("torch._utils", "_rebuild_tensor_v2"),
        Global("torch", "FloatStorage"),
    ):
        path = archive(tmp_path / "x.pth", pickled(name, slots))
        with pytest.raises(ValueError, match=r"damaged|no state dict"):
            read_weights(path)
    assert argparse.Namespace(a=1).a == 1 and OrderedDict(a=1)["a"] == 1
    assert read_weights(CHECKPOINT)["a.weight"].shape == (4, 6)


# ---- damaged and foreign files ----


def cut(content: bytes, tmp_path, suffix=".pth"):
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(content)
    return path


def test_damaged_and_foreign_files_get_a_sentence(tmp_path):
    content = CHECKPOINT.read_bytes()
    flipped = bytearray(content)
    where = content.index(VALUES.tobytes())
    flipped[where + 5] ^= 1
    newer = bytearray(content)
    newer[content.rindex(b"PK\1\2") + 6] = 99  # a version of zip that nobody knows
    save_file({"a": VALUES}, tmp_path / "whole.safetensors")
    safetensors = (tmp_path / "whole.safetensors").read_bytes()
    cases = [
        (cut(content[: len(content) // 2], tmp_path, ".pt"), "is truncated"),
        (cut(bytes(flipped), tmp_path, ".bin"), "is damaged .*CRC"),
        (cut(b"<html>not found</html>", tmp_path, ".pth"), "no zip archive.*<html>"),
        (cut(b"", tmp_path, ".tar"), "no zip archive"),
        (GOLDEN / "before_1_6.pth", "before torch 1.6"),
        (archive(tmp_path / "short.pth", state(tensor(0, (6,), (1,))), k=b"1234"), "damaged"),
        (archive(tmp_path / "no.pth", state(tensor(0, (6,), (1,)))), "damaged .*x/data/k"),
        (archive(tmp_path / "half.pth", state(tensor(0, (6,), (1,)))[:40]), "damaged"),
        (archive(tmp_path / "memo.pth", pickled(b"}", b"r\xff\xff\xff\xff")), "number 4294967295"),
        (cut(bytes(newer), tmp_path, ".pkl"), "is truncated or damaged"),
        (cut(safetensors[:-10], tmp_path, ".safetensors"), "is truncated or no safetensors"),
        (cut(safetensors, tmp_path, ".h5"), "unknown ending '.h5': expected .safetensors"),
    ]
    for path, sentence in cases:
        with pytest.raises(ValueError, match=sentence) as caught:
            read_weights(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    np.savez(tmp_path / "x.npz", a=VALUES)
    with pytest.raises(ValueError, match="zip archive, but no checkpoint"):
        read_weights((tmp_path / "x.npz").rename(tmp_path / "x.pth"))
    with pytest.raises(FileNotFoundError, match=r"no file .*missing\.pth"):
        read_weights(tmp_path / "missing.pth")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1, 2], "holds a list and no state dict"),
        ({"epoch": 3, "lr": 0.1}, "epoch, lr are no tensors"),
        ({}, "no state dict"),
        ({"model": {"a": "b"}}, "a are no tensors"),
    ],
)
def test_a_file_without_a_state_dict_is_told(tmp_path, content, sentence):
    path = archive(tmp_path / "x.pth", pickled(plain(content)))
    with pytest.raises(ValueError, match=sentence):
        read_weights(path)


def test_averaged_weights_come_first_as_in_timm(tmp_path):
    whole, half = tensor(0, (4,), (1,)), tensor(4, (4,), (1,))

    def nested(name, value):
        return plain(name) + b"}" + plain("_orig_mod.module.w") + value + b"s"

    both = b"}(" + nested("state_dict", whole) + nested("state_dict_ema", half) + b"u"
    path = archive(tmp_path / "x.pth", pickled(both), k=VALUES.tobytes())
    np.testing.assert_array_equal(read_weights(path)["w"], VALUES.ravel()[4:8])
