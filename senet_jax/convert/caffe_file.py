"""What Caffe wrote, read without Caffe and without protobuf.

A `.caffemodel` is protobuf's wire format: fields one after the other, each a key (the field's
number and how long its value is) and a value, which can be a message of fields again. Of
src/caffe/proto/caffe.proto these are read, and all others skipped:

    NetParameter    layers = 2 (Caffe before 2015, refused), layer = 100
    LayerParameter  name = 1, blobs = 7
    BlobProto       shape = 7, data = 5 or double_data = 8; before shape: num, channels, height,
                    width = 1, 2, 3, 4
    BlobShape       dim = 1
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SUFFIX = ".caffemodel"
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5  # how long a value is, in its key
FIXED = {EIGHT_BYTES: 8, FOUR_BYTES: 4}
MOST_AXES = 32  # Caffe's kMaxBlobAxes

Field = tuple[int, int, int | memoryview]  # number, kind, value


def read_caffemodel(path: str | Path) -> dict[str, list[np.ndarray]]:
    """The weights in a file: a list of arrays ("blobs") by layer, with Caffe's names and axes.

    Args:
      path: of a `.caffemodel`, as Caffe's solver and `Net.save` write it.

    Returns:
      float32 (float64 where `double_data` is stored); layers without weights are left out. Blobs of
      Caffe before 2015 have four axes: a bias is `[1, 1, 1, C]`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is truncated, of another format or of Caffe before 2015, or holds no
        weights; says which.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: expected a {SUFFIX}.")
    content = path.read_bytes()
    try:
        blobs = _network(memoryview(content))
    except _OldLayers:
        raise ValueError(
            f"{path} has the layers of Caffe before 2015 (V1LayerParameter): rewrite it with"
            " Caffe's tool upgrade_net_proto_binary."
        ) from None
    except _Damaged as fault:
        raise ValueError(
            f"{path} is truncated or no {SUFFIX} ({fault}; it starts with {content[:8]!r}): fetch"
            " or save it again."
        ) from None
    if not blobs:
        raise ValueError(f"{path} holds no layer with weights: expected a trained {SUFFIX}.")
    return blobs


class _Damaged(Exception):
    """The bytes are no such message."""


class _OldLayers(Exception):
    """The network is in the format before LayerParameter."""


def _network(message: memoryview) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for number, kind, value in _fields(message):
        if number == 2:
            raise _OldLayers
        if number == 100:
            name, blobs = _layer(_bytes(kind, value))
            if blobs and name in found:
                raise _Damaged(f"two layers are called {name!r}")
            if blobs:
                found[name] = blobs
    return found


def _layer(message: memoryview) -> tuple[str, list[np.ndarray]]:
    name, blobs = "", []
    for number, kind, value in _fields(message):
        if number == 1:
            try:
                name = str(_bytes(kind, value), "utf-8")
            except UnicodeDecodeError:
                raise _Damaged("the name of a layer is no text") from None
        elif number == 7:
            blobs.append(_blob(_bytes(kind, value)))
    return name, blobs


def _blob(message: memoryview) -> np.ndarray:
    singles: list[memoryview] = []
    doubles: list[memoryview] = []
    shape: list[int] = []
    old_shape: dict[int, int] = {}
    for number, kind, value in _fields(message):
        if number == 5:
            singles.append(_numbers(kind, value, FOUR_BYTES))
        elif number == 8:
            doubles.append(_numbers(kind, value, EIGHT_BYTES))
        elif number == 7:
            shape += _dimensions(_bytes(kind, value))
        elif number in (1, 2, 3, 4):
            old_shape[number] = _integer(kind, value)
    if old_shape:  # which Caffe prefers; what is not stored is 0
        shape = [old_shape.get(number, 0) for number in (1, 2, 3, 4)]
    values = np.frombuffer(bytearray().join(doubles or singles), "<f8" if doubles else "<f4")
    if len(shape) > MOST_AXES:
        raise _Damaged(f"a blob with {len(shape)} axes")
    if 0 in shape or math.prod(shape) != len(values):
        raise _Damaged(f"a blob of the shape {tuple(shape)} with {len(values)} values")
    return values.reshape(shape)


def _dimensions(message: memoryview) -> list[int]:
    shape: list[int] = []
    for number, kind, value in _fields(message):
        if number == 1 and isinstance(value, int):
            shape.append(value)
        elif number == 1:
            packed, position = _bytes(kind, value), 0
            while position < len(packed):
                dimension, position = _varint(packed, position)
                shape.append(dimension)
    return shape


def _fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message in turn; nothing is copied."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if number == 0 or kind not in (VARINT, BYTES, *FIXED):
            raise _Damaged(f"an unknown key {key}")
        value: int | memoryview
        if kind == VARINT:
            value, position = _varint(message, position)
        else:
            length = FIXED.get(kind, 0)
            if kind == BYTES:
                length, position = _varint(message, position)
            if length > len(message) - position:
                raise _Damaged(f"{length} bytes are expected where {len(message) - position} are")
            value = message[position : position + length]
            position += length
        yield number, kind, value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """An integer of seven bits a byte, lowest first, and the position after it."""
    value = 0
    for i, byte in enumerate(message[position : position + 10]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, position + i + 1
    raise _Damaged("an integer without an end")


def _numbers(kind: int, value: int | memoryview, single: int) -> memoryview:
    """The bytes of floats, one or many ("packed")."""
    if kind not in (single, BYTES) or not isinstance(value, memoryview):
        raise _Damaged("a blob whose values are no floats")
    if len(value) % FIXED[single]:
        raise _Damaged("a blob whose values are cut")
    return value


def _bytes(kind: int, value: int | memoryview) -> memoryview:
    if kind != BYTES or not isinstance(value, memoryview):
        raise _Damaged("a field of another kind")
    return value


def _integer(kind: int, value: int | memoryview) -> int:
    if kind != VARINT or not isinstance(value, int):
        raise _Damaged("a field of another kind")
    return value
