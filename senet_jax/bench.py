"""Images a second on this machine: `python -m senet_jax bench`, and what every benchmark needs.

A measurement is a `Run`, a function that does so many steps and waits for the last. Several are
timed in turns, so that a machine which slows down slows all of them alike.
"""

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled

from senet_jax.models import create_model

Run = Callable[[int], None]  # number of steps -> nothing, once they are done
Variables = dict[str, Any]
State = dict[str, Any]  # params, batch_stats, momentum
REPEATS = 3  # an SE-ResNet-50's eight programs are compiled and run in 3 minutes on 2 cores
LEARNING_RATE, MOMENTUM = 0.1, 0.9


class Timing(NamedTuple):
    """How long a step took.

    Attributes:
      seconds: of every repeat.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third, within the smallest and the largest."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        first, _, third = statistics.quantiles(self.seconds, method="inclusive")
        return first, third


def interleaved(
    runs: Mapping[str, Run], repeats: int, *, least_seconds: float = 0.0
) -> dict[str, Timing]:
    """Seconds a step of each, all taking turns; each is run once before, unmeasured.

    Args:
      least_seconds: a repeat does as many steps as take so long.
    """
    steps = {name: _steps(run, least_seconds) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            seconds[name].append(_seconds(run, steps[name]) / steps[name])
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _steps(run: Run, least_seconds: float) -> int:
    run(1)
    if not least_seconds:
        return 1
    return max(1, round(least_seconds / _seconds(run, 1)))


def _seconds(run: Run, steps: int) -> float:
    start = time.perf_counter()
    run(steps)
    return time.perf_counter() - start


def new_variables(model: nn.Module, images: Any) -> Variables:
    """Random kernels and fresh statistics, without compiling an initialisation, which takes longer
    than a step's.

    Args:
      images: `[N, H, W, C]`, of which only shape and dtype count.
    """
    rng = np.random.default_rng(0)

    def value(path, leaf):
        if len(leaf.shape) > 1:
            scale = math.prod(leaf.shape[:-1]) ** -0.5
            return jnp.asarray(scale * rng.standard_normal(leaf.shape, np.float32), leaf.dtype)
        return jnp.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)

    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree_util.tree_map_with_path(value, dict(shapes))


def new_state(variables: Variables) -> State:
    """What `train_step` starts from, in arrays of its own."""
    copies = jax.tree.map(jnp.copy, variables)
    momentum = jax.tree.map(jnp.zeros_like, copies["params"])
    return {"batch_stats": {}, **copies, "momentum": momentum}


def train_step(
    model: nn.Module, state: State, images: jax.Array, labels: jax.Array
) -> tuple[State, jax.Array]:
    """A step of SGD with momentum for images `[N, H, W, C]` and labels int32 `[N]`."""

    def loss_of(params):
        logits, updates = model.apply(
            {"params": params, "batch_stats": state["batch_stats"]},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        right = labels[:, None] == jnp.arange(logits.shape[-1])[None]
        losses = jax.nn.logsumexp(logits, axis=-1) - jnp.sum(jnp.where(right, logits, 0), axis=-1)
        return jnp.mean(losses), updates.get("batch_stats", {})

    (loss, stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(state["params"])
    with jax.named_scope("optimizer"):
        momentum = jax.tree.map(lambda m, g: MOMENTUM * m + g, state["momentum"], gradients)
        params = jax.tree.map(lambda p, m: p - LEARNING_RATE * m, state["params"], momentum)
    return {"params": params, "batch_stats": stats, "momentum": momentum}, loss


def compiled_inference(model: nn.Module, variables: Variables, images: Any) -> Compiled:
    """The network in inference mode, for arrays or shapes alone."""
    return jax.jit(partial(model.apply, train=False)).lower(variables, images).compile()


def compiled_training(model: nn.Module, state: State, images: Any, labels: Any) -> Compiled:
    """`train_step`, for arrays or shapes alone; uses up the state that it is given."""
    step = jax.jit(partial(train_step, model), donate_argnums=0)
    return step.lower(state, images, labels).compile()


def inference(compiled: Compiled, variables: Variables, images: jax.Array) -> Run:
    """Runs `compiled_inference` on the same images again and again."""

    def run(steps):
        for _ in range(steps):
            logits = compiled(variables, images)
        jax.block_until_ready(logits)

    return run


def training(compiled: Compiled, state: State, images: jax.Array, labels: jax.Array) -> Run:
    """Runs `compiled_training` from state to state, on the same images."""

    def run(steps):
        nonlocal state
        for _ in range(steps):
            state, _ = compiled(state, images, labels)
        jax.block_until_ready(state)

    return run


def example_batch(model: nn.Module, batch: int, size: int) -> tuple[jax.Array, jax.Array]:
    """Random images `[batch, size, size, 3]` in the model's dtype, and labels int32 `[batch]`."""
    dtype = jnp.dtype(getattr(model, "dtype", "float32"))
    images = jax.random.normal(jax.random.key(1), (batch, size, size, 3)).astype(dtype)
    classes: int = getattr(model, "num_classes", 1000)
    return images, jnp.arange(batch, dtype=jnp.int32) % classes


def machine() -> dict[str, Any]:
    """Versions and devices, for a report."""
    device = jax.devices()[0]
    return {
        "jax": jax.__version__,
        "flax": flax.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "backend": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
    }


def report(name: str, batch: int, size: int, *, repeats: int = REPEATS) -> Iterator[str]:
    """Lines of a Markdown table: a network's images/s with and without its attention, each with
    batch norm fused into the block's tail and the usual way, on one device.

    Args:
      name: of the model; bfloat16 on an accelerator, float32 on a CPU.
      batch: images in a batch.
      size: their height and width, pixels.

    Raises:
      ValueError: no such model, or it takes no images of this size.
    """
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    models = _variants(name, dtype)
    yield ", ".join(f"{key} {value}" for key, value in machine().items())
    yield f"{name}, batch {batch}, {size} x {size}, {dtype}, medians of {repeats} in turns"
    images, labels = example_batch(next(iter(models.values())), batch, size)
    variables = {case: new_variables(model, images) for case, model in models.items()}
    runs = {}
    for case, model in models.items():
        compiled = compiled_inference(model, variables[case], images)
        runs[case] = inference(compiled, variables[case], images)
    evaluated = interleaved(runs, repeats, least_seconds=0.5)
    for case, model in models.items():
        state = new_state(variables[case])
        compiled = compiled_training(model, state, images, labels)
        runs[case] = training(compiled, state, images, labels)
    trained = interleaved(runs, repeats)
    yield ""
    yield table_line(["network", "inference, images/s", "ratio", "training, images/s", "ratio"])
    yield table_line([":---", "---:", "---:", "---:", "---:"])
    *_, base = models  # without attention, the usual way
    for case in models:
        cells = [case]
        for timings in (evaluated, trained):
            cells.append(f"{batch / timings[case].median:.2f}")
            cells.append(f"{timings[base].median / timings[case].median:.3f}")
        yield table_line(cells)


def _variants(name: str, dtype: str) -> dict[str, nn.Module]:
    """By description; last what the others are compared with."""
    networks: dict[str, dict[str, Any]] = {name: {}}
    if getattr(create_model(name), "attention", None) is not None:
        networks[f"{name} without attention"] = {"attention": None}
    return {
        f"{network}, {'fused' if fused else 'the usual way'}": create_model(
            name, fused=fused, dtype=dtype, **options
        )
        for network, options in networks.items()
        for fused in (True, False)
    }


def table_line(cells: Sequence[object]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"
