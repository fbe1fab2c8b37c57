"""A run knows its data again by what they hold, not by where they lie or when they were written."""

import shutil

import pytest

from configs.folder import get_config
from senet_jax import loading
from tests.train import pictures
from train.data import make_data
from train.data.identity import check_data
from train.errors import WrongInput


def data_of(folder, tmp_path):
    config = get_config()
    config.data.update(folder=str(folder), dir=str(tmp_path / "data"), image_size=5, batch_size=2)
    return make_data(config)


@pytest.fixture
def photos(tmp_path):
    return pictures.fill(tmp_path / "photos", 4)


def test_copies_are_the_same_data_and_a_changed_image_label_or_name_makes_others(photos, tmp_path):
    known = data_of(photos, tmp_path).fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy, copy_function=shutil.copyfile)  # with times of their own
    assert data_of(copy, tmp_path).fingerprint == known

    pictures.draw(copy / "cat" / "0.png", shape=(9, 9))
    pixels = data_of(copy, tmp_path).fingerprint
    (copy / "cat" / "1.png").rename(copy / "dog" / "cat1.png")
    label = data_of(copy, tmp_path).fingerprint
    (copy / "dog").rename(copy / "wolf")
    name = data_of(copy, tmp_path).fingerprint
    assert len({known, pixels, label, name}) == 4


def test_a_run_is_refused_when_it_would_go_on_with_other_images(photos, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    check_data(workdir, data_of(photos, tmp_path))
    pictures.draw(photos / "cat" / "new.png")
    check_data(workdir, data_of(photos, tmp_path))  # nothing came of the first
    (loading.checkpoint_directory(workdir) / "10").mkdir(parents=True)
    check_data(workdir, data_of(photos, tmp_path))

    pictures.draw(photos / "cat" / "another.png")
    with pytest.raises(WrongInput) as caught:
        check_data(workdir, data_of(photos, tmp_path))
    assert str(caught.value) == (
        f"{workdir} was trained on other data: 5, 2 and 2 images to train, to validate and to test"
        " then, 6, 2 and 2 now, or other ones. Nothing was trained. Bring the images back as they"
        " were, or give another --workdir."
    )
    (photos / "cat" / "another.png").unlink()
    check_data(workdir, data_of(photos, tmp_path))


def test_a_run_of_a_version_that_noted_nothing_goes_on(photos, tmp_path):
    workdir = tmp_path / "run"
    (loading.checkpoint_directory(workdir) / "10").mkdir(parents=True)
    check_data(workdir, data_of(photos, tmp_path))
    assert (workdir / "data.json").exists()
