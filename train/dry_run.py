"""What a run would be, without running it: `python -m train --config=... --dry-run`.

The network by parts, the learning rate over the epochs, and what the compiler says of a step: its
memory on a device, and the largest batch that fits.
"""

import math
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled
from ml_collections import ConfigDict

from senet_jax.summary import multiply_adds
from train.check import batch_unit, check
from train.optimizer import Schedule
from train.parallel import Devices
from train.setup import Setup, make_recipe, set_up
from train.step import train_step

BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 60  # characters of the picture
SPARE = 0.05  # of the memory, for what the compiler does not count: batches under way, fragments
TRIES = 3


def dry_run(config: ConfigDict) -> None:
    """Prints it all.

    Raises:
      WrongInput: what a run would refuse.
    """
    check(config)
    setup = set_up(config)
    print(table_of(setup))
    print(f"\nLearning rate over {config.schedule.epochs} epochs, {setup.steps:,} steps:")
    print(picture_of(setup.recipe.schedule, setup.steps))
    batch, devices = config.data.batch_size, setup.devices.describe()
    print(f"\nA step of {batch} images, compiled for {devices}:")
    measure = partial(step_bytes, setup)
    used, memory = measure(batch), device_memory(setup.devices)
    print(f"{gib(used)} a device, of {gib(memory)}.", flush=True)
    unit = batch_unit(config)
    sizes = range(unit, max(setup.data.train_size, batch) + 1, unit)
    if largest := largest_batch(measure, memory * (1 - SPARE), sizes, batch):
        of_all = " (all that there are)" if largest == sizes[-1] else ""
        print(f"The largest batch that fits: --config.data.batch_size={largest}{of_all}")
    else:
        print("No batch fits: --config.model.options.remat=true, or a smaller network or image.")


def table_of(setup: Setup) -> str:
    """Parameters by part of the network, and what goes in and what it costs."""
    config, model, data = setup.config, setup.recipe.model, setup.data
    counts: Counter[str] = Counter()
    for path, leaf in jax.tree_util.tree_leaves_with_path(setup.like.params):
        counts[path[0].key] += math.prod(leaf.shape)
    levels = {level.name: level for level in model.feature_info}
    size, _, channels = data.image_shape
    lines = [
        f"{config.model.name} on images of {size}x{size}x{channels}, {data.num_classes} classes"
    ]
    for name in sorted(counts, key=lambda name: (name != "stem", name == "head", name)):
        level = levels.get(name)
        out = f"{level.channels:,} channels, stride {level.stride}" if level else ""
        lines.append(f"  {name:10}{counts[name]:>14,} parameters   {out}".rstrip())
    cost = multiply_adds(model, size, channels=channels) / 1e6
    lines.append(f"  {'in all':10}{counts.total():>14,} parameters   {cost:,.1f}e6 multiply-adds")
    return "\n".join(lines)


def picture_of(schedule: Schedule, steps: int) -> str:
    """The rate as a line of bars, and its largest and last values."""
    places = np.linspace(0, steps - 1, min(WIDTH, steps)).astype(int)
    rates = np.array([float(schedule(jnp.asarray(place))) for place in places])
    heights = np.ceil(rates / rates.max() * (len(BARS) - 1)).astype(int)
    bars = "".join(BARS[height] for height in heights)
    return f"|{bars}|  most {rates.max():.4g}, at the end {rates[-1]:.4g}"


def step_bytes(setup: Setup, batch_size: int) -> int:
    """Bytes that a step holds on each device: state, batch, and what is between."""
    memory = compiled_step(setup, batch_size).memory_analysis()
    assert memory is not None
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return held + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes


def compiled_step(setup: Setup, batch_size: int) -> Compiled:
    """The training step for a batch of this size; nothing is run."""
    shape = setup.data.training_batches.examples.image_shape
    batch = {
        "image": ((batch_size, *shape), jnp.uint8),
        "label": ((batch_size,), jnp.int32),
        "position": ((batch_size,), jnp.int32),
    }
    config = setup.config.copy_and_resolve_references().unlock()
    config.data.batch_size = batch_size
    recipe = make_recipe(config, setup.data, setup.devices)  # groups of statistics follow the batch
    step: Any = setup.devices.compile(partial(train_step, recipe), donate=True)
    return step.lower(setup.like, setup.devices.abstract_batch(batch)).compile()


def largest_batch(
    measure: Callable[[int], int], memory: float, sizes: range, start: int
) -> int | None:
    """The largest of the sizes whose step, compiled, takes no more than the memory.

    Bytes grow nearly in proportion to the images: a line through two sizes tells where to look, and
    what is found has been compiled itself.
    """
    half = sizes[max(0, (start // 2 - sizes[0]) // sizes.step)]
    other = half if half != start else sizes[min(1, len(sizes) - 1)]
    measured = {size: measure(size) for size in {start, other} & {*sizes}}
    for _ in range(TRIES):
        guess = _where_it_ends(measured, memory, sizes)
        if guess in measured:
            break
        measured[guess] = measure(guess)
    return max((size for size, used in measured.items() if used <= memory), default=None)


def _where_it_ends(measured: dict[int, int], memory: float, sizes: range) -> int:
    """By the line through the two measured sizes that are nearest to the memory."""
    if len(measured) < 2:
        return sizes[0]
    (x0, y0), (x1, y1) = sorted(measured.items(), key=lambda item: abs(item[1] - memory))[:2]
    slope = max((y1 - y0) / (x1 - x0), 1e-9)
    place = (x0 + (memory - y0) / slope - sizes[0]) // sizes.step
    return sizes[int(min(max(place, 0), len(sizes) - 1))]


def device_memory(devices: Devices) -> int:
    """Bytes of a device; of a CPU, its share of the machine's memory."""
    stats = devices.devices[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(devices)


def gib(count: float) -> str:
    """`1.50 GiB`, `23.4 MiB`."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
