"""A bottleneck's tail alone, forward and backward, by stage: python -m benchmarks.tails.

The 1x1 convolution that widens, batch norm, SE, shortcut and ReLU, in turns the ways that
`benchmarks.ways` has. Only the library is needed; on a GPU and on a CPU.
"""

from typing import Any

import flax.linen as nn
import jax

from benchmarks.report import Report, count, parser, timing_row
from benchmarks.ways import EVERYWHERE, WAYS, traced
from senet_jax.bench import Run, interleaved
from senet_jax.fused import finish
from senet_jax.layers import BatchNorm, Conv, SEBlock

# pixels, channels in, channels out of a ResNet-50's stages
STAGES = {1: (56, 64, 256), 2: (28, 128, 512), 3: (14, 256, 1024), 4: (7, 512, 2048)}
COLUMNS = {
    "stage": "stage",
    "attention": "attention",
    "way": "way",
    "median_ms": "median, ms",
    "quartiles_ms": "quartiles, ms",
    "ratio": "times the first way, plain",
}


class Tail(nn.Module):
    """`[N, H, W, m]` and a shortcut `[N, H, W, features]` -> `[N, H, W, features]`."""

    features: int
    attention: bool
    fused: bool | str
    dtype: str

    @nn.compact
    def __call__(self, y: jax.Array, shortcut: jax.Array) -> jax.Array:
        x = Conv(self.features, 1, deferred=True, dtype=self.dtype, name="conv")(y)
        u = BatchNorm(fused=self.fused, name="bn")(x)
        return finish(SEBlock(name="se")(u) if self.attention else u, shortcut)


def main() -> None:
    made = parser("tails", "Times a block's tail, forward and backward.")
    made.add_argument("--batch", type=count, default=64, help="images")
    made.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    made.add_argument("--ways", nargs="+", default=EVERYWHERE, choices=list(WAYS))
    made.add_argument("--stages", nargs="+", type=int, default=list(STAGES), choices=list(STAGES))
    made.add_argument("--repeats", type=count, default=7)
    made.add_argument("--seconds", type=float, default=0.2, help="a repeat takes at least")
    options = made.parse_args()
    report = Report("tails", options, COLUMNS)
    for stage in options.stages:
        cases = [(attention, way) for attention in ("plain", "SE") for way in options.ways]
        runs: dict[Any, Run] = {case: _run(stage, *case, options) for case in cases}
        timings = interleaved(runs, options.repeats, least_seconds=options.seconds)
        base = timings["plain", options.ways[0]]
        for (attention, way), timing in timings.items():
            row = timing_row(timing, options.batch, base)
            report.add(stage=stage, attention=attention, way=way, **row)


def _run(stage: int, attention: str, way: str, options: Any) -> Run:
    size, inner, outer = STAGES[stage]
    tail = Tail(outer, attention == "SE", WAYS[way], options.dtype)
    key = jax.random.key(0)
    y, shortcut, g = (
        jax.random.normal(key, (options.batch, size, size, channels), options.dtype)
        for channels in (inner, outer, outer)
    )
    variables = jax.jit(tail.init)(key, y, shortcut)

    def there_and_back(variables, y, shortcut, g):
        def forward(params, y, shortcut):
            both = {**variables, "params": params}
            return tail.apply(both, y, shortcut, mutable=["batch_stats"])

        out, back, stats = jax.vjp(forward, variables["params"], y, shortcut, has_aux=True)
        return out, stats, back(g)

    with traced(way):
        compiled = jax.jit(there_and_back).lower(variables, y, shortcut, g).compile()

    def run(steps):
        for _ in range(steps):
            out = compiled(variables, y, shortcut, g)
        jax.block_until_ready(out)

    return run


if __name__ == "__main__":
    main()
