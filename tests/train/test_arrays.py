"""Data from an .npz file: the same batches, on a machine without TFDS and Grain; wrong files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs.digits import get_config
from train.data import make_data
from train.data.arrays import main, read_arrays
from train.errors import WrongInput

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def file(tmp_path_factory, data_dir):
    """The digits, written by the command."""
    out = tmp_path_factory.mktemp("arrays") / "digits.npz"
    assert main([str(out), "--config=configs/digits.py", f"--config.data.dir={data_dir}"]) == 0
    return out


def config_of(name, **fields):
    config = get_config()
    config.data.name = name
    config.data.update(fields)
    return config


def test_batches_and_normalisation_are_those_of_the_data_set(file, data_dir):
    ours = make_data(config_of("arrays", source=str(file)))
    theirs = make_data(config_of("digits", dir=str(data_dir)))
    assert ours.class_names == theirs.class_names and ours.image_shape == theirs.image_shape
    np.testing.assert_allclose([ours.mean, ours.std], [theirs.mean, theirs.std], rtol=1e-12)
    for batches in ("train", "validation", "test"):
        a, b = (getattr(data, batches)() for data in (ours, theirs))
        for _ in range(2 if batches == "train" else 1):
            x, y = next(a), next(b)
            x, y = (x[1], y[1]) if batches == "train" else (x, y)
            assert x.keys() == y.keys()
            for name in x:
                np.testing.assert_array_equal(x[name], y[name])
        a.close(), b.close()


def test_neither_tfds_nor_grain_is_needed(file, tmp_path):
    """A run of one epoch where importing them fails."""
    code = """
import sys
for name in ("tensorflow_datasets", "grain", "array_record", "sklearn", "etils"):
    sys.modules[name] = None
del sys.modules["etils"]  # Orbax has need of it
from train.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
    command = [
        *(
            sys.executable,
            "-c",
            code,
            "--config=configs/digits.py",
            f"--workdir={tmp_path / 'run'}",
        ),
        *("--config.data.name=arrays", f"--config.data.source={file}"),
        *("--config.model.options.stage_sizes=(1,)", "--config.schedule.epochs=1"),
        "--config.schedule.warmup_epochs=0",
    ]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "test accuracy: " in done.stdout


def arrays(**changes):
    images, labels = np.zeros((6, 4, 4, 3), np.uint8), np.arange(6) % 3
    whole = dict(train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    whole |= changes
    return {name: value for name, value in whole.items() if value is not None}


def test_without_names_classes_are_numbers(tmp_path):
    np.savez(tmp_path / "x.npz", **arrays())
    splits = read_arrays(tmp_path / "x.npz")
    assert splits.class_names == ("0", "1", "2")
    assert set(splits.examples) == {"train", "test"}


def test_other_images_have_another_digest(tmp_path):
    digests = []
    for value in (0, 1):
        images = np.full((6, 4, 4, 3), value, np.uint8)
        np.savez(tmp_path / "x.npz", **arrays(test_images=images))
        digests.append(read_arrays(tmp_path / "x.npz").digest)
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (dict(train_images=None), "expected train_images, and validation_images or test_images"),
        (dict(test_images=None), "expected train_images, and validation_images or test_images"),
        (dict(train_images=np.zeros((6, 4, 4, 3))), "train_images are float64 of shape"),
        (dict(train_images=np.zeros((6, 4, 4), np.uint8)), "expected uint8 \\[n, H, W, C\\]"),
        (dict(train_labels=None), "train_labels are not there, expected a whole number for each"),
        (dict(train_labels=np.zeros(5, int)), "train_labels are int64 of shape \\(5,\\)"),
        (dict(test_labels=np.full(6, -1)), "has a label -1, expected labels from 0 to 2"),
        (dict(train_images=np.zeros((6, 3, 4, 3), np.uint8)), "those to train may be larger"),
        (dict(class_names=np.array(["a", "b"])), "has a label 2, expected labels from 0 to 1"),
        (
            dict(test_images=np.zeros((6, 5, 4, 3), np.uint8)),
            "images of shapes .*: expected one shape",
        ),
        (
            dict(test_images=np.zeros((0, 4, 4, 3), np.uint8), test_labels=np.zeros(0, int)),
            "has no test images: leave the split out",
        ),
    ],
)
def test_wrong_arrays_get_a_sentence(tmp_path, changes, told):
    np.savez(tmp_path / "x.npz", **arrays(**changes))
    with pytest.raises(WrongInput, match=told):
        read_arrays(tmp_path / "x.npz")


def test_what_is_no_such_file_is_told(tmp_path):
    with pytest.raises(WrongInput, match="There is no file"):
        read_arrays(tmp_path / "x.npz")
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(WrongInput, match=r"is damaged, or no \.npz of plain arrays"):
        read_arrays(tmp_path / "x.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(WrongInput, match=r"is damaged, or no \.npz"):
        read_arrays(tmp_path / "one.npy")


def test_all_names_have_a_builder():
    from train.data.builders import BUILDERS
    from train.data.names import BUILT

    assert set(BUILT) == BUILDERS.keys()
