"""What torch.save wrote, read without torch and without running any code.

A checkpoint is a zip archive (torch 1.6 and later): `<name>/data.pkl` describes the objects as a
pickle, `<name>/data/<key>` hold the tensors' bytes. A pickle may name any function of the
interpreter and have it called. This reader knows the few names that tensors in plain containers
need, gives its own harmless stand-ins for them, and refuses every other.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
# the first bytes of the format before torch 1.6, a bare pickle: its magic number
BEFORE_1_6 = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"


def read_torch_file(path: Path) -> Any:
    """The object that torch.save wrote to a file, with NumPy arrays for tensors.

    `argparse.Namespace` comes back as an object with its attributes, parameters as plain arrays.

    Raises:
      ValueError: the file is none of these, is damaged, or names anything but tensors, parameters,
        OrderedDict and argparse.Namespace; says which. Nothing that it names is called.
    """
    with path.open("rb") as file:
        head = file.read(len(BEFORE_1_6))
        try:
            archive = zipfile.ZipFile(file)
        except Exception as error:  # a damaged archive raises anything, here and below
            raise ValueError(_why_no_archive(path, head)) from error
        descriptions = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(descriptions) != 1:
            raise ValueError(
                f"{path} is a zip archive, but no checkpoint that torch.save wrote:"
                " expected one data.pkl in it."
            )
        try:
            return _Reader(path, archive, descriptions[0].removesuffix("data.pkl")).load()
        except _Refused:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{path} is damaged ({reason}): fetch or save it again.") from error


class _Refused(ValueError):
    """The pickle wants something that is not on the list."""


class _Reader(pickle.Unpickler):
    """Unpickles by a list of names. What it hands out is its own: it cannot be used to reach or to
    change anything of the interpreter, whatever order of calls a pickle asks for.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, folder: str):
        description = archive.read(folder + "data.pkl")
        _check_memo(description)
        super().__init__(io.BytesIO(description))
        self.path, self.archive, self.folder = path, archive, folder
        order = folder + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise _Refused(f"{path} was written on a big-endian machine: save it on another.")
        self.names: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("argparse", "Namespace"): type("Namespace", (), {}),  # anew: a pickle may change it
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
        } | {("torch", storage): storage for storage in STORAGES}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.names[module, name]
        except KeyError:
            raise _Refused(
                f"{self.path} asks for {module}.{name}, which is no part of a tensor; nothing was"
                " executed. Expected a state dict: torch.save(model.state_dict(), path)."
            ) from None

    def persistent_load(self, pid: Any) -> np.ndarray:
        """A storage: `("storage", its class, its key, device, number of elements)`."""
        _, storage, key, _, size = pid
        content = self.archive.read(f"{self.folder}data/{key}")
        values = np.frombuffer(content, jnp.dtype(STORAGES[storage]))
        if len(values) != size:
            raise ValueError(f"storage {key} has {len(values)} elements, not {size}")
        return values

    def _tensor(self, storage, offset, size, stride, *_):
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        elements = math.prod(size)
        # strides are taken on trust by NumPy: outside of the storage they would read any memory
        if min((offset, *size, *stride)) < 0 or elements > len(storage) or last >= len(storage) > 0:
            raise ValueError(f"a tensor {tuple(size)} reaches out of its storage")
        if elements == 0:
            return np.zeros(size, storage.dtype)
        steps = [step * storage.itemsize for step in stride]
        return np.array(np.lib.stride_tricks.as_strided(storage[offset:], size, steps), order="C")

    def _parameter(self, tensor, *_):
        return tensor


def _check_memo(description: bytes) -> None:
    """A pickle numbers its objects, and a damaged number would ask for all of the memory."""
    for opcode, number, _ in pickletools.genops(description):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(number or 0) > len(description):
            raise ValueError(f"an object has the number {number}")


def _why_no_archive(path: Path, head: bytes) -> str:
    if head.startswith(b"PK"):
        return f"{path} is truncated or damaged: no whole zip archive. Fetch or save it again."
    if head == BEFORE_1_6:
        return (
            f"{path} is in the format before torch 1.6, which only torch reads: save it there"
            " again, torch.save(torch.load(path, weights_only=True), path)."
        )
    return f"{path} is no zip archive, as torch.save writes them: it starts with {head[:8]!r}."
