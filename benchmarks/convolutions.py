"""Convolutions, forward and backward, beside torch's: python -m benchmarks.convolutions."""

from typing import NamedTuple

import jax
import torch

from benchmarks.opponents import use_all_threads
from benchmarks.report import Report, count, parser, timing_row
from senet_jax.bench import Run, interleaved
from senet_jax.layers import Conv


class Kind(NamedTuple):
    """A convolution of square maps; one of a ResNet-50, a ResNeXt-50 or a MobileNet."""

    kernel: int
    channels: int
    features: int
    size: int
    strides: int = 1
    groups: int = 1


KINDS = {
    "stem 7x7, stride 2": Kind(7, 3, 64, 224, strides=2),
    "1x1 narrowing": Kind(1, 256, 64, 56),
    "1x1 widening": Kind(1, 64, 256, 56),
    "1x1 widening, late": Kind(1, 512, 2048, 7),
    "3x3": Kind(3, 64, 64, 56),
    "3x3, late": Kind(3, 512, 512, 7),
    "3x3, stride 2": Kind(3, 128, 128, 56, strides=2),
    "3x3, 32 groups": Kind(3, 128, 128, 56, groups=32),
    "3x3 depthwise": Kind(3, 96, 96, 56, groups=96),
    "5x5 depthwise": Kind(5, 240, 240, 28, groups=240),
}
COLUMNS = {
    "kind": "convolution",
    "direction": "direction",
    "by": "by",
    "median_ms": "median, ms",
    "quartiles_ms": "quartiles, ms",
    "ratio": "times torch's",
}


def main() -> None:
    made = parser("convolutions", "Times convolutions in float32 on the CPU: ours and torch's.")
    made.add_argument("--batch", type=count, default=8, help="images")
    made.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    made.add_argument("--repeats", type=count, default=7)
    made.add_argument("--seconds", type=float, default=0.2, help="a repeat takes at least")
    options = made.parse_args()
    use_all_threads()
    report = Report("convolutions", options, COLUMNS, {"torch": torch.__version__})
    for name in options.kinds:
        kind = KINDS[name]
        for direction in ("forward", "backward"):
            back = direction == "backward"
            runs = {"ours": _ours(kind, options.batch, back)}
            runs["torch"] = _torchs(kind, options.batch, back)
            timings = interleaved(runs, options.repeats, least_seconds=options.seconds)
            for by, timing in timings.items():
                row = timing_row(timing, options.batch, timings["torch"])
                report.add(kind=name, direction=direction, by=by, **row)


def _ours(kind: Kind, batch: int, back: bool) -> Run:
    """The convolution, or the gradients by kernel and features."""
    conv = Conv(kind.features, kind.kernel, kind.strides, kind.groups)
    x = jax.random.normal(jax.random.key(0), (batch, kind.size, kind.size, kind.channels))
    variables = conv.init(jax.random.key(1), x)
    g = jax.random.normal(jax.random.key(2), jax.eval_shape(conv.apply, variables, x).shape)

    def backward(variables, x, g):
        return jax.vjp(conv.apply, variables, x)[1](g)

    step = jax.jit(backward) if back else jax.jit(lambda variables, x, g: conv.apply(variables, x))

    def run(steps):
        for _ in range(steps):
            out = step(variables, x, g)
        jax.block_until_ready(out)

    return run


def _torchs(kind: Kind, batch: int, back: bool) -> Run:
    """The same in channels_last; what is computed forward counts on neither side."""
    conv = torch.nn.Conv2d(
        kind.channels,
        kind.features,
        kind.kernel,
        kind.strides,
        padding=kind.kernel // 2,
        groups=kind.groups,
        bias=False,
    ).to(memory_format=torch.channels_last)
    x = torch.randn(batch, kind.channels, kind.size, kind.size)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_(back)
    out = conv(x)
    g = torch.randn_like(out)

    def run(steps):
        for _ in range(steps):
            if back:
                torch.autograd.grad(out, (conv.weight, x), g, retain_graph=True)
            else:
                with torch.inference_mode():
                    conv(x)

    return run


if __name__ == "__main__":
    main()
