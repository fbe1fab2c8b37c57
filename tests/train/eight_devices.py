"""What must be seen on 8 devices, in one process: `python -m tests.train.eight_devices OUT DATA`.

Leaves in OUT: <mode>-<devices>.npz with loss, gradients and statistics of a step from each of some
states; refusal.txt; and run/, the working directory of a whole run under pmap.
"""

import os
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np

from tests.train import small
from train.config import read_config
from train.errors import WrongInput
from train.loop import run
from train.parallel import MODES, Devices
from train.penalty import Penalty
from train.step import train_step

# of all images: not of each device's own
PENALTY = Penalty("target", 5.0, rate=0.3, polarisation=0.5)
SUMS = ("loss", "correct", "count", "penalty", "mean_gate")
STATES = (0, 1, 2, 5, 8)  # steps from which one step is taken in every way


def main(out: Path, data: Path) -> None:
    # only here, not for whoever imports this; JAX has no device yet
    os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=8"
    assert jax.device_count() == 8
    states = trajectory()
    for mode in MODES:
        for count in (1, 8):
            np.savez(out / f"{mode}-{count}.npz", **one_step_each(states, mode, count))
    (out / "refusal.txt").write_text(refusal())
    config = read_config(
        "configs/digits.py",
        [
            *small.RUN[1:],
            f"--config.data.dir={data}",
            "--config.schedule.epochs=1",
            "--config.parallel=pmap",
        ],
    )
    run(config, out / "run")


def trajectory() -> dict:
    """States along a run on one device, on the host."""
    recipe = small.recipe(optimizer=small.keeps_gradients(), penalty=PENALTY)
    step = jax.jit(partial(train_step, recipe))
    state = small.state_of(recipe)
    states = {}
    for k in range(max(STATES) + 1):
        states[k] = jax.device_get(state)
        state, _ = step(state, small.batch(seed=k))
    return {k: states[k] for k in STATES}


def one_step_each(
    states: dict, mode: str, count: int, mine: slice = slice(None)
) -> dict[str, np.ndarray]:
    """Of the batches, this process puts the examples `mine`."""
    devices = Devices(mode, jax.devices()[:count])
    recipe = small.recipe(devices, optimizer=small.keeps_gradients(), penalty=PENALTY)
    step = devices.compile(partial(train_step, recipe))
    seen = {}
    for k, state in states.items():
        batch = {name: x[mine] for name, x in small.batch(seed=k).items()}
        after, metrics = step(devices.put_whole(state), devices.put(batch))
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(after))
        found = {
            "sums": {name: metrics[name] for name in SUMS},
            "gradients": after.opt_state,
            "statistics": after.batch_stats,
            "ema": after.ema,
        }
        seen |= {f"{k}{path}": leaf for path, leaf in small.leaves(found).items()}
    return seen


def refusal() -> str:
    try:
        run(small.config(**{"data.batch_size": 100, "evaluation.batch_size": 5}), "nowhere")
    except WrongInput as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
