"""What steps cost on a TPU v5e, by its compiler's own estimates: python -m benchmarks.tpu_aot.

Needs benchmarks/requirements-aot.txt and no TPU. A training step of a ResNet-50 compiles in two
minutes on two idle cores. libtpu holds a lock file in the temporary folder: one run at a time.
"""

import os
from importlib.metadata import version

# before jax is imported: libtpu would look for chips
os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
os.environ |= {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")

import sys
from collections import Counter
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks import compiled_text, programs
from benchmarks.compiled_text import HIDES_A_PROGRAM, Instruction, entry, traffic
from benchmarks.report import Report, parser
from benchmarks.roofline import peak_bytes

COLUMNS = {
    "network": "network",
    "way": "way",
    "step": "step",
    "chips": "chips",
    "megacycles": "10^6 cycles",
    "hbm_gb": "HBM, GB",
    "accessed_gb": '"bytes accessed", GB',
    "tflop": "TFLOP",
    "peak_gib": "peak, GiB",
    "collectives": "collectives",
    "collective_mb": "MB in them",
}


def main() -> None:
    options = _options()
    chosen = programs.chosen(options)
    report = Report("tpu_aot", options, COLUMNS, {"libtpu": version("libtpu")})
    for program in chosen:
        for chips in options.chips:
            place, place_images = _placers(options.topology, chips)
            batch = options.batch * chips
            compiled = programs.compiled(program, batch, options.size, place, place_images)
            costs = measured(compiled)
            report.add(**program.row, chips=chips, **costs)
            if options.collectives:
                _print(costs["exchanged"])


def measured(compiled: jax.stages.Compiled) -> dict[str, Any]:
    """Costs of a step on each chip, as fields of a report."""
    text, analysis = compiled.as_text(), compiled.cost_analysis()
    instructions = entry(text)
    _warn_of_hidden_bytes(instructions)
    exchanges = compiled_text.collectives(text)
    sizes = [sum(array.bytes for array in exchange.results) for exchange in exchanges]
    return {
        "megacycles": sum(i.estimated_cycles for i in instructions) / 1e6,
        "hbm_gb": sum(moved.total for _, moved in traffic(instructions)) / 1e9,
        "accessed_gb": analysis["bytes accessed"] / 1e9,
        "tflop": analysis["flops"] / 1e12,
        "peak_gib": peak_bytes(compiled) / 2**30,
        "collectives": len(exchanges),
        "collective_mb": sum(sizes) / 1e6,
        "exchanged": [
            {"op": e.op, "bytes": size, "shapes": _shapes(e), "from": e.op_name}
            for e, size in zip(exchanges, sizes, strict=True)
        ],
    }


def _print(exchanged: list[dict[str, Any]]) -> None:
    for e in sorted(exchanged, key=lambda e: -e["bytes"]):
        shapes = ", ".join(e["shapes"][:3]) + (", ..." if len(e["shapes"]) > 3 else "")
        print(f"  {e['op']} of {e['bytes'] / 1e3:10.2f} kB: {shapes}  {e['from']}")


def _shapes(exchange: Instruction) -> list[str]:
    return [f"{array.dtype}{list(array.dims)}" for array in exchange.results]


def _warn_of_hidden_bytes(instructions: list[Instruction]) -> None:
    hidden = Counter(i.target for i in instructions if "tpu_custom_call" in i.target)
    hidden += Counter(i.op for i in instructions if i.op in HIDES_A_PROGRAM)
    for what, times in hidden.items():
        print(
            f"warning: {times} x {what}: what is read more than once inside, and its cycles and"
            " operations, are not counted.",
            file=sys.stderr,
        )


def _placers(topology: str, chips: int) -> tuple[programs.Place, programs.Place]:
    """For what is on every chip alike, and for what is cut along its first axis."""
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    if len(devices) < chips:
        raise ValueError(f"{topology} has {len(devices)} chips, not {chips}: name a larger one.")
    mesh = Mesh(np.array(devices[:chips]), ("data",))

    def place(spec: PartitionSpec, x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))

    return partial(place, PartitionSpec()), partial(place, PartitionSpec("data"))


def _options():
    made = parser("tpu_aot", "Compiles steps for a TPU v5e and prints what they cost on each chip.")
    programs.add_options(made)
    made.add_argument("--topology", default="v5e:2x4", help="of the chips")
    made.add_argument("--chips", nargs="+", type=int, default=[1], help="of them, to share a batch")
    made.add_argument(
        "--collectives", action="store_true", help="list the exchanges, the largest first"
    )
    return made.parse_args()


if __name__ == "__main__":
    main()
