"""Images a second of our networks and timm's, with and without attention, measured in turns."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks import opponents, roofline
from benchmarks.report import Report, count, timing_row
from benchmarks.ways import WAYS, network, traced
from senet_jax import bench
from senet_jax.bench import Run, Timing, interleaved
from senet_jax.inference import fold_batch_norm

COLUMNS = {
    "step": "step",
    "batch": "batch",
    "network": "network",
    "by": "computed by",
    "images_per_second": "images/s",
    "ratio": "times timm's best",
    "to_plain": "times ours, plain, the usual way",
    "median_ms": "median, ms",
    "quartiles_ms": "quartiles, ms",
    "peak_gib": "peak, GiB",
    "roofline": "share of roofline",
}
TIMM = {"inference": ("eager", "folded", "compiled"), "train": ("eager", "compiled")}


class Case(NamedTuple):
    """A network computed by someone one way.

    Attributes:
      by: "ours, <way>" or "timm, <way>".
      peak_gib: device memory, where it is known.
      least_seconds: a step's on this chip, where that is known; see `benchmarks.roofline`.
    """

    network: str
    by: str
    run: Run
    peak_gib: float | None = None
    least_seconds: float | None = None


def add_options(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """What to measure; the defaults are the device's."""
    add = parser.add_argument
    add("--models", nargs="+", metavar="NAME", help="SE networks")
    add("--ways", nargs="+", choices=list(WAYS), help="of computing a block, ours")
    add("--timm", nargs="*", choices=TIMM["inference"], help="timm's ways; none without a name")
    add("--steps", nargs="+", choices=["train", "inference"])
    add("--batch", nargs="+", type=count, help="images")
    add("--size", type=count, help="pixels")
    add("--dtype", choices=["float32", "bfloat16"])
    add("--repeats", type=count, help="of every measurement")
    add("--seconds", type=float, help="a repeat takes at least")
    parser.set_defaults(models=["seresnet50"], ways=["usual", "product"], size=224, **defaults)


def measure(name: str, options: argparse.Namespace, device: str) -> None:
    """Prints and writes all that the options ask for; `device` is torch's name for it."""
    opponents.use_all_threads()
    report = Report(name, options, COLUMNS, opponents.VERSIONS)
    for model in options.models:
        for step in options.steps:
            for batch in options.batch:
                cases = list(_cases(model, step, batch, options, device))
                runs = {f"{c.network}, {c.by}": c.run for c in cases}
                timings = interleaved(runs, options.repeats, least_seconds=options.seconds)
                for row in _rows(cases, list(timings.values()), batch):
                    report.add(model=model, step=step, batch=batch, **row)


def _cases(
    name: str, step: str, batch: int, options: argparse.Namespace, device: str
) -> Iterator[Case]:
    for attention in (True, False):
        title = "SE" if attention else "plain"
        for way in options.ways:
            model = network(name, way, attention=attention, dtype=options.dtype)
            with traced(way):
                case = _ours(title, way, model, step, batch, options.size)
            yield case
            if step == "inference" and way == options.ways[-1]:
                yield _ours(title, "folded", model, step, batch, options.size)
        theirs = name if attention else opponents.plain_name(name)
        made = opponents.trainings if step == "train" else opponents.evaluations
        ways = tuple(way for way in options.timm if way in TIMM[step])
        half = options.dtype == "bfloat16"
        if theirs:
            for way, run in made(theirs, batch, options.size, device, half, ways):
                peak = opponents.peak_gib(run, device)
                yield Case(title, f"timm, {way}", run, peak)


def _ours(title: str, way: str, model: nn.Module, step: str, batch: int, size: int) -> Case:
    images, labels = bench.example_batch(model, batch, size)
    variables = bench.new_variables(model, images)
    work = roofline.Work(model, size, batch, step)
    if step == "train":
        state = bench.new_state(variables)
        compiled = bench.compiled_training(model, state, images, labels)
        run = bench.training(compiled, state, images, labels)
    else:
        if way == "folded":
            model, variables = fold_batch_norm(model, variables, images=images)
            variables = _kernels_as(variables, images.dtype)
        compiled = bench.compiled_inference(model, variables, images)
        run = bench.inference(compiled, variables, images)
    memory = roofline.peak_bytes(compiled) / 2**30
    return Case(title, f"ours, {way}", run, memory, roofline.least_seconds(compiled, work))


def _kernels_as(variables: Mapping[str, Any], dtype: jnp.dtype) -> Any:
    """Kernels stored as they are computed with."""
    return jax.tree.map(lambda v: v.astype(dtype) if v.ndim == 4 else v, variables)


def _rows(cases: list[Case], timings: list[Timing], batch: int) -> Iterator[dict[str, Any]]:
    medians = {(c.network, c.by): t.median for c, t in zip(cases, timings, strict=True)}
    plain = medians.get(("plain", "ours, usual"))
    for case, timing in zip(cases, timings, strict=True):
        rivals = [
            median
            for (network, by), median in medians.items()
            if network == case.network and by.startswith("timm")
        ]
        yield {
            "network": case.network,
            "by": case.by,
            **timing_row(timing, batch),
            "ratio": min(rivals) / timing.median if rivals else None,
            "to_plain": plain / timing.median if plain else None,
            "peak_gib": case.peak_gib,
            "roofline": case.least_seconds / timing.median if case.least_seconds else None,
        }
