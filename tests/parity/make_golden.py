"""Writes tests/golden: `python -m tests.parity.make_golden`, where torch and timm are installed."""

import argparse
import json
import zlib
from collections import OrderedDict
from typing import Any

import numpy as np
import torch

from senet_jax import list_models
from tests.convert import seeded, twins
from tests.convert.twins import GOLDEN, TWINS, Twin, summary
from tests.parity import moskomule, reference
from tests.parity.reference import timm

COMMAND = "python -m tests.parity.make_golden"
VERSIONS = f"timm {timm.__version__}, torch {torch.__version__}, numpy {np.__version__}"


def network(twin: Twin) -> torch.nn.Module:
    if twin.source == "moskomule":
        return reference.load_seeded(moskomule.Network(**twin.theirs))
    return reference.make(twin.name, **twin.theirs)


def outputs(twin: Twin) -> dict[str, Any]:
    model = network(twin)
    stored: dict[str, Any] = {}
    for size in twin.sizes:
        logits, levels = reference.evaluate(model, seeded.images(2, size))
        stored[f"logits{size}"] = logits
        stored[f"levels{size}"] = np.stack([summary(level) for level in levels])
        stored[f"shapes{size}"] = np.array([level.shape for level in levels])
    if twin.trains:
        stored |= step(model, twin.training_size)
    return stored


def gates() -> dict[str, np.ndarray]:
    """Those of every attention block of some networks, `<network>/<number of the block>`."""
    found = {}
    for twin in twins.WITH_GATES:
        caught = reference.gates(network(twin), seeded.images(2, twin.sizes[0]))
        found |= {f"{twin.name}/{i}": values for i, values in enumerate(caught)}
    return found


def step(model: torch.nn.Module, size: int) -> dict[str, Any]:
    """Of a step in training mode, in float64: in float32 a ReLU at zero may go either way."""
    images = seeded.images(twins.TRAINING_BATCH, size).astype(np.float64)
    labels = seeded.labels(twins.TRAINING_BATCH, twins.CLASSES)
    found = reference.train_step(model.double(), images, labels)
    return dict(
        loss=found["loss"],
        images_gradient=summary(found["images"]),
        names=" ".join(found["gradients"]),
        gradients=np.stack([summary(g) for g in found["gradients"].values()]),
        norms=" ".join(found["counts"]),
        counts=np.array(list(found["counts"].values())),
        means=np.stack(
            [summary(found["statistics"][f"{n}.running_mean"]) for n in found["counts"]]
        ),
        variances=np.stack(
            [summary(found["statistics"][f"{n}.running_var"]) for n in found["counts"]]
        ),
    )


def names_and_shapes() -> dict[str, Any]:
    """Of every network of ours that timm has: how many tensors, and a checksum of names, shapes."""
    rows: dict[str, Any] = {"made by": f"{COMMAND}, {VERSIONS}"}
    for name in list_models():
        if timm.is_model(name):
            with torch.device("meta"):
                tensors = timm.create_model(name).state_dict()
            lines = sorted(f"{key} {tuple(value.shape)}" for key, value in tensors.items())
            rows[name] = [len(lines), zlib.crc32("\n".join(lines).encode())]
    return rows


def checkpoint() -> dict[str, Any]:
    """What a training script saves: nested, wrapped, in several types, with shared memory."""
    values = torch.from_numpy(seeded.tensor("a.weight", (4, 6)))
    state = OrderedDict(
        {
            "module.a.weight": values,
            "module.a.transposed": values.T,
            "module.a.slice": values[1:3, ::2],
            "module.a.parameter": torch.nn.Parameter(values[0].clone()),
            "module.a.half": values.half(),
            "module.a.bfloat16": values.bfloat16(),
            "module.a.double": values.double(),
            "module.a.empty": values[:0],
            "module.a.num_batches_tracked": torch.tensor(7),
        }
    )
    state._metadata = OrderedDict({"": {"version": 1}})
    options = argparse.Namespace(lr=0.1, model="a", sizes=(1, 2))
    return {"epoch": 3, "arch": "a", "state_dict": state, "args": options, "metric": 1.5}


def main() -> None:
    for twin in TWINS:
        made = dict(command=COMMAND, versions=VERSIONS)
        np.savez_compressed(GOLDEN / f"{twin.id}.npz", **made, **outputs(twin))
    made = dict(command=COMMAND, versions=VERSIONS)
    np.savez_compressed(GOLDEN / "gates.npz", **made, **gates())
    (GOLDEN / "timm_names.json").write_text(json.dumps(names_and_shapes(), indent=1) + "\n")
    torch.save(checkpoint(), GOLDEN / "checkpoint.pth")
    state = checkpoint()["state_dict"]
    torch.save(state, GOLDEN / "before_1_6.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
