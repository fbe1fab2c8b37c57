"""Measuring: who runs when, what a step computes; no figure is looked at."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet_jax import bench, create_model
from senet_jax.cli import main


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=9))
def test_quartiles_are_numpys(seconds):
    timing = bench.Timing(tuple(seconds))
    first, third = timing.quartiles
    np.testing.assert_allclose(
        (first, timing.median, third), np.percentile(seconds, (25, 50, 75)), rtol=1e-9
    )


def test_runs_take_turns_after_a_step_of_each_that_is_not_measured():
    calls = []
    runs = {name: partial(lambda name, steps: calls.append((name, steps)), name) for name in "ab"}
    timings = bench.interleaved(runs, repeats=3)
    assert calls == [("a", 1), ("b", 1)] * 4
    assert [len(timings[name].seconds) for name in "ab"] == [3, 3]


class Linear(nn.Module):
    num_classes: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(self.num_classes, use_bias=False)(images.mean(axis=(1, 2)))


def test_a_step_is_sgd_with_momentum_on_the_mean_cross_entropy():
    model = Linear()
    images, labels = bench.example_batch(model, batch=4, size=2)
    variables = bench.new_variables(model, images)
    state = bench.new_state(variables)
    pooled = np.asarray(images).mean((1, 2))
    kernel = np.asarray(variables["params"]["Dense_0"]["kernel"])
    momentum = np.zeros_like(kernel)
    for _ in range(2):
        odds = np.exp(pooled @ kernel)
        shares = odds / odds.sum(axis=1, keepdims=True)
        right = np.eye(3)[np.asarray(labels)]
        expected = -np.log((shares * right).sum(axis=1)).mean()
        state, loss = bench.train_step(model, state, images, labels)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        momentum = 0.9 * momentum + pooled.T @ (shares - right) / 4
        kernel = kernel - 0.1 * momentum
    found = state["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(found, kernel, rtol=1e-4, atol=1e-6)


def test_variables_are_the_models_with_fresh_statistics():
    model = create_model("seresnet18", stage_sizes=(1, 1))
    images = jnp.zeros((1, 8, 8, 3))
    variables = bench.new_variables(model, images)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert jax.tree.map(lambda v: (v.shape, v.dtype), variables) == jax.tree.map(
        lambda v: (v.shape, v.dtype), dict(shapes)
    )
    for path, value in jax.tree_util.tree_leaves_with_path(variables):
        if value.ndim == 1:
            assert np.all(value == (path[-1].key in ("scale", "var"))), path


def test_a_network_is_compared_with_itself_without_attention_the_usual_way_last():
    cases = bench._variants("seresnet50", "float32")
    assert list(cases) == [
        "seresnet50, fused",
        "seresnet50, the usual way",
        "seresnet50 without attention, fused",
        "seresnet50 without attention, the usual way",
    ]
    *_, last = cases.values()
    assert last == create_model("seresnet50", attention=None, fused=False)
    assert list(bench._variants("resnet50", "float32")) == [
        "resnet50, fused",
        "resnet50, the usual way",
    ]


def test_the_command_prints_a_table(monkeypatch, capsys):
    small = partial(create_model, stage_sizes=(1,), num_classes=5)
    monkeypatch.setattr(bench, "create_model", small)
    monkeypatch.setattr(bench, "REPEATS", 1)
    assert main(["bench", "--model", "resnet18", "--batch", "2", "--size", "8"]) == 0
    versions, settings, empty, head, _, *rows = capsys.readouterr().out.splitlines()
    assert f"jax {jax.__version__}" in versions and "backend cpu" in versions
    assert settings.startswith("resnet18, batch 2, 8 x 8, float32") and not empty
    assert [line.split(" | ")[0] for line in rows] == [
        "| resnet18, fused",
        "| resnet18, the usual way",
    ]
    assert {line.count("|") for line in (head, *rows)} == {6}
    assert rows[-1].split(" | ")[2] == "1.000"  # is compared with itself


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "seresnet5O"], "Unknown model 'seresnet5O'. Did you mean"),
        (["--batch", "0"], "'0' is no count"),
        (["--size", "big"], "'big' is no count"),
    ],
)
def test_wrong_inputs_are_told(arguments, said, capsys):
    try:
        code = main(["bench", *arguments])
    except SystemExit as left:  # argparse's way
        code = left.code
    assert code == 2
    assert said in capsys.readouterr().err
