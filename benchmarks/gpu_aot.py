"""Bytes that a step's kernels move on an H100 or H200: python -m benchmarks.gpu_aot.

Needs benchmarks/requirements-aot.txt and no GPU. A training step of a ResNet-50 compiles in a
minute on two idle cores. No times are claimed: autotuning is skipped, and caches are not seen.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported: it would look for a driver

from importlib.metadata import version

import jax
from jax.sharding import SingleDeviceSharding

from benchmarks import gpu_target, programs
from benchmarks.gpu_kernels import KINDS, Kernel, kernels
from benchmarks.report import Report, parser
from benchmarks.roofline import peak_bytes

COLUMNS = {
    "card": "card",
    "network": "network",
    "way": "way",
    "step": "step",
    "gb": "GB",
    "count": "kernels",
    "peak_gib": "peak, GiB",
    **{kind: f"{kind}: GB (kernels)" for kind in KINDS},
}


def main() -> None:
    options = _options()
    chosen = list(programs.chosen(options))
    versions = {"jax-cuda12-plugin": version("jax-cuda12-plugin")}
    report = Report("gpu_aot", options, COLUMNS, versions)
    for card in options.cards:
        there = SingleDeviceSharding(gpu_target.device(card))

        def place(x, there=there):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there)

        for program in chosen:
            compiled = programs.compiled(program, options.batch, options.size, place, place)
            found = list(kernels(compiled.as_text()))
            report.add(
                card=card,
                **program.row,
                gb=sum(k.read + k.written for k in found) / 1e9,
                count=len(found),
                peak_gib=peak_bytes(compiled) / 2**30,
                **{kind: _summary([k for k in found if k.kind == kind]) for kind in KINDS},
                kernels=[k._asdict() for k in found],
            )
            if options.kernels:
                _print(found)


def _summary(found: list[Kernel]) -> str | None:
    size = sum(k.read + k.written for k in found)
    return f"{size / 1e9:.2f} ({len(found)})" if found else None


def _print(found: list[Kernel]) -> None:
    for k in sorted(found, key=lambda k: -k.read - k.written):
        print(
            f"  {k.kind:18} reads {k.read / 1e6:8.2f} MB, writes {k.written / 1e6:8.2f} MB"
            f"  {k.name}  {k.op_name}"
        )


def _options():
    made = parser("gpu_aot", "Compiles steps for NVIDIA GPUs and counts the bytes they move.")
    programs.add_options(made)
    made.add_argument("--cards", nargs="+", default=["h200"], choices=list(gpu_target.CARDS))
    made.add_argument("--kernels", action="store_true", help="list them, the largest first")
    return made.parse_args()


if __name__ == "__main__":
    main()
