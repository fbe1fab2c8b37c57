"""A run goes on with the data that it began with, or not at all."""

import json
from pathlib import Path

import jax

from senet_jax import loading
from train.data import Data
from train.errors import WrongInput
from train.workdir import write_json


def check_data(workdir: Path, data: Data) -> None:
    """Notes in <workdir>/data.json what a new run trains on, and compares where one goes on.

    Raises:
      WrongInput: the run in `workdir` has checkpoints and was trained on other images or labels.
    """
    file = workdir / "data.json"
    now = {
        "fingerprint": data.fingerprint,
        "train": data.train_size,
        "validation": data.validation_size,
        "test": data.test_size,
    }
    if file.exists() and loading.saved_steps(loading.checkpoint_directory(workdir)):
        before = json.loads(file.read_text())
        if before["fingerprint"] != now["fingerprint"]:
            raise WrongInput(
                f"{workdir} was trained on other data: {_in_words(before)} images to train, to"
                f" validate and to test then, {_in_words(now)} now, or other ones. Nothing was"
                " trained. Bring the images back as they were, or give another --workdir."
            )
    elif jax.process_index() == 0:
        write_json(file, now)


def _in_words(sizes: dict) -> str:
    return f"{sizes['train']:,}, {sizes['validation']:,} and {sizes['test']:,}"
