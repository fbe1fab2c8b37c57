"""Every page of configs, in every variant, can be trained with."""

import importlib.util
import itertools
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.train import pictures, small
from train.check import check
from train.config import read_config
from train.data import make_data
from train.parallel import Devices
from train.setup import make_recipe
from train.step import train_step

CONFIGS = Path(__file__).parents[2] / "configs"
ELSEWHERE = ("ablation", "attentions", "pruning")  # test_sweep_pages.py, test_prune.py


# one of each page, and what switches most on; the others are like them
QUICK = ("digits.py", "folder.py", "cifar.py:seresnet20", "imagenet.py:paper", "imagenet.py:a2")
# what stands for archives that nobody has at hand: the same fields, read from a folder
IN_PLACE_OF_ARCHIVES = {"data.name": "folder", "model.init_from": "", "data.workers": 0}


def variants() -> list:
    """As --config takes them: path/digits.py, path/digits.py:plain, ..."""
    names = []
    for page in sorted(CONFIGS.glob("*.py")):
        if page.stem in ("__init__", "defaults", *ELSEWHERE):
            continue
        spec = importlib.util.spec_from_file_location(page.stem, page)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        names += [f"{page}:{variant}".rstrip(":") for variant in module.VARIANTS]
    return [
        pytest.param(name, marks=() if Path(name).name in QUICK else pytest.mark.slow)
        for name in names
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For pages that are about a folder of images."""
    return pictures.fill(tmp_path_factory.mktemp("folder"), count=5)


@pytest.mark.parametrize("page", variants(), ids=lambda page: Path(page).name)
def test_two_steps_of_every_variant(page, data_dir, folder):
    """On one block of its model, with few and small images."""
    fields = {
        "model.options.stage_sizes": (1,),
        "data.dir": data_dir,
        "data.folder": folder,
        "data.image_size": 8,
        "data.stored_size": 0,
        "data.batch_size": 8,
        "ghost_batch": 0,
    }
    if Path(page).name.startswith(("cifar", "imagenet")):
        fields |= IN_PLACE_OF_ARCHIVES
    config = read_config(page, [f"--config.{field}={value}" for field, value in fields.items()])
    check(config)
    data = make_data(config)
    recipe = make_recipe(config, data, Devices())
    state = small.state_of(recipe, image_shape=data.image_shape)
    step = jax.jit(partial(train_step, recipe))
    for _, batch in itertools.islice(data.train(), 2):
        state, metrics = step(state, batch)
        assert np.isfinite(metrics["loss"])
        assert metrics["gradient_norm"] > 0
