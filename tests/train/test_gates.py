"""What is told of the gates while a network trains, against NumPy."""

from functools import partial

import jax
import numpy as np

from senet_jax import attention_weights
from tests.train import small
from train.gates import describe_gates, gate_sums
from train.metrics import merge
from train.report import gates_in_words
from train.step import eval_step


def test_sums_over_batches_describe_all_gates():
    """Of all images but padding, with gates of channels [b, C] and of places [b, H, W, 1]."""
    r = np.random.default_rng(0)
    channels, places = r.uniform(size=(12, 5)), r.uniform(size=(12, 2, 3, 1)) ** 8
    mask = np.array([1.0] * 9 + [0.0] * 3)
    sums = []
    for i in (slice(0, 4), slice(4, 8), slice(8, 12)):
        sown = {"block1": {"se": {"gates": (channels[i],)}, "b": {"gates": (places[i],)}}}
        sums.append({"count": mask[i].sum(), "gates": gate_sums(sown, mask[i])})
    merged = merge(*sums)
    found = describe_gates(merged["gates"], merged["count"])
    assert merged["count"] == 9
    for path, values in (("block1/se", channels[:9]), ("block1/b", places[:9])):
        expected = {
            "mean": values.mean(),
            "spread": values.std(),
            "saturated": np.mean((values < 0.05) | (values > 0.95)),
        }
        assert found[path].keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[path][name], value, rtol=1e-5)


def test_they_are_the_gates_of_the_evaluated_network():
    recipe = small.recipe()
    state = jax.jit(partial(small.state_of, recipe))()
    batch = small.batch(16)
    sums = jax.jit(partial(eval_step, recipe))(
        state.variables, batch | {"mask": np.ones(16, np.float32)}
    )
    images = (batch["image"] / np.float32(255) - 0.3) / 0.4
    gates = attention_weights(recipe.model, state.variables, images.astype(np.float32))
    assert sums["gates"].keys() == gates.keys()
    for path, values in gates.items():
        np.testing.assert_allclose(sums["gates"][path]["mean"] / 16, values.mean(), rtol=1e-5)


def test_in_words_the_most_saturated_block_is_named():
    gates = {
        "stage1/block1/se": {"mean": 0.4, "spread": 0.1, "saturated": 0.0},
        "stage2/block1/se": {"mean": 0.6, "spread": 0.3, "saturated": 0.5},
    }
    assert gates_in_words(gates) == (
        "gates: mean 0.50, spread 0.20, 25 % saturated, most in stage2/block1/se (50 %)"
    )
