"""Every page of configs, in every variant, can be trained with."""

import importlib.util
import itertools
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.train import small
from train.check import check
from train.config import read_config
from train.data import make_data
from train.loop import make_recipe
from train.parallel import Devices
from train.step import train_step

CONFIGS = Path(__file__).parents[2] / "configs"
ELSEWHERE = ("ablation", "attentions", "pruning")  # test_sweep_pages.py, test_prune.py


def variants() -> list[str]:
    """As --config takes them: path/digits.py, path/digits.py:plain, ..."""
    names = []
    for page in sorted(CONFIGS.glob("*.py")):
        if page.stem in ("__init__", "defaults", *ELSEWHERE):
            continue
        spec = importlib.util.spec_from_file_location(page.stem, page)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        names += [f"{page}:{variant}".rstrip(":") for variant in module.VARIANTS]
    return names


@pytest.mark.parametrize("page", variants(), ids=lambda page: Path(page).name)
def test_two_steps_of_every_variant(page, data_dir):
    """On one block of its model."""
    one_block = "--config.model.options.stage_sizes=(1,)"
    config = read_config(page, [one_block, f"--config.data.dir={data_dir}"])
    check(config)
    data = make_data(config)
    recipe = make_recipe(config, data, Devices())
    state = small.state_of(recipe)
    step = jax.jit(partial(train_step, recipe))
    for _, batch in itertools.islice(data.train(), 2):
        state, metrics = step(state, batch)
        assert np.isfinite(metrics["loss"])
        assert metrics["gradient_norm"] > 0
