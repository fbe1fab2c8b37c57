"""The text of a compiled XLA program: its instructions, and the bytes that they move."""

import math
import re
from typing import NamedTuple

WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
WIDTHS |= {"f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}
COLLECTIVES = {"all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter"}
NO_WORK = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
HIDES_A_PROGRAM = {"call", "conditional", "while"}


class Array(NamedTuple):
    """An operand or a result.

    Attributes:
      on_chip: it lies in a TPU's VMEM, not in HBM.
    """

    dtype: str
    dims: tuple[int, ...]
    on_chip: bool

    @property
    def bytes(self) -> int:
        return WIDTHS[self.dtype] * math.prod(self.dims)


class Instruction(NamedTuple):
    """An instruction of the entry computation: a kernel, a transfer, or nothing (`NO_WORK`).

    Attributes:
      operands: names of instructions, each once.
      op_name: where in the traced program it is from.
      text: the whole line.
    """

    name: str
    op: str
    operands: tuple[str, ...]
    results: tuple[Array, ...]
    op_name: str
    text: str

    @property
    def target(self) -> str:
        """Of a custom call."""
        return _field(r'custom_call_target="([^"]+)"', self.text)

    @property
    def called(self) -> str:
        """Name of the computation that a fusion computes."""
        return _field(r"calls=%?([\w.\-]+)", self.text)

    @property
    def estimated_cycles(self) -> int:
        """By a TPU's compiler; 0 where it gives none."""
        return int(_field(r'"estimated_cycles":"(\d+)"', self.text) or 0)


def entry(text: str) -> list[Instruction]:
    """The instructions of the entry computation.

    Raises:
      ValueError: this is no compiled program.
    """
    lines = re.sub(r"/\*index=\d+\*/", "", text).split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith("ENTRY")]
    if not starts:
        raise ValueError("The text has no ENTRY: expected that of jax.stages.Compiled.as_text().")
    body = lines[starts[0] + 1 :]
    found = (_instruction(line) for line in body[: body.index("}")])
    return [instruction for instruction in found if instruction is not None]


def computations(text: str) -> dict[str, str]:
    """The text of every computation but the entry, by name."""
    found = re.finditer(r"^%([\w.\-]+) \(.*?^}", text, re.M | re.S)
    return {match[1]: match[0] for match in found}


def collectives(text: str) -> list[Instruction]:
    """Every exchange between devices, in whichever computation it stands."""
    found = map(_instruction, re.sub(r"/\*index=\d+\*/", "", text).split("\n"))
    return [
        instruction
        for instruction in found
        if instruction is not None and instruction.op.removesuffix("-start") in COLLECTIVES
    ]


def operations(computation: str) -> set[str]:
    """Names of the operations in a computation's text."""
    return set(re.findall(r" = (?:\(.*?\)|\S+) ([\w\-]+)\(", computation))


class Traffic(NamedTuple):
    """Bytes that an instruction reads and writes, each operand and result once."""

    read: int
    written: int

    @property
    def total(self) -> int:
        return self.read + self.written


def traffic(instructions: list[Instruction]) -> list[tuple[Instruction, Traffic]]:
    """Of everything that works, bytes to and from memory; what lies on the chip counts nothing.

    A transfer counts where it starts, and nothing where it is done.
    """
    by_name = {instruction.name: instruction for instruction in instructions}

    def moved(instruction: Instruction) -> Traffic:
        if instruction.op == "copy-start":  # its result is (destination, source, context)
            written, read, *_ = (_off_chip((array,)) for array in instruction.results)
            return Traffic(read, written)
        if instruction.op.endswith("-start") and instruction.op != "all-reduce-start":
            # its result is ((operands), destination, context)
            inputs = sum(len(by_name[o].results) for o in instruction.operands if o in by_name)
            source, destination = instruction.results[:inputs], instruction.results[inputs:][:1]
            size = sum(array.bytes for array in destination)
            return Traffic(size if _off_chip(source) else 0, _off_chip(destination))
        operands = [by_name[o].results for o in instruction.operands if o in by_name]
        return Traffic(sum(map(_off_chip, operands)), _off_chip(instruction.results))

    return [
        (instruction, moved(instruction))
        for instruction in instructions
        if instruction.op not in NO_WORK and not instruction.op.endswith("-done")
    ]


def _off_chip(arrays: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in arrays if not array.on_chip)


def _instruction(line: str) -> Instruction | None:
    head = re.match(r"\s*(?:ROOT )?%([\w.\-]+) = ", line)
    if head is None:
        return None
    rest = line[head.end() :]
    cut = _closing(rest) if rest.startswith("(") else rest.index(" ")
    shape, call = rest[:cut], rest[cut:].lstrip()
    op = call[: call.index("(")]
    arguments = call[len(op) :]
    operands = re.findall(r"%([\w.\-]+)", arguments[: _closing(arguments)])
    return Instruction(
        head[1],
        op,
        tuple(dict.fromkeys(operands)),
        _arrays(shape),
        _field(r'op_name="([^"]*)"', line),
        line.strip(),
    )


def _closing(text: str) -> int:
    """The position after the bracket that closes the first one."""
    depth = 0
    for i, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return i + 1
    raise ValueError(f"{text[:60]!r}... has a bracket that is never closed.")


def _arrays(shape: str) -> tuple[Array, ...]:
    found = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\](\{[^}]*\})?", shape)
    return tuple(
        Array(dtype, tuple(int(n) for n in dims.split(",") if n), "S(" in layout)
        for dtype, dims, layout in found
        if dtype in WIDTHS
    )


def _field(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
