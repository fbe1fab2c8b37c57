"""Pruning by command: what is cut and written, and a whole one from training to report."""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from senet_jax import load, loading
from senet_jax.summary import count_parameters
from tests.train import small
from train.check import check
from train.checkpoints import Checkpoints
from train.config import read_config
from train.data import make_data
from train.errors import WrongInput
from train.initial import initial_variables
from train.parallel import Devices
from train.prune import curve as prune_curve
from train.prune.__main__ import check_choices, check_network, claim, finetuning, main, parse
from train.prune.cut import _save, cut_network, pairs
from train.prune.report import accuracy, as_markdown
from train.setup import describe, initialiser, make_recipe
from train.step import model_inputs

CHECKOUT = Path(__file__).parents[2]
SETTINGS = (
    "--config.model.options.stage_sizes=(1, 1)",
    "--config.schedule.epochs=2",
    "--config.schedule.warmup_epochs=0.5",
    "--config.penalty.warmup_epochs=0.5",
    "--config.evaluation.every_epochs=1",
)


def choices(*arguments):
    return parse(["--config=-", "--workdir=-", *arguments])[0]


@pytest.fixture(scope="module")
def config(data_dir):
    return read_config("configs/pruning.py:gates", [*SETTINGS, f"--config.data.dir={data_dir}"])


@pytest.fixture(scope="module")
def data(config):
    return make_data(config)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, config, data):
    """A run's directory with random variables as its one checkpoint."""
    workdir = tmp_path_factory.mktemp("trained")
    recipe = make_recipe(config, data, Devices())
    state = Devices().born(initialiser(config, data, recipe), np.uint32(3))
    with Checkpoints(workdir, describe(config, data)) as checkpoints:
        checkpoints.save(0, state)
    return workdir


@pytest.fixture(scope="module")
def cut(tmp_path_factory, config, trained):
    workdir = tmp_path_factory.mktemp("pruned")
    cut_network(config, trained, workdir, choices("--keep=0.5"))
    return workdir


def test_what_is_cut_loads_as_a_smaller_network(trained, cut):
    before, after = load(trained), load(cut / "cut")
    found = json.loads((cut / "cut.json").read_text())
    assert list(found["kept"]) == ["stage1/block1", "stage2/block1"]
    widths = [len(channels) for channels in found["kept"].values()]
    assert sum(widths) == (16 + 32) / 2
    blocks = after[1]["params"]["stage1"]["block1"], after[1]["params"]["stage2"]["block1"]
    assert [block["conv1"]["kernel"].shape[-1] for block in blocks] == widths
    assert count_parameters(after[0], channels=1) < 0.7 * count_parameters(before[0], channels=1)


def test_fine_tuning_starts_from_the_cut_variables(config, data, cut):
    """They are the run's own state, which training may donate, and the averages' start."""
    found = json.loads((cut / "cut.json").read_text())
    tuned = finetuning(config, found["model"], cut / "cut", choices("--finetune-rate=0.25"))
    assert (tuned.penalty.name, tuned.schedule.epochs) == ("none", 1)
    check(tuned)
    assert tuned.schedule.learning_rate == config.schedule.learning_rate / 4
    recipe, devices = make_recipe(tuned, data, Devices()), Devices()
    init = initialiser(tuned, data, recipe)
    like = devices.abstract(init, np.uint32(0))
    options = tuned.model.options.to_dict()
    variables = initial_variables(tuned.model.init_from, tuned.model.name, options, 1, like)
    state = devices.born(init, np.uint32(0), variables)
    _, expected = load(cut / "cut")
    small.assert_same_bits(state.variables, expected)
    small.assert_same_bits(state.ema, expected)
    gone = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(state)
    assert gone.step == 1  # no buffer was there twice


def test_variables_of_another_network_are_refused(config, data, trained, cut):
    recipe = make_recipe(config, data, Devices())
    like = Devices().abstract(initialiser(config, data, recipe), np.uint32(0))
    options = config.model.options.to_dict()
    with pytest.raises(WrongInput, match=r"holds another network than config.model: params/stage"):
        initial_variables(str(cut / "cut"), "seresnet20", options, 1, like)
    with pytest.raises(ValueError, match="holds seresnet20, not seresnet56"):
        initial_variables(str(trained), "seresnet56", options, 1, like)


def test_statistics_are_of_all_training_images_but_an_incomplete_batch(data):
    batches = list(pairs(data.training_batches, data))
    assert [images.shape for images, _ in batches] == [(512, 8, 8, 1)] * 2
    images, labels = data.training_batches.examples.gather(np.arange(512, 1024))
    np.testing.assert_array_equal(batches[1][1], labels)
    np.testing.assert_array_equal(batches[1][0], model_inputs(images, data.mean, data.std))


def test_the_accuracy_of_the_report_is_that_of_the_evaluation_step(trained, data):
    network = load(trained)
    images = np.concatenate([batch["image"] for batch in data.test()])
    labels = np.concatenate([batch["label"] for batch in data.test()])
    mask = np.concatenate([batch["mask"] for batch in data.test()]) > 0
    logits = jax.jit(network[0].apply)(network[1], model_inputs(images, data.mean, data.std))
    correct = (np.argmax(logits, axis=-1) == labels)[mask]
    assert accuracy(network, data) == pytest.approx(correct.mean())


def test_the_report_compares_with_the_network_before():
    stage = dict(test_accuracy=0.98, parameters=1000, multiply_adds=2_000_000)
    text = as_markdown(
        {
            "stages": {
                "before": stage | {"images_per_second": 100.0},
                "cut": stage | {"parameters": 500, "images_per_second": 150.0},
            },
            "kept": {"stage1/block1": [8, 16]},
            "ungrafting": [{"block": "stage1/block1", "spread": 0.01, "accuracy_lost": 0.0025}],
            "device": "1 x cpu",
            "speed_batch": 256,
        }
    )
    assert "| before | 98.00 | 1,000 | 2.000 | 100 |\n" in text
    assert "| cut | 98.00 | 500 (50 %) | 2.000 (100 %) | 150 (150 %) |\n" in text
    assert "| stage1/block1 | 16 | 8 |\n" in text
    assert "| stage1/block1 | 0.0100 | 0.25 |\n" in text


def asked(options):
    return json.dumps({k: v for k, v in vars(options).items() if k not in ("workdir", "config")})


def test_prunings_side_by_side(tmp_path, cut, capsys):
    """Two seeds of one ranking; the penalty is read off the network that was cut."""
    workdirs = [tmp_path / "0", tmp_path / "1"]
    for accuracy_now, workdir in zip((0.9, 0.92), workdirs, strict=True):
        shutil.copytree(cut, workdir)
        claim(workdir, choices("--keep=0.25"))
        stages = {"before": 0.98, "cut": 0.5, "fine-tuned": accuracy_now}
        facts = {stage: {"test_accuracy": value} for stage, value in stages.items()}
        (workdir / "report.json").write_text(json.dumps({"stages": facts}))
    assert prune_curve.main([f"--out={tmp_path / 'curve.png'}", *map(str, workdirs)]) == 0
    row = "| gate_consumer, hinge penalty | 25 | 2 | 98.00 ± 0.00 | 50.00 ± 0.00 | 91.00 ± 1.41 |"
    assert row in capsys.readouterr().out
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "1" / "choices.json").write_text(asked(choices("--floor=0.3")))
    assert prune_curve.main([f"--out={tmp_path / 'curve.png'}", *map(str, workdirs)]) == 2
    said = capsys.readouterr().err
    assert f"1 is another experiment than {workdirs[0]}: floor is 0.3. Give prunings" in said
    (tmp_path / "1" / "choices.json").write_text(asked(choices("--parameters=9")))
    assert prune_curve.main([f"--out={tmp_path / 'curve.png'}", *map(str, workdirs)]) == 2
    assert "1 was cut to a budget: expected prunings by --keep alone" in capsys.readouterr().err
    assert prune_curve.main([f"--out={tmp_path / 'curve.png'}", str(tmp_path)]) == 2
    assert "has no report.json: expected a pruning that has ended" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--score=gates"], r"Unknown score 'gates'. Did you mean 'gate'\?.*\(--score\)"),
        (["--keep=0"], r"--keep=0.0, expected a share more than 0 and at most 1."),
        (["--weights=nowhere"], r"--weights=nowhere is no training run: expected the directory"),
        (
            ["--parameters=0", "--multiply-adds=9"],
            "--parameters and --multiply-adds say how much stays in 2 ways: give one of them.",
        ),
        (["--keep=0.2", "--parameters=9"], "--keep and --parameters say how much stays in 2 ways"),
        (["--parameters=0"], "--parameters=0, expected 1 or more."),
        (["--multiply-adds=-3"], "--multiply-adds=-3, expected 1 or more."),
        (["--ungraft=nan"], "--ungraft=nan, expected a number of points, 0 or more."),
        (["--ungraft=-2"], "--ungraft=-2.0, expected a number of points, 0 or more."),
        (["--finetune-rate=inf"], "--finetune-rate=inf, expected a number more than 0."),
        (["--finetune-epochs=0"], "--finetune-epochs=0, expected 1 or more."),
    ],
)
def test_wrong_choices_are_refused(arguments, answer):
    with pytest.raises(WrongInput, match=answer):
        check_choices(choices(*arguments))


@pytest.mark.parametrize(
    ("changed", "arguments", "answer"),
    [
        (
            ["--config.model.options.attention=none"],
            [],
            "score 'gate_consumer' is of gates and no block has any",
        ),
        (
            ["--config.model.options.attention=none"],
            ["--score=slimming", "--ungraft=1"],
            "No block of this network has gates that weights can take over",
        ),
        (["--config.model.options.attention=eca"], ["--score=random"], "No channel of this"),
    ],
)
def test_what_the_network_does_not_have_is_told_at_once(changed, arguments, answer):
    config = read_config("configs/pruning.py", changed)
    with pytest.raises(WrongInput, match=answer):
        check_network(config, choices(*arguments))


def test_other_families_are_refused_at_once():
    config = read_config("configs/pruning.py", ["--config.model.name=regnety_002"])
    with config.unlocked():
        config.model.options = {}
    with pytest.raises(WrongInput, match="cannot be pruned: expected a ResNet or a MobileNet"):
        check_network(config, choices("--score=random"))


def test_of_a_trained_network_its_own_description_counts(config, trained):
    other = read_config("configs/pruning.py", ["--config.model.options.attention=none"])
    check_network(other, choices(f"--weights={trained}"))
    with pytest.raises(WrongInput, match="no block has any"):
        check_network(other, choices())


def test_a_refused_pruning_leaves_no_directory(tmp_path, capsys):
    workdir = tmp_path / "pruned"
    plain = ["--config=configs/pruning.py", "--config.model.options.attention=none"]
    assert main([*plain, f"--workdir={workdir}"]) == 2
    assert "of gates and no block has any" in capsys.readouterr().err
    assert not workdir.exists()


@pytest.mark.parametrize("below", ["", "further/down"])
def test_a_file_is_no_directory(tmp_path, below, capsys):
    file = tmp_path / "file"
    file.touch()
    assert main(["--config=configs/pruning.py", f"--workdir={file / below}"]) == 2
    assert f"error: {file} is a file, expected a directory" in capsys.readouterr().err


def test_a_directory_of_another_pruning_is_refused(tmp_path):
    claim(tmp_path, choices())
    claim(tmp_path, choices("--keep=0.5"))
    with pytest.raises(WrongInput, match=r"another pruning: keep is 0.25, was 0.5\. Give another"):
        claim(tmp_path, choices("--keep=0.25"))
    trained = tmp_path / "trained"
    (trained / "checkpoints").mkdir(parents=True)
    with pytest.raises(WrongInput, match=rf"another --workdir \(with --weights={trained}, its"):
        claim(tmp_path, choices("--keep=0.25"))


def test_a_cut_that_was_killed_is_written_anew(tmp_path):
    """What a kill has left between checkpoint and cut.json is of other statistics, perhaps."""
    for value in (1.0, 2.0):
        a = np.full(3, value, np.float32)
        variables = {"params": {"a": a}, "batch_stats": {"a": np.zeros_like(a)}}
        _save(tmp_path / "cut", variables, {"model": {"name": "resnet20", "options": {}}})
    restored = loading.read_variables(loading.checkpoint_directory(tmp_path / "cut"), 0)
    np.testing.assert_array_equal(restored["params"]["a"], 2)


def test_a_budget_that_cannot_be_met_is_told(tmp_path, config, trained):
    with pytest.raises(WrongInput, match=r"cannot be met: with floor=0\.1 at least"):
        cut_network(config, trained, tmp_path, choices("--parameters=100"))


@pytest.mark.slow
def test_a_whole_pruning_and_again(tmp_path, data_dir):
    command = [sys.executable, "-m", "train.prune", "--config=configs/pruning.py:gates", *SETTINGS]
    command += [f"--workdir={tmp_path}", f"--config.data.dir={data_dir}", "--ungraft=100"]
    run = partial(subprocess.run, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    first = run(command)
    assert first.returncode == 0, first.stderr
    facts = json.loads((tmp_path / "report.json").read_text())
    assert list(facts["stages"]) == ["before", "cut", "fine-tuned"]
    tested = json.loads((tmp_path / "finetuned" / "result.json").read_text())["test"]
    assert facts["stages"]["fine-tuned"]["test_accuracy"] == pytest.approx(tested["accuracy"])
    model, variables = load(tmp_path / "finetuned")
    assert model.inner_widths and "se" not in variables["params"]["stage1"]["block1"]
    assert (tmp_path / "kept.png").read_bytes().startswith(b"\x89PNG")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/checkpoints/*/state")}
    again = run(command)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("This run is finished") == 2
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert again.stdout.splitlines()[-2:] == first.stdout.splitlines()[-2:]


def test_what_is_wrong_with_the_config_is_told_by_the_command(tmp_path, capsys):
    arguments = ["--config=configs/prunning.py", f"--workdir={tmp_path / 'pruned'}"]
    assert main(arguments) == 2
    assert "Did you mean configs/pruning.py?" in capsys.readouterr().err
    assert not (tmp_path / "pruned").exists()
