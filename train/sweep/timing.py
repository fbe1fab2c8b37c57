"""How long a training step of each variant takes, all measured side by side in one process:
`python -m train.sweep.timing OUT.json configs/ablation.py:plain ... [--config.field=value ...]`.

The variants take turns, so whatever slows the machine down for a while slows all of them down.
"""

import itertools
import sys
from functools import partial
from pathlib import Path

import jax

from senet_jax.bench import Run, interleaved
from train.config import read_config
from train.setup import set_up
from train.step import train_step
from train.workdir import write_json

ROUNDS = 30


def main(out: Path, pages: list[str], overrides: list[str]) -> None:
    """Writes {"seconds": {page: median}, "rounds", "device"}."""
    steps = {page: stepper(page, overrides) for page in pages}
    medians = {page: timing.median for page, timing in interleaved(steps, ROUNDS).items()}
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    write_json(out, {"seconds": medians, "rounds": ROUNDS, "device": device})


def stepper(page: str, overrides: list[str]) -> Run:
    """Training steps of a page, compiled."""
    setup = set_up(read_config(page, overrides))
    state = setup.first_state()
    compiled = setup.devices.compile(partial(train_step, setup.recipe), donate=True)
    _, batch = next(itertools.islice(setup.data.train(), 1))
    placed = setup.devices.put(batch)

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, metrics = compiled(state, placed)
            jax.block_until_ready((state, metrics))

    return run


if __name__ == "__main__":
    given = sys.argv[2:]
    settings = [argument for argument in given if argument.startswith("--")]
    main(Path(sys.argv[1]), [page for page in given if page not in settings], settings)
