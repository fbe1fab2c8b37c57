"""Statistics of gates on 8 devices and on one: `python -m tests.attention_on_eight_devices OUT`.

Leaves in OUT one.npz and eight.npz, the fields of each block's statistics.
"""

import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from senet_jax import create_model
from senet_jax.attention import class_statistics

CLASSES = 3


def main(out: Path) -> None:
    # only here, not for whoever imports this; JAX has no device yet
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=8"
    mesh = Mesh(np.array(jax.devices()), ("data",))
    assert mesh.size == 8
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))

    rng = np.random.default_rng(0)
    model = create_model("seresnet20", num_classes=CLASSES, stage_sizes=(1, 1))
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    images = rng.normal(size=(3, 16, 8, 8, 1)).astype(np.float32)
    labels = rng.integers(0, CLASSES, (3, 16))
    masks = np.ones((3, 16), np.float32)
    masks[2, 5:] = 0  # padding on several devices alone
    batches = list(zip(images, labels, masks, strict=True))
    over_all = [jax.device_put(batch, split) for batch in batches]
    save(out / "one.npz", class_statistics(model, variables, batches, CLASSES))
    save(
        out / "eight.npz",
        class_statistics(model, jax.device_put(variables, whole), over_all, CLASSES),
    )


def save(file: Path, statistics) -> None:
    fields = ("count", "mean", "squares", "shut", "open")
    np.savez(file, **{f"{p}:{f}": getattr(s, f) for p, s in statistics.items() for f in fields})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
