"""What pruning has cost and brought: <workdir>/report.json, report.md and kept.png."""

import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from senet_jax import loading, pruning
from senet_jax.bench import Run, interleaved
from senet_jax.plotting import plot_kept_channels
from senet_jax.preprocessing import Preprocess
from senet_jax.summary import count_parameters, multiply_adds
from train.data import Data, make_data
from train.evaluate.counts import count
from train.parallel import Devices
from train.state import Variables
from train.workdir import write_json

ROUNDS = 30  # of the measurement of speed
SPEED_BATCH = 256

Network = tuple[nn.Module, Variables]
Facts = dict[str, Any]


def write_report(config: ConfigDict, workdir: Path, trained: Path) -> None:
    """Evaluates on the test split, measures, writes and prints; once."""
    file = workdir / "report.json"
    places = {"before": trained, "cut": workdir / "cut", "fine-tuned": workdir / "finetuned"}
    if not file.exists():
        data = make_data(config)
        networks = {stage: loading.load(place) for stage, place in places.items()}
        write_json(file, _facts(networks, data, workdir))
        _draw(networks["cut"][0], workdir / "kept.png")
    facts = json.loads(file.read_text())
    text = as_markdown(facts)
    (workdir / "report.md").write_text(text)
    print(f"\n{text}\nnetwork: {places['fine-tuned']}\nreport: {workdir / 'report.md'}", flush=True)


def _facts(networks: dict[str, Network], data: Data, workdir: Path) -> Facts:
    size, _, channels = data.image_shape
    speeds = images_per_second({s: networks[s] for s in ("before", "cut")}, data)
    speeds["fine-tuned"] = speeds["cut"]  # the same program
    stages = {
        stage: {
            "test_accuracy": accuracy(network, data),
            "parameters": count_parameters(network[0], image_size=size, channels=channels),
            "multiply_adds": multiply_adds(network[0], size, channels=channels),
            "images_per_second": speeds[stage],
        }
        for stage, network in networks.items()
    }
    found = json.loads((workdir / "cut.json").read_text())
    kept = pruning.kept_channels(networks["cut"][0])
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    own = {"kept": kept, "ungrafting": found["ungrafting"], "device": device}
    return {"stages": stages, **own, "speed_batch": SPEED_BATCH}


def accuracy(network: Network, data: Data) -> float:
    """Share of the test split that is classified correctly."""
    as_stored = Preprocess(data.image_shape[:2], data.mean, data.std, crop=1.0)
    return count(network, [as_stored], Devices(), data.test())[0].accuracy


def images_per_second(networks: dict[str, Network], data: Data) -> dict[str, float]:
    """Of compiled inference, medians; the networks take turns."""
    images = np.zeros((SPEED_BATCH, *data.image_shape), np.float32)
    calls = {stage: _compiled(network, images) for stage, network in networks.items()}
    timings = interleaved(calls, ROUNDS)
    return {stage: SPEED_BATCH / timing.median for stage, timing in timings.items()}


def _compiled(network: Network, images: np.ndarray) -> Run:
    model, variables = network
    placed = jax.device_put(images)
    predict = jax.jit(lambda variables, images: model.apply(variables, images, train=False))

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(predict(variables, placed))

    return run


def as_markdown(facts: Facts) -> str:
    """A row for each stage; the channels by block; and, where asked for, the un-grafting."""
    first = facts["stages"]["before"]
    text = "| | test accuracy, % | parameters | 10⁶ mult.-adds | images/s |\n"
    text += "| --- | --- | --- | --- | --- |\n"
    for stage, row in facts["stages"].items():
        cells = [
            f"{100 * row['test_accuracy']:.2f}",
            f"{row['parameters']:,}{_share(row, first, 'parameters')}",
            f"{row['multiply_adds'] / 1e6:.3f}{_share(row, first, 'multiply_adds')}",
            f"{row['images_per_second']:,.0f}{_share(row, first, 'images_per_second')}",
        ]
        text += f"| {stage} | {' | '.join(cells)} |\n"
    text += f"\nCompiled inference on {facts['device']}, batches of {facts['speed_batch']}.\n\n"
    text += "| block | channels | kept |\n| --- | --- | --- |\n"
    for block, (now, before) in facts["kept"].items():
        text += f"| {block} | {before} | {now} |\n"
    if facts["ungrafting"]:
        text += "\n| block | spread of its gates | accuracy lost without, points |\n"
        text += "| --- | --- | --- |\n"
        for row in facts["ungrafting"]:
            lost = 100 * row["accuracy_lost"]
            text += f"| {row['block']} | {row['spread']:.4f} | {lost:.2f} |\n"
    return text


def _share(row: Facts, first: Facts, key: str) -> str:
    return "" if row is first else f" ({100 * row[key] / first[key]:.0f} %)"


def _draw(model: nn.Module, path: Path) -> None:
    try:
        plot_kept_channels(pruning.kept_channels(model)).savefig(path, dpi=150)
    except ImportError:
        print("No picture: matplotlib is not installed.")
