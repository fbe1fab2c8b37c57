"""The step from a trained network to a smaller one that starts where it has stopped."""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from senet_jax import loading, pruning
from train.checkpoints import save_network
from train.data import Data, make_data
from train.data.pipeline import Batches
from train.errors import refusals
from train.state import Variables
from train.step import model_inputs
from train.workdir import write_json

Pairs = Iterator[tuple[jax.Array, jax.Array]]  # images as the model takes them, labels


def cut_network(
    config: ConfigDict, trained: Path, workdir: Path, options: argparse.Namespace
) -> None:
    """Writes the cut network as <workdir>/cut, and what was done as <workdir>/cut.json.

    Raises:
      WrongInput: the network has nothing of what is asked for, or a budget cannot be met.
    """
    data = make_data(config)
    with refusals():
        model, variables = loading.load(trained)
        statistics = pruning.measure(model, variables, pairs(data.training_batches, data))
        ranking = pruning.scores(options.score, model, variables, statistics, seed=config.seed)
        plan = _plan(ranking, model, data, options)
        small, small_variables = pruning.cut(model, variables, plan, statistics)
        rows: list[pruning.Ungrafting] = []
        if options.ungraft is not None:
            small, small_variables, rows = _without_idle_gates(
                small, small_variables, data, options.ungraft / 100
            )
    description = loading.describe(trained)
    saved = description["model"]
    network = {
        "name": saved["name"],
        "options": saved["options"] | pruning.cut_options(small),
    }
    _save(workdir / "cut", small_variables, description | {"model": network})
    own = {k: v for k, v in network["options"].items() if k not in ("num_classes", "dtype")}
    write_json(
        workdir / "cut.json",
        {
            "model": {"name": saved["name"], "options": own},
            "kept": {block: list(channels) for block, channels in plan.items()},
            "ungrafting": [row._asdict() for row in rows],
        },
    )


def pairs(batches: Batches, data: Data) -> Pairs:
    """All images of a split, once, as they are; of equal batches, without what is left over."""
    examples = batches.examples
    size = min(data.validation_batches.batch_size, len(examples))
    for start in range(0, len(examples) - size + 1, size):
        images, labels = examples.gather(np.arange(start, start + size))
        yield model_inputs(images, data.mean, data.std), jnp.asarray(labels)


def _plan(
    ranking: dict[str, np.ndarray], model: nn.Module, data: Data, options: argparse.Namespace
) -> pruning.Plan:
    if options.keep is not None:
        return pruning.keep_share(ranking, options.keep, floor=options.floor)
    return pruning.keep_budget(
        ranking,
        model,
        parameters=options.parameters,
        multiply_adds=options.multiply_adds,
        image_size=data.image_shape[0],
        channels=data.image_shape[-1],
        floor=options.floor,
    )


def _without_idle_gates(
    model: nn.Module, variables: Variables, data: Data, most: float
) -> tuple[nn.Module, Variables, list[pruning.Ungrafting]]:
    """The network without the attention of blocks of which each alone costs at most `most`."""
    statistics = pruning.measure(model, variables, pairs(data.training_batches, data))
    rows = pruning.ungrafting_losses(
        model, variables, statistics, pairs(data.validation_batches, data)
    )
    idle = [row.block for row in rows if row.accuracy_lost <= most]
    return *pruning.ungraft(model, variables, statistics, idle), rows


def _save(workdir: Path, variables: Variables, description: dict[str, Any]) -> None:
    if workdir.exists():  # of a cut that was killed before it wrote cut.json
        shutil.rmtree(workdir)
    save_network(workdir, variables, description)
