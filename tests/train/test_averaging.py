"""The mean of checkpoints: of which, of what, and with which statistics."""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet_jax import load, loading, preprocess_for
from tests.train import small
from train.average.__main__ import main
from train.average.networks import check_same_data, choose_steps, fresh_statistics, uniform_mean
from train.checkpoints import Checkpoints
from train.config import read_config
from train.data import make_data
from train.errors import WrongInput
from train.parallel import Devices
from train.setup import describe, initialiser, make_recipe
from train.step import train_step

STEPS = (10, 20, 30)


@pytest.fixture(scope="module")
def page(data_dir):
    return [
        "--config=configs/digits.py",
        "--config.model.options.stage_sizes=(1,)",
        f"--config.data.dir={data_dir}",
    ]


@pytest.fixture(scope="module")
def config(page):
    return read_config("configs/digits.py", page[1:])


@pytest.fixture(scope="module")
def data(config):
    return make_data(config)


@pytest.fixture(scope="module")
def states(config, data):
    """Random ones, by step, on the host; the averages are half of the variables."""
    init = initialiser(config, data, make_recipe(config, data, Devices()))
    born = {step: jax.device_get(Devices().born(init, np.uint32(step))) for step in STEPS}
    return {
        step: state.replace(step=np.int32(step), ema=jax.tree.map(lambda x: x / 2, state.variables))
        for step, state in born.items()
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory, config, data, states):
    """A run's directory with these states, as far as it keeps them."""
    workdir = tmp_path_factory.mktemp("run")
    with Checkpoints(workdir, describe(config, data), keep=3) as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state)
    return workdir


def mean_of(trees):
    return jax.tree.map(lambda *x: np.mean(np.float64(x), axis=0).astype(np.float32), *trees)


def test_a_run_keeps_as_many_of_the_last_as_it_is_told(run):
    assert loading.saved_steps(loading.checkpoint_directory(run)) == list(STEPS)


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1).map(
        partial(np.array, dtype=np.float32)
    )
)
def test_the_mean_is_exact_to_the_last_bit_of_its_dtype(rows):
    """Whatever the order: sums of float32 in float64."""
    mean = uniform_mean({"a": {"w": row}, "b": row[0]} for row in rows)
    exact = [sum(map(float, column)) / len(rows) for column in rows.T]
    np.testing.assert_allclose(mean["a"]["w"], exact, rtol=1.2e-7, atol=1e-9)
    assert mean["a"]["w"].dtype == mean["b"].dtype == np.float32
    assert mean["b"] == mean["a"]["w"][0]


def test_the_last_ones_or_those_that_are_named(run):
    assert choose_steps(run, 2) == [20, 30]
    assert choose_steps(run, 5, [30, 10]) == [10, 30]


@pytest.mark.parametrize(("kind", "factor"), [("raw", 1), ("ema", 0.5)])
def test_what_is_written_is_the_mean_and_loads(run, states, tmp_path, capsys, kind, factor):
    out = tmp_path / "mean"
    command = [str(run), "--last=2", f"--kind={kind}", f"--out={out}"]
    assert main(command) == 0
    assert f"mean of the {kind} weights of steps 20, 30: {out}" in capsys.readouterr().out
    model, variables = load(out)
    assert model == load(run)[0]
    expected = mean_of([states[step].variables for step in (20, 30)])
    small.assert_same_bits(variables, jax.tree.map(lambda x: np.float32(factor) * x, expected))
    assert preprocess_for(out) == preprocess_for(run)
    averaged = loading.describe(out)["averaged"]
    assert (averaged["steps"], averaged["weights"]) == ([20, 30], kind)
    assert main(command) == 2
    assert f"{out} has checkpoints already: give another --out." in capsys.readouterr().err


def test_fresh_statistics_are_what_training_would_have_seen(config, data, states):
    """Without momentum = 0.9: a step leaves 0.9 old + 0.1 of its batch, augmented by its number."""
    state = states[10].replace(seed=np.uint32(config.seed))
    recipe = make_recipe(config, data, Devices())
    step = jax.jit(partial(train_step, recipe))
    seen = []
    for k in range(2):
        after, _ = step(state.replace(step=np.int32(k)), data.training_batches[k])
        seen.append(
            jax.tree.map(
                lambda new, old: (np.float64(new) - 0.9 * old) / 0.1,
                after.batch_stats,
                state.batch_stats,
            )
        )
    args = describe(config, data), state.variables, data
    fresh = fresh_statistics(config, *args, Devices(), 2)
    for path, expected in small.leaves(mean_of(seen)).items():
        found = small.leaves(fresh)[path]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # tenths of float32
    mapped = fresh_statistics(config, *args, Devices("pmap"), 2)
    for path, found in small.leaves(mapped).items():
        np.testing.assert_allclose(found, small.leaves(fresh)[path], rtol=1e-5, atol=1e-6)


def test_statistics_can_be_measured_anew(run, page, states, tmp_path):
    out = tmp_path / "mean"
    arguments = [*page, "--recompute=1", "--config.seed=3"]
    assert main([str(run), "--steps=10,20", f"--out={out}", *arguments]) == 0
    _, variables = load(out)
    expected = mean_of([states[step].variables for step in (10, 20)])
    small.assert_same_bits(variables["params"], expected["params"])
    fresh, means = (small.leaves(tree["batch_stats"]) for tree in (variables, expected))
    assert all((fresh[path] != means[path]).any() for path in means)
    assert loading.describe(out)["averaged"]["recomputed_on_batches"] == 1


def test_other_data_than_the_runs_are_refused(config, data, run):
    description = describe(config, data)
    check_same_data(description, data, run)
    with pytest.raises(WrongInput, match=r"was trained on images of shape \[9, 9, 1\] in 10 class"):
        check_same_data(description | {"image_shape": [9, 9, 1]}, data, run)
    with pytest.raises(WrongInput, match="or of other names: give the config of that run"):
        check_same_data(description | {"class_names": list("abcdefghij")}, data, run)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ["--last=4"],
            "has checkpoints of steps 10, 20, 30, and 4 were asked for (--last=4): a",
        ),
        (["--steps=10,40,50"], "has checkpoints of steps 10, 20, 30, and none of step 40, 50: a"),
        (["--steps=10"], "--steps names 1 checkpoint, expected 2 or more."),
        (["--last=1"], "--last=1, expected 2 checkpoints or more."),
        (["--recompute=-1"], "--recompute=-1, expected a number of batches."),
        (["--recompute=3"], "--recompute needs the training images: name the config of the run"),
        (["--config=configs/digits.py"], "--config=configs/digits.py would change nothing: a"),
        (["--lats=3"], "--lats=3 would change nothing: a config is for --recompute=BATCHES alone"),
    ],
)
def test_one_sentence(run, tmp_path, capsys, arguments, answer):
    assert main([str(run), f"--out={tmp_path / 'mean'}", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert answer in said
    assert said.count("\n") == 1
    assert not (tmp_path / "mean").exists()


def test_a_directory_without_checkpoints_has_none(tmp_path, capsys):
    assert main([str(tmp_path), f"--out={tmp_path / 'mean'}"]) == 2
    assert f"{tmp_path} has no checkpoints: expected the directory" in capsys.readouterr().err
