"""A GPU program's kernels by what they are for, so that a pass too many is seen."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.compiled_text import (
    HIDES_A_PROGRAM,
    Instruction,
    computations,
    entry,
    operations,
    traffic,
)

KINDS = (
    "convolution",
    "matrix product",
    "own kernel",  # by Pallas
    "reduction",  # statistics, squeezes and their gradients, with what is computed on the way
    "tail",  # elementwise on feature maps
    "pooling",
    "optimizer, copies",
    "hidden",  # loops and calls, whose kernels are not counted
    "other",
)
MOVES = {"transpose", "convert", "copy", "broadcast", "reshape", "bitcast", "slice", "concatenate"}
MOVES |= {"parameter", "constant", "tuple", "get-tuple-element", "pad"}


class Kernel(NamedTuple):
    """A kernel; bytes are those of its operands and results, each once."""

    name: str
    kind: str
    read: int
    written: int
    op_name: str


def kernels(text: str) -> Iterator[Kernel]:
    """All kernels of a compiled program's text.

    A convolution's workspace, what the cache holds and what a kernel reads twice are not seen.
    """
    inner = computations(text)
    for instruction, moved in traffic(entry(text)):
        kind = _kind(instruction, inner.get(instruction.called, ""))
        yield Kernel(instruction.name, kind, moved.read, moved.written, instruction.op_name)


def _kind(instruction: Instruction, computation: str) -> str:
    inside = operations(computation)
    if "cudnn$conv" in instruction.target:
        return "convolution"
    if re.search("gemm|matmul", instruction.target + instruction.name) or "dot" in inside:
        return "matrix product"
    if "triton" in instruction.target:
        return "own kernel"
    if instruction.op in HIDES_A_PROGRAM:
        return "hidden"
    if "pool" in instruction.op_name or inside & {"reduce-window", "select-and-scatter"}:
        return "pooling"
    moves_alone = inside <= MOVES if inside else instruction.op in MOVES
    if moves_alone or "/optimizer/" in instruction.op_name + computation:
        return "optimizer, copies"
    if "reduce" in inside or instruction.op == "reduce":
        return "reduction"
    if any(len(array.dims) == 4 for array in instruction.results):
        return "tail"
    return "other"
