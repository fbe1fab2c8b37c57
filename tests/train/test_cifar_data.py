"""CIFAR from its archives: both versions, nothing lost, nothing run, nothing taken on trust."""

import os
import pickle

import numpy as np
import pytest

from configs.defaults import defaults
from tests.train import archives
from train.data import make_data
from train.data.cifar import Cifar, Plan
from train.data.cifar_files import CIFAR10, CIFAR100, OFFICIAL, load
from train.data.divide import stratified
from train.errors import WrongInput

VERSIONS = [(name, version) for name in OFFICIAL for version in (0, 1)]


def prepared(plan, directory):
    """Stores it where `make_data` looks for it."""
    builder = Cifar(plan, data_dir=directory / "cifar" / plan.key(), file_format="array_record")
    builder.download_and_prepare()
    return builder


def config_in(directory, name="cifar10", **data):
    config = defaults()
    fields = {"name": name, "dir": str(directory), "batch_size": 4, "in_memory": True}
    config.data.update(fields | data)
    config.evaluation.batch_size = 10
    return config


def refusal(work, *arguments):
    with pytest.raises(WrongInput) as caught:
        work(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(("name", "version"), VERSIONS)
def test_an_archive_its_folder_and_where_they_lie_give_the_same_images(tmp_path, name, version):
    official = OFFICIAL[name]
    drawn = archives.draw(official)
    small = archives.write(official, version, drawn, tmp_path / "downloads")
    folder = tmp_path / "unpacked" / official.versions[version].folder
    folder.mkdir(parents=True)
    for file, content in archives.files(official, version, drawn).items():
        (folder / file).write_bytes(content)
    archive = tmp_path / "downloads" / official.versions[version].archive
    for source in (tmp_path / "downloads", archive, folder, folder.parent):
        found = load(small, source)
        assert found.class_names == drawn.class_names
        for split, (images, labels) in drawn.splits.items():
            assert np.array_equal(found.splits[split][0], images)
            assert np.array_equal(found.splits[split][1], labels)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """CIFAR-10 of forty and ten images, with a quarter for validation and with none."""
    path = tmp_path_factory.mktemp("data")
    small = archives.write(CIFAR10, 1, archives.draw(CIFAR10, train=40), path / "downloads")
    for fraction in (0.25, 0.0):
        prepared(Plan(small, path / "downloads", fraction, 0), path)
    return path


def test_every_image_is_stored_as_it_was_in_the_split_that_is_asked_for(directory):
    drawn = archives.draw(CIFAR10, train=40)
    data = make_data(config_in(directory, validation_fraction=0.25))
    assert (data.train_size, data.validation_size, data.test_size) == (30, 10, 10)
    assert data.class_names == tuple(f"class{i}" for i in range(10))
    assert data.image_shape == (32, 32, 3)
    train, validation = data.training_batches.examples, data.validation_batches.examples
    assert np.bincount(validation.labels).tolist() == [1] * 10  # a quarter of four
    stored = np.concatenate([train.images, validation.images])
    labels = np.concatenate([train.labels, validation.labels])
    images = {image.tobytes(): label for image, label in zip(*drawn.splits["train"], strict=True)}
    assert {i.tobytes(): n for i, n in zip(stored, labels, strict=True)} == images
    np.testing.assert_allclose(data.mean, (train.images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.std, (train.images / 255).std((0, 1, 2)), rtol=1e-12)


def test_without_validation_all_are_trained_on_and_it_is_said_who_chooses(directory, capsys):
    data = make_data(config_in(directory, validation_fraction=0.0))
    assert (data.train_size, data.validation_size, data.test_size) == (40, 10, 10)
    assert np.array_equal(data.validation_batches[0]["image"], data.test_batches[0]["image"])
    said = capsys.readouterr().out
    assert "There are no validation images: weights are chosen by the test images" in said


def test_what_is_prepared_needs_no_archive(directory):
    archive = directory / "downloads" / CIFAR10.versions[1].archive
    archive.rename(archive.with_suffix(".away"))
    try:
        assert make_data(config_in(directory, validation_fraction=0.0)).train_size == 40
    finally:
        archive.with_suffix(".away").rename(archive)


def test_of_every_class_a_share_is_drawn_by_seed_alone():
    labels = np.arange(1000) % 10
    chosen = stratified(labels, 0.1, 0)
    assert np.bincount(labels[chosen]).tolist() == [10] * 10
    assert np.array_equal(chosen, stratified(labels, 0.1, 0))
    assert not np.array_equal(chosen, stratified(labels, 0.1, 1))
    # Written down once: results of different versions are compared on the same images.
    assert np.flatnonzero(stratified(np.zeros(30, int), 0.1, 0)).tolist() == [0, 8, 19]
    said = refusal(stratified, np.array([0, 0, 0, 1]), 0.1, 0)
    assert said.startswith("Class number 1 has 1 training images, too few to take 1 for validation")


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_missing_archive_is_refused_with_its_address(tmp_path, name):
    said = refusal(make_data, config_in(tmp_path, name))
    number = name.removeprefix("cifar")
    assert said == (
        f"There is no cifar-{number}-python.tar.gz or cifar-{number}-binary.tar.gz in"
        f" {tmp_path / 'downloads'}, nor what they unpack to. Download one of them from"
        " https://www.cs.toronto.edu/~kriz/ and put it there, or say where it is"
        " (--config.data.source=/path/to/it)."
    )
    assert not list(tmp_path.rglob("*record*"))


def test_an_archive_of_the_official_name_with_another_checksum_is_refused(tmp_path):
    archives.write(CIFAR10, 0, archives.draw(CIFAR10), tmp_path)
    archive = tmp_path / "cifar-10-python.tar.gz"
    said = refusal(make_data, config_in(tmp_path, source=str(archive)))
    assert said.startswith(f"{archive} is damaged or not the official one: its MD5 is ")
    assert said.endswith(
        "expected c58f30108f718f92721af3b95e74349a. Download it again from"
        " https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz."
    )


def test_a_file_of_another_name_is_refused(tmp_path):
    (tmp_path / "photos.zip").touch()
    said = refusal(load, CIFAR100, tmp_path / "photos.zip")
    assert said.endswith("expected cifar-100-python.tar.gz or cifar-100-binary.tar.gz.")


@pytest.fixture
def unpacked(tmp_path):
    """A folder of pickles, and the data set that it is."""
    drawn = archives.draw(CIFAR10)
    for file, content in archives.files(CIFAR10, 0, drawn).items():
        (tmp_path / file).write_bytes(content)
    return tmp_path, archives.standin(CIFAR10, 0, drawn)


class Runs:
    def __reduce__(self):
        return os.system, ("touch /nowhere/at/all",)


def batch(**changes):
    content = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
    return pickle.dumps(content | {name.encode(): value for name, value in changes.items()}, 2)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (pickle.dumps(Runs()), "it asks for posix.system, which no archive of CIFAR does"),
        (pickle.dumps([1]), "it holds a list, expected a dict"),
        (pickle.dumps({}), "it has no 'data'"),
        (b"not a pickle", "it is no whole pickle (UnpicklingError: "),
        (
            archives.pickled({b"data": np.zeros((2, 9), np.uint8), b"labels": [0, 1]}),
            "its data are",
        ),
    ],
)
def test_a_pickle_that_is_no_batch_is_refused_by_name_and_runs_nothing(unpacked, content, answer):
    folder, official = unpacked
    (folder / "data_batch_3").write_bytes(content)
    said = refusal(load, official, folder)
    assert said.startswith(f"{folder / 'data_batch_3'} cannot be read: {answer}")


def test_a_label_out_of_range_is_refused_by_its_file(unpacked):
    folder, official = unpacked
    planes = np.zeros((2, 3072), np.uint8)
    (folder / "test_batch").write_bytes(archives.pickled({b"data": planes, b"labels": [3, 10]}))
    said = refusal(load, official, folder)
    assert said == f"{folder / 'test_batch'} has an image with the label 10, expected 0 to 9."


def test_images_or_files_that_are_missing_are_refused(unpacked):
    folder, official = unpacked
    planes = np.zeros((2, 3072), np.uint8)
    (folder / "test_batch").write_bytes(archives.pickled({b"data": planes, b"labels": [3, 9]}))
    said = refusal(load, official, folder)
    assert said.startswith(f"{folder} has 2 images in test_batch, expected 10: ")
    (folder / "data_batch_4").unlink()
    said = refusal(load, official, folder)
    assert said.startswith(f"{folder} has no file data_batch_4: unpack cifar-10-python.tar.gz ")


def test_half_an_image_is_refused(tmp_path):
    drawn = archives.draw(CIFAR100)
    for file, content in archives.files(CIFAR100, 1, drawn).items():
        (tmp_path / file).write_bytes(content[:-1])
    said = refusal(load, archives.standin(CIFAR100, 1, drawn), tmp_path)
    assert "cannot be read: its 61,479 bytes are no whole number of images of 3,074." in said
