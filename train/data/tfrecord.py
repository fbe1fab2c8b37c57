"""TFRecord files, read without TensorFlow.

Each record is framed by its length (uint64), a checksum of that, the bytes, and a checksum of those
(https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details). The one of the
length is compared, since a wrong length would turn all that follows into noise; that of the bytes
is not: in Python it would take longer than all else.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from train.errors import WrongInput

HEADER = struct.Struct("<QI")
CHECKSUM = 4


def records(file: Path) -> Iterator[bytes]:
    """The records of a file, one by one.

    Raises:
      WrongInput: it is damaged or no such file.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        while header := opened.read(HEADER.size):
            start = opened.tell() - len(header)
            if len(header) < HEADER.size:
                raise _damaged(file, start, "the file ends inside a record")
            length, checksum = HEADER.unpack(header)
            if masked(crc32c(header[:8])) != checksum:
                raise _damaged(file, start, "a record's length does not agree with its checksum")
            if size - opened.tell() < length + CHECKSUM:
                raise _damaged(file, start, "the file ends inside a record")
            yield opened.read(length)
            opened.seek(CHECKSUM, 1)


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum, as in RFC 3720, section 12.1."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """As the format stores it, so that checksums of checksums are no weakness."""
    rotated = (checksum >> 15) | (checksum << 17)
    return (rotated + 0xA282EAD8) & 0xFFFFFFFF


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_table_entry, range(256)))


def _damaged(file: Path, place: int, reason: str) -> WrongInput:
    return WrongInput(
        f"{file} is damaged at byte {place:,}: {reason}. Prepare the data set again, or copy the"
        " file again."
    )
