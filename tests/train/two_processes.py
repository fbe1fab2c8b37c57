"""One of two processes with 4 devices each: `python -m tests.train.two_processes OUT PORT NUMBER`.

The first leaves in OUT: jit-2x4.npz, as `tests.train.eight_devices` does; evaluation.json, what an
evaluation of 10,007 examples has summed; table.txt; and missing.txt, what a barrier says to which
the second does not come.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np

from tests.train import small
from tests.train.eight_devices import one_step_each, trajectory
from train.data.pipeline import EvaluationBatches, InMemory, read
from train.distributed import connect
from train.errors import PeerFailed
from train.evaluate.counts import total
from train.parallel import Devices
from train.step import eval_step

EXAMPLES = 10_007
BATCH = 1_000


def main(out: Path, port: str, index: int) -> None:
    # JAX has no device yet
    os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=4"
    peers = connect(f"127.0.0.1:{port},2,{index}", timeout=60)
    assert peers and (jax.local_device_count(), jax.device_count()) == (4, 8)
    half = small.batch()["label"].size // 2
    mine = slice(index * half, (index + 1) * half)
    steps = one_step_each(trajectory(), "jit", 8, mine)
    sums = evaluation(Devices(), index, 2)
    table = peers.table()
    if index == 0:
        np.savez(out / "jit-2x4.npz", **steps)
        (out / "evaluation.json").write_text(json.dumps(sums))
        (out / "table.txt").write_text(table)
        try:
            peers.barrier("alone", timeout=0.5)
        except PeerFailed as error:
            (out / "missing.txt").write_text(str(error))
    peers.barrier("end", timeout=60)


def evaluation(devices: Devices, index: int = 0, count: int = 1) -> dict[str, float]:
    """Sums over EXAMPLES examples, of which this process reads its share."""
    many = small.batch(EXAMPLES)
    examples = InMemory(many["image"], many["label"])
    recipe = small.recipe(devices)
    variables = devices.put_whole(small.state_of(recipe).variables)
    batches = read(EvaluationBatches(examples, BATCH, index, count), 0, ahead=False)
    step = devices.compile(partial(eval_step, recipe))
    sums = total(step, devices, variables, batches, lambda: None)
    return {name: float(sums[name]) for name in ("loss", "correct", "count")}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
