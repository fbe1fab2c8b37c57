"""The least time that a GPU could take for a program: its operations, or the bytes it moves."""

from typing import NamedTuple

import flax.linen as nn
import jax

from benchmarks.gpu_kernels import kernels
from senet_jax.summary import multiply_adds


class Chip(NamedTuple):
    """What a data sheet promises: bfloat16 operations without sparsity per second, bytes/s."""

    operations: float
    bandwidth: float


CHIPS = {"H200": Chip(989e12, 4.8e12), "H100": Chip(989e12, 3.35e12), "A100": Chip(312e12, 2.0e12)}


class Work(NamedTuple):
    """A step of a network; "train" is counted as three times "inference"."""

    model: nn.Module
    size: int
    batch: int
    step: str

    @property
    def operations(self) -> float:
        passes = 3 if self.step == "train" else 1
        return 2.0 * passes * self.batch * multiply_adds(self.model, self.size)


def least_seconds(compiled: jax.stages.Compiled, work: Work) -> float | None:
    """By the larger of the two; None on chips that are not in the table."""
    kind = jax.devices()[0].device_kind
    chip = next((chip for name, chip in CHIPS.items() if name in kind), None)
    if chip is None:
        return None
    moved = sum(kernel.read + kernel.written for kernel in kernels(compiled.as_text()))
    return max(work.operations / chip.operations, moved / chip.bandwidth)


def peak_bytes(compiled: jax.stages.Compiled) -> int:
    """Device memory for arguments, results and everything between, as the compiler plans it."""
    memory = compiled.memory_analysis()
    sizes = (memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes)
    return sum(sizes) - memory.alias_size_in_bytes
