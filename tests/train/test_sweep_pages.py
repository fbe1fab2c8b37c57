"""Every variant of the pages that are swept is a network that can be built, in shapes alone."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from senet_jax import create_model
from senet_jax.layers.named import ATTENTIONS, INNERS
from train.check import check
from train.config import load_page, read_config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", ["ablation", pytest.param("attentions", marks=pytest.mark.slow)])
def test_every_variant_is_another_network_of_the_same_recipe(name):
    page = load_page(CONFIGS / f"{name}.py")
    seen, recipes = set(), set()
    for variant in page.VARIANTS:
        config = read_config(f"{CONFIGS / name}.py:{variant}")
        check(config)
        model = create_model(config.model.name, num_classes=10, **config.model.options.to_dict())
        images = jax.ShapeDtypeStruct((2, 8, 8, 1), np.float32)
        jax.eval_shape(partial(model.init, jax.random.key(0)), images)
        seen.add(model)
        config.model.options = {}
        recipes.add(str(config))
    assert len(seen) == len(page.VARIANTS)
    assert len(recipes) == 1
    assert set(getattr(page, "PAPER", {})) <= set(page.VARIANTS)


def test_all_attentions_are_compared():
    page = load_page(CONFIGS / "attentions.py")
    assert set(page.VARIANTS) == {"plain", *ATTENTIONS, *INNERS}


def test_the_two_pages_share_network_and_recipe():
    one, other = (read_config(f"{CONFIGS / name}.py:plain") for name in ("ablation", "attentions"))
    assert str(one) == str(other)
