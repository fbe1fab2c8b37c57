"""Throughput on one GPU beside timm's: python -m benchmarks.gpu. Needs torch and timm.

Tiny, to see that it runs: python -m benchmarks.gpu --device cpu --models seresnet18 --batch 2
--size 64 --repeats 2 --seconds 0 --timm eager
"""

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch wants memory, too

import jax

from benchmarks import throughput
from benchmarks.report import parser


def main() -> None:
    made = parser("gpu", "Measures networks on a GPU: ours and timm's, in turns.")
    made.add_argument("--device", default="gpu", choices=["gpu", "cpu"])
    throughput.add_options(
        made,
        timm=["eager", "folded", "compiled"],
        steps=["train", "inference"],
        batch=[32, 64, 128, 256],
        dtype="bfloat16",
        repeats=7,
        seconds=1.0,
    )
    options = made.parse_args()
    if jax.default_backend() != options.device:
        made.error(
            f"jax runs on {jax.default_backend()!r}: install senet_jax[cuda] for a GPU, or say"
            " --device cpu, with JAX_PLATFORMS=cpu where there is a GPU."
        )
    throughput.measure("gpu", options, "cuda" if options.device == "gpu" else "cpu")


if __name__ == "__main__":
    main()
