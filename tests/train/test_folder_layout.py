"""Which file of a folder is in which split: as the folders say, else drawn by the files' names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.layout import Shares, find_splits
from train.errors import WrongInput

SHARES = Shares(validation=0.25, test=0.2, seed=0)


def touch(folder, *names):
    """Empty files: nothing here opens an image."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def numbered(folder, count, classes=("cat", "dog")):
    return touch(folder, *(f"{name}/{i:03}.jpg" for name in classes for i in range(count)))


def places(folder, splits):
    return {
        split: {
            name: [file.relative_to(folder).as_posix() for file in files]
            for name, files in classes.items()
        }
        for split, classes in splits.items()
    }


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_folders_that_are_named_are_the_splits(tmp_path, validation):
    for split in ("train", validation, "test"):
        touch(tmp_path / split, "dog/b.JPEG", "cat/deep/er/a.png", "cat/.hidden.png", "cat/a.txt")
    found = places(tmp_path, find_splits(tmp_path, SHARES))
    assert list(found) == ["train", "validation", "test"]
    assert list(found["train"]) == ["cat", "dog"]
    assert found["validation"] == {
        "cat": [f"{validation}/cat/deep/er/a.png"],
        "dog": [f"{validation}/dog/b.JPEG"],
    }


def test_without_val_a_share_of_train_is_taken_and_the_test_stays(tmp_path):
    numbered(tmp_path / "train", 8)
    numbered(tmp_path / "test", 3)
    found = find_splits(tmp_path, SHARES)
    assert {split: len(found[split]["cat"]) for split in found} == {
        "train": 6,
        "validation": 2,
        "test": 3,
    }


def test_without_a_test_there_is_none(tmp_path):
    numbered(tmp_path / "photos" / "train", 4)
    assert "test" not in find_splits(tmp_path / "photos", SHARES)
    numbered(tmp_path / "plain", 4)
    assert "test" not in find_splits(tmp_path / "plain", Shares(0.25, 0.0, 0))


def test_a_class_may_be_called_train(tmp_path):
    numbered(tmp_path, 10, ("train", "plane"))
    assert list(find_splits(tmp_path, SHARES)["test"]) == ["plane", "train"]


@given(
    counts=st.lists(st.integers(4, 60), min_size=2, max_size=4),
    validation=st.floats(0.01, 0.4),
    test=st.floats(0.01, 0.4),
    seed=st.integers(0, 5),
)
def test_splits_leave_nothing_out_and_hold_their_share_of_every_class(
    tmp_path_factory, counts, validation, test, seed
):
    folder = tmp_path_factory.mktemp("images")
    for i, count in enumerate(counts):
        numbered(folder, count, (f"class{i}",))
    found = places(folder, find_splits(folder, Shares(validation, test, seed)))
    for i, count in enumerate(counts):
        name = f"class{i}"
        together = [file for split in found.values() for file in split[name]]
        assert sorted(together) == [f"{name}/{k:03}.jpg" for k in range(count)]
        tested = max(1, round(test * count))
        assert len(found["test"][name]) == tested
        assert len(found["validation"][name]) == max(1, round(validation * (count - tested)))


def test_splits_follow_from_names_and_seed_alone(tmp_path):
    one, other = numbered(tmp_path / "one", 40), numbered(tmp_path / "other", 40)
    drawn = places(one, find_splits(one, SHARES))
    assert drawn == places(other, find_splits(other, SHARES))
    assert drawn != places(one, find_splits(one, Shares(0.25, 0.2, 1)))
    # Written down once: results of different versions are compared on the same images.
    small = numbered(tmp_path / "small", 10)
    assert places(small, find_splits(small, SHARES))["test"] == {
        "cat": ["cat/003.jpg", "cat/005.jpg"],
        "dog": ["dog/008.jpg", "dog/009.jpg"],
    }


def refusal(folder, shares=SHARES):
    with pytest.raises(WrongInput) as caught:
        find_splits(folder, shares)
    return str(caught.value)


def test_what_is_no_folder_of_classes_is_refused(tmp_path):
    assert refusal(tmp_path / "photo").startswith(f"There is no folder {tmp_path / 'photo'}: expec")
    archive = tmp_path / "photos.zip"
    archive.touch()
    assert refusal(archive).startswith(f"{archive} is a file, expected a folder: expected one sub-")
    flat = touch(tmp_path / "flat", "a.jpg", "b.jpg")
    assert refusal(flat).startswith(f"{flat} has no sub-folders, so no classes: ")
    single = numbered(tmp_path / "single", 9, ("cat",))
    assert refusal(single).startswith(f"{single} has one class only, cat: ")


def test_a_file_where_a_split_is_expected_is_refused(tmp_path):
    numbered(tmp_path / "train", 4)
    (tmp_path / "val").touch()
    assert refusal(tmp_path).startswith(f"{tmp_path / 'val'} is a file, expected a folder: ")


def test_two_folders_for_validation_are_refused(tmp_path):
    for name in ("train", "val", "validation"):
        numbered(tmp_path / name, 4)
    assert refusal(tmp_path) == (
        f"{tmp_path / 'validation'} and {tmp_path / 'val'} are both there: expected one folder for"
        " validation."
    )


def test_a_class_without_images_is_refused_by_its_folder(tmp_path):
    touch(numbered(tmp_path, 9), "bird/notes.txt")
    assert refusal(tmp_path).startswith(f"{tmp_path / 'bird'} holds no images (files that end in ")


def test_classes_that_differ_between_splits_are_refused(tmp_path):
    numbered(tmp_path / "train", 4)
    numbered(tmp_path / "val", 4, ("cat", "dgo"))
    said = refusal(tmp_path)
    assert "The validation images" in said
    assert "dgo, dog differ, dgo is not in" in said


def test_too_few_images_to_divide_are_refused(tmp_path):
    touch(numbered(tmp_path, 9), "bird/one.jpg")
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path / 'bird'} has 1 images left to train with, too few to take")
    assert said.endswith("or give a smaller --config.data.test_fraction.")
    assert "config.data.validation_fraction is 0" in refusal(
        numbered(tmp_path / "other", 9), Shares(0.0, 0.2, 0)
    )
