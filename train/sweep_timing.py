"""How long a training step of each variant takes, all measured side by side in one process:
`python -m train.sweep_timing OUT.json configs/ablation.py:plain ... [--config.field=value ...]`.

The variants take turns, so whatever slows the machine down for a while slows all of them down.
"""

import itertools
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax

from train.config import read_config
from train.data import make_data
from train.loop import initialiser, make_recipe
from train.parallel import Devices
from train.step import train_step
from train.workdir import write_json

WARM_UP = 2  # steps, of which the first compiles
ROUNDS = 30


def main(out: Path, pages: list[str], overrides: list[str]) -> None:
    """Writes {"seconds": {page: median}, "rounds", "device"}."""
    steps = {page: stepper(page, overrides) for page in pages}
    seconds: dict[str, list[float]] = {page: [] for page in pages}
    for _ in range(ROUNDS):
        for page, step in steps.items():
            begun = time.perf_counter()
            step()
            seconds[page].append(time.perf_counter() - begun)
    medians = {page: statistics.median(times) for page, times in seconds.items()}
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    write_json(out, {"seconds": medians, "rounds": ROUNDS, "device": device})


def stepper(page: str, overrides: list[str]) -> Callable[[], None]:
    """One training step of a page, compiled and run already; called, it takes the next."""
    config = read_config(page, overrides)
    devices, data = Devices(config.parallel), make_data(config)
    recipe = make_recipe(config, data, devices)
    state = devices.born(initialiser(config, data, recipe), config.seed)
    compiled = devices.compile(partial(train_step, recipe), donate=True)
    _, batch = next(itertools.islice(data.train(), 1))
    placed = devices.put(batch)

    def step() -> None:
        nonlocal state
        state, metrics = compiled(state, placed)
        jax.block_until_ready((state, metrics))

    for _ in range(WARM_UP):
        step()
    return step


if __name__ == "__main__":
    given = sys.argv[2:]
    settings = [argument for argument in given if argument.startswith("--")]
    main(Path(sys.argv[1]), [page for page in given if page not in settings], settings)
