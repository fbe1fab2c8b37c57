"""What a person can get wrong gets one clear sentence and exit code 2, and nothing is touched."""

import json
import os
import re
import subprocess
import sys

import pytest

from senet_jax import loading
from tests.train import small
from train.__main__ import main
from train.config import as_json, differences, read_config


@pytest.fixture
def refused(tmp_path, capsys, data_dir):
    """Runs the command line with further arguments; returns what it says on refusing."""

    def answer(*arguments, workdir=tmp_path / "run"):
        code = main(
            [*small.RUN, f"--config.data.dir={data_dir}", f"--workdir={workdir}", *arguments]
        )
        said = capsys.readouterr()
        assert code == 2
        assert said.err.startswith("error: ")
        assert not (tmp_path / "run").exists()
        return said.err.removeprefix("error: ").strip()

    return answer


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        (
            "--config=configs/digit.py",
            "There is no config file configs/digit.py. Did you mean configs/digits.py?",
        ),
        (
            "--config.optimizer.momentun=0.8",
            "There is no field config.optimizer.momentun. Did you mean config.optimizer.momentum?",
        ),
        (
            "--config.optimiser.momentum=0.8",
            "There is no field config.optimiser.momentum. Did you mean config.optimizer?",
        ),
        ("--config.seed=one", "config.seed is one, expected a whole number."),
        ("--config.seed=1.5", "config.seed is 1.5, expected a whole number."),
        ("--config.data.in_memory=1", "config.data.in_memory is 1, expected true or false."),
        ("--config.seed=-1", "config.seed is -1, expected 0 to 4,294,967,295."),
        ("--config.seed", "--config.seed is not understood: write --config.field=value."),
        ("--sede=1", "--sede=1 is not understood: write --config.field=value."),
        (
            "--config.optimizer=sgd",
            "config.optimizer is a group: set one of its fields, beta1, beta2, clip_adaptive,"
            " clip_norm, decay_attention,",
        ),
        (
            "--config.model.options.widht=16",
            "seresnet20 has no option 'widht'. Did you mean 'width'?",
        ),
        (
            "--config.model.options.num_classes=7",
            "config.model.options.num_classes is 7, but the data set 'digits' has 10 classes:"
            " leave it out.",
        ),
        (
            "--config.data.name=digit",
            "Unknown data set 'digit'. Did you mean 'digits'? There are: arrays, cifar10,",
        ),
        (
            "--config.optimizer.name=sdg",
            "Unknown optimizer 'sdg'. Did you mean 'sgd'? There are: adamw, lamb, sgd."
            " (--config.optimizer.name)",
        ),
        (
            "--config.schedule.name=cosin",
            "Unknown schedule 'cosin'. Did you mean 'cosine'? There are: cosine, step.",
        ),
        (
            "--config.penalty.name=hing",
            "Unknown penalty 'hing'. Did you mean 'hinge'? There are: hinge, l1, none, relative,"
            " slimming, slimming_proximal, target. (--config.penalty.name)",
        ),
        (
            "--config.model.init_from=runs/nowhere",
            "There is nothing at runs/nowhere: expected the directory of a training run,",
        ),
        (
            "--config.parallel=gpu",
            "Unknown way to run in parallel 'gpu'. There are: jit, pmap. (--config.parallel)",
        ),
        ("--config.model.dtype=float16", "Unknown dtype 'float16'. Did you mean 'bfloat16'?"),
        ("--config.schedule.epochs=0", "config.schedule.epochs is 0, expected 1 or more."),
        (
            "--config.schedule.warmup_epochs=3",
            "config.schedule.warmup_epochs is 3.0, expected less than the 3 epochs of the run.",
        ),
        (
            "--config.schedule.learning_rate=nan",
            "config.schedule.learning_rate is nan, expected a number.",
        ),
        (
            "--config.penalty.name=l1",
            "config.penalty.name is 'l1', but its weight is 0, so it does nothing: give it one",
        ),
        (
            "--config.penalty.weight=3",
            "config.penalty.weight is 3.0, but there is no penalty: name one",
        ),
        ("--config.penalty.rate=7", "config.penalty.rate is 7.0, expected a mean gate, 0 to 1."),
        ("--config.ema_decay=1", "config.ema_decay is 1.0, expected at least 0 and less than 1."),
        ("--config.data.batch_size=-64", "config.data.batch_size is -64, expected 1 or more."),
        ("--config.data.augment.scale=2", "augment.scale is 2.0, expected at least 0 and below 1."),
    ],
)
def test_one_sentence(refused, argument, answer):
    said = refused(argument)
    assert said.startswith(answer)
    assert "\n" not in said


def test_an_unknown_variant_is_refused_by_the_page(refused):
    said = refused("--config=configs/digits.py:pale")
    assert re.fullmatch(
        r"configs/digits\.py:\d+: Unknown variant 'pale'\. There are: plain, or none .*", said
    )


def test_an_unknown_model_is_refused_by_the_library_with_the_nearest_names(refused):
    said = refused("--config.model.name=seresnet2O")
    assert re.match(r"Unknown model 'seresnet2O'\. Did you mean .*'seresnet20'", said)
    assert said.endswith("(--config.model)")


def test_a_reduction_larger_than_the_channels_is_refused_by_the_library(refused):
    assert "reduction=16" in refused("--config.model.options.width=8")


def test_a_penalty_of_gates_is_refused_for_a_plain_network(refused):
    penalty = "--config.penalty.name=l1", "--config.penalty.weight=1"
    said = refused(*penalty, "--config.model.options.attention=none")
    assert said.startswith("config.penalty.name is 'l1', which is of gates, and the network has no")


def test_several_faults_are_reported_together(refused):
    said = refused(
        "--config.schedule.epochs=-1", "--config.optimizer.name=adam", "--config.log_every=0"
    )
    assert said.splitlines() == [
        "3 things are wrong:",
        "  - Unknown optimizer 'adam'. Did you mean 'adamw'? There are: adamw, lamb, sgd."
        " (--config.optimizer.name)",
        "  - config.log_every is 0, expected 1 or more.",
        "  - config.schedule.epochs is -1, expected 1 or more.",
    ]


def page(tmp_path, *lines):
    file = tmp_path / "page.py"
    start = [
        "from configs.defaults import defaults",
        "def get_config(variant=''):",
        "    config = defaults()",
    ]
    file.write_text(
        "\n".join([*start, *(f"    {line}" for line in lines), "    return config", ""])
    )
    return file


def test_a_field_misspelt_in_a_page_is_named_with_its_line(refused, tmp_path):
    file = page(tmp_path, "config.seed = 2", "config.schedule.learnin_rate = 1.0")
    said = refused(f"--config={file}")
    hint = "There is no field 'learnin_rate' in this group. Did you mean 'learning_rate'?"
    assert said == f"{file}:5: {hint}"
    file = page(tmp_path, "config.zzz = 1.0")
    assert "There is no field 'zzz' in this group. configs/defaults.py" in refused(
        f"--config={file}"
    )


def test_a_page_with_fields_of_its_own_is_refused(refused, tmp_path):
    file = page(tmp_path, "config.unlock()", "config.batch_sise = 3", "del config.seed")
    assert refused(f"--config={file}").splitlines()[1:] == [
        "  - There is no field config.batch_sise. There are: accumulate, data, deterministic,"
        " ema_decay, evaluation, ghost_batch, label_smoothing, log_every, loss, max_skipped, model,"
        " optimizer, parallel, penalty, schedule, seed.",
        "  - config.seed is missing: start the page from configs.defaults.defaults().",
    ]


def test_a_page_that_is_not_python_is_refused(refused, tmp_path):
    file = tmp_path / "page.py"
    file.write_text("def get_config(:\n")
    assert refused(f"--config={file}").startswith(f"{file}: SyntaxError: ")


def test_a_workdir_that_is_a_file_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("")
    said = refused(workdir=tmp_path / "file")
    assert said == f"{tmp_path / 'file'} is a file, expected a directory: give another --workdir."


def test_the_command_line_itself_explains_what_is_missing(tmp_path):
    """In a process of its own: nothing but the arguments is looked at, so it is quick."""
    command = [sys.executable, "-m", "train", "--config=configs/digits.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "the following arguments are required: --workdir" in done.stderr
    assert "Traceback" not in done.stderr


def test_overrides_take_values_as_python_writes_them():
    config = read_config(
        "configs/digits.py:plain",
        [
            "--config.schedule.learning_rate=1",
            "--config.schedule.milestones=(1,2)",
            "--config.data.in_memory=False",
            "--config.data.name=12",
            "--config.model.options.stage_sizes=(1, 1)",
            "--config.model.options.placement=pre",
        ],
    )
    assert config.schedule.learning_rate == 1.0
    assert isinstance(config.schedule.learning_rate, float)
    assert config.schedule.milestones == (1, 2)
    assert config.data.in_memory is False
    assert config.data.name == "12"
    assert config.model.options.to_dict() == {
        "attention": None,
        "placement": "pre",
        "stage_sizes": (1, 1),
    }


def test_configs_differ_but_for_harmless_fields():
    one = as_json(read_config("configs/digits.py"))
    other = read_config(
        "configs/digits.py:plain",
        ["--config.seed=3", "--config.log_every=3", "--config.data.dir=/data"],
    )
    assert differences(one, one) == []
    assert differences(one, json.loads(json.dumps(as_json(other)))) == [
        "model.options.attention is None, was not set",
        "seed is 3, was 0",
    ]


def test_a_field_that_did_not_exist_yet_had_its_default():
    now = as_json(read_config("configs/digits.py", ["--config.penalty.weight=2"]))
    before = {group: fields for group, fields in now.items() if group != "penalty"}
    assert differences(before, now) == ["penalty.weight is 2.0, was 0.0"]


def test_a_workdir_of_another_experiment_is_refused_untouched(tmp_path, refused):
    other = tmp_path / "other"
    step = loading.checkpoint_directory(other) / "10"
    step.mkdir(parents=True)
    config = as_json(read_config("configs/digits.py", list(small.RUN[1:])))
    (other / "config.json").write_text(json.dumps(config | {"seed": 5, "log_every": 1}))
    before = sorted((p, os.stat(p).st_mtime_ns) for p in other.glob("**/*"))
    said = refused("--config.ema_decay=0.5", workdir=other)
    assert said == (
        f"{other} belongs to another experiment: ema_decay is 0.5, was 0.99; seed is 0, was 5."
        f" Nothing was touched. Give another --workdir, or the same config to go on with that one."
    )
    assert sorted((p, os.stat(p).st_mtime_ns) for p in other.glob("**/*")) == before
    (other / "config.json").unlink()
    assert "has checkpoints but no config.json" in refused(workdir=other)


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(tmp_path, refused, data_dir):
    other = tmp_path / "other"
    step = loading.checkpoint_directory(other) / "10"
    step.mkdir(parents=True)
    config = as_json(read_config("configs/digits.py", list(small.RUN[1:])))
    (other / "config.json").write_text(json.dumps(config))
    said = refused(workdir=other)
    assert said.startswith(f"{step} cannot be read (FileNotFoundError: ")
    assert said.endswith("No checkpoint is left to read.")
    assert step.is_dir()
