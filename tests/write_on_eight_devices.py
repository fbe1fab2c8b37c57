"""Saves two steps of an untrained network from 8 devices; run by test_loading.

The second is the better one. Their averages are the parameters plus one.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from senet_jax import create_model
from train.checkpoints import Checkpoints
from train.parallel import Devices
from train.state import State, init_state

OPTIONS = {"num_classes": 7, "stage_sizes": [1], "width": 16}
DATA = {"class_names": list("abcdefg"), "mean": [0.25], "std": [0.5], "image_shape": [8, 8, 1]}
SCORES = {"accuracy": 0.5, "loss": 1.0, "ema_loss": 1.0}


def main(workdir: Path) -> None:
    assert jax.device_count() == 8
    model = create_model("seresnet20", **OPTIONS)

    def init() -> State:
        state = init_state(model, optax.sgd(0.1, momentum=0.9), (8, 8, 1), seed=0, ema=True)
        return state.replace(ema=jax.tree.map(lambda x: x + 1, state.ema), step=jnp.int32(1))

    devices = Devices()
    description = {"model": {"name": "seresnet20", "options": OPTIONS}, **DATA}
    with Checkpoints(workdir, description) as checkpoints:
        for step, accuracy in ((1, 0.8), (2, 0.9)):
            checkpoints.save(step, devices.born(init), SCORES | {"ema_accuracy": accuracy})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
