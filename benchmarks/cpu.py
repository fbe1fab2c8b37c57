"""Throughput on this machine's CPU beside timm's, which it needs: python -m benchmarks.cpu."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported

from benchmarks import throughput
from benchmarks.report import parser


def main() -> None:
    made = parser("cpu", "Measures networks on the CPU: ours and timm's, in turns.")
    throughput.add_options(
        made,
        timm=["eager", "folded"],
        steps=["inference"],
        batch=[1, 8],
        dtype="float32",
        repeats=7,
        seconds=1.0,
    )
    throughput.measure("cpu", made.parse_args(), "cpu")


if __name__ == "__main__":
    main()
