"""The builder of the digits: real images, nothing lost, splits that stay as they are."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from configs.digits import get_config
from train.data import digits, make_data
from train.data.builders import BUILDERS
from train.data.digits import Digits, stratified_splits, to_bytes, to_levels

CHECKOUT = Path(__file__).parents[2]
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    make_data(config_in(path))
    return path


@pytest.fixture(scope="module")
def builder(directory):
    return BUILDERS["digits"](directory, config_in(directory).data)


@pytest.fixture(scope="module")
def records(builder):
    """All examples by split, decoded by TFDS itself."""
    return {split: list(builder.as_data_source(split)) for split in SPLITS}


def config_in(directory):
    config = get_config()
    config.data.dir = str(directory)
    return config


def test_no_value_is_lost_between_0_to_16_and_0_to_255():
    values = np.arange(17.0)
    pixels = to_bytes(values)
    assert pixels[0] == 0
    assert pixels[16] == 255
    assert np.array_equal(to_levels(pixels), values)


def test_the_stored_images_are_those_of_scikit_learn(records):
    original = load_digits()
    for record in [r for split in SPLITS for r in records[split]]:
        assert record["image"].dtype == np.uint8
        assert np.array_equal(to_levels(record["image"][..., 0]), original.images[record["id"]])
        assert record["label"] == original.target[record["id"]]


def test_our_own_decoding_gives_what_tfds_decodes(directory, records):
    data = make_data(config_in(directory))
    for split, batches in (("validation", data.validation_batches), ("test", data.test_batches)):
        stored = np.stack([record["image"] for record in records[split]])
        assert np.array_equal(batches.examples.images, stored)


def test_splits_are_disjoint_and_leave_nothing_out(records):
    ids = [int(r["id"]) for split in SPLITS for r in records[split]]
    assert sorted(ids) == list(range(1797))
    assert [len(records[split]) for split in SPLITS] == [1293, 144, 360]


def test_every_split_holds_its_share_of_every_class(records):
    counts = {s: np.bincount([r["label"] for r in records[s]], minlength=10) for s in SPLITS}
    total = sum(counts.values())
    rest = total - counts["test"]
    assert np.abs(counts["test"] - total * 360 / 1797).max() < 1
    assert np.abs(counts["validation"] - rest * 144 / 1437).max() < 1


def test_the_splits_do_not_change_between_releases():
    """Written down once: accuracies of different versions are compared on the same images."""
    splits = stratified_splits(load_digits().target)
    sums = {name: zlib.crc32(ids.astype("<i8").tobytes()) for name, ids in splits.items()}
    assert sums == {"train": 1716417218, "validation": 299412654, "test": 3380326241}


def test_mean_and_deviation_are_those_of_the_training_images(directory, records):
    data = make_data(config_in(directory))
    train = np.stack([r["image"] for r in records["train"]]) / 255
    # float64 sums in another order
    np.testing.assert_allclose(data.mean, train.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.std, train.std(axis=(0, 1, 2)), rtol=1e-12)


def test_the_data_are_stored_as_array_record(builder):
    assert builder.info.file_format.value == "array_record"
    assert len(list(builder.data_path.glob("*.array_record-*"))) == 3


def test_what_is_prepared_is_reused(directory, monkeypatch):
    monkeypatch.setattr(Digits, "download_and_prepare", lambda self: pytest.fail("prepared again"))
    assert make_data(config_in(directory)).train_size == 1293


def test_of_two_processes_that_prepare_at_once_both_get_the_data(tmp_path, monkeypatch):
    """The other one begins after us and is done before us."""
    prepared_by_other = []
    generate = Digits._split_generators

    def interrupted(self, dl_manager):
        if not prepared_by_other:
            prepared_by_other.append(True)
            prepared_by_other.append(make_data(config_in(tmp_path)))
        return generate(self, dl_manager)

    monkeypatch.setattr(Digits, "_split_generators", interrupted)
    data = make_data(config_in(tmp_path))
    other = prepared_by_other[1]
    assert (data.train_size, data.mean, data.std) == (other.train_size, other.mean, other.std)
    ours, theirs = data.training_batches.examples, other.training_batches.examples
    assert np.array_equal(ours.images, theirs.images)
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def test_a_disk_that_cannot_be_written_is_not_taken_for_another_process(tmp_path, monkeypatch):
    def full(self, dl_manager):
        raise OSError("No space left on device")

    monkeypatch.setattr(Digits, "_split_generators", full)
    with pytest.raises(OSError, match="No space left"):
        make_data(config_in(tmp_path))


def test_neither_tensorflow_nor_jax_nor_the_network_is_touched(tmp_path):
    """With a TensorFlow that is installed, since what isn't there cannot be imported."""
    installed = tmp_path / "packages"
    (installed / "tensorflow").mkdir(parents=True)
    (installed / "tensorflow" / "__init__.py").write_text(
        'import os; os.write(2, b"TensorFlow was imported"); raise ImportError("not this one")'
    )
    program = f"""
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was asked for")

socket.socket.connect = socket.getaddrinfo = refuse

from configs.digits import get_config
from train.data import make_data

config = get_config()
config.data.dir = {str(tmp_path / "data")!r}
for in_memory in (True, False):
    config.data.in_memory = in_memory
    data = make_data(config)
    data.training_batches[0], data.test_batches[0]
print(sorted({{"jax", "flax"}} & set(sys.modules)))
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{installed}"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "TensorFlow was imported" not in run.stderr
    assert run.stdout.splitlines()[-1] == "[]"


def test_the_builder_is_found_by_name_as_any_of_tfds(directory):
    assert issubclass(tfds.builder_cls("digits"), digits.Digits)
