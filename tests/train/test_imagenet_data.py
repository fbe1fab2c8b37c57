"""ImageNet from its archives: resumed, counted, with the images that are known to be odd."""

import contextlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from configs.defaults import defaults
from senet_jax.preprocessing import Preprocess
from train.data import imagenet, make_data
from train.data.imagenet import ImageNet, Plan
from train.data.imagenet_files import KIT, TRAIN, VALIDATION, read_kit
from train.errors import WrongInput

# By WordNet id: number in the kit, words, training images. Two are called crane, as in truth.
SYNSETS = {
    "n01440764": (3, "tench, Tinca tinca", 4),
    "n02012849": (1, "crane", 4),
    "n03126707": (2, "crane", 5),
}
ANSWERS = (3, 1, 1, 2, 3)
LABELS = (0, 1, 1, 2, 0)
SIZES = {"train": 8, "validation": 7, "test": 7}


def picture(seed, mode="RGB"):
    """Smooth, so that JPEG keeps it."""
    rows, columns = np.mgrid[: 12 + seed % 3, : 15 - seed % 4]
    planes = np.stack([40 * (seed % 5) + 3 * rows, 9 * columns, 100 + rows + columns], axis=-1)
    return Image.fromarray(planes.astype(np.uint8)).convert(mode)


def encoded(image, kind="JPEG"):
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return file.getvalue()


def tar_of(files, mode="w"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def kit(answers=ANSWERS):
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children")
    fields += ("wordnet_height", "num_train_images")
    rows = [(n, wnid, words, "", 0, [], 0, size) for wnid, (n, words, size) in SYNSETS.items()]
    rows = [*rows[::-1], (4, "n00001740", "entity", "", 2, [1, 2], 9, 0)]  # no class
    synsets = np.empty((len(rows), 1), [(field, object) for field in fields])
    synsets[:, 0] = rows
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    lines = "".join(f"{number}\n" for number in answers)
    folder = "ILSVRC2012_devkit_t12/data"
    files = {
        f"{folder}/meta.mat": meta.getvalue(),
        f"{folder}/ILSVRC2012_validation_ground_truth.txt": lines.encode(),
    }
    return tar_of(files, "w:gz")


def class_files(wnid):
    """One of the images of n02012849 is a PNG by content, one has four inks: so it is there."""
    names = [f"{wnid}_{i}.JPEG" for i in range(SYNSETS[wnid][2])]
    files = {name: encoded(picture(7 * i + int(wnid[-2:]))) for i, name in enumerate(names)}
    if wnid == "n02012849":
        files[names[1]] = encoded(picture(50), "PNG")
        files[names[2]] = encoded(picture(51, "CMYK"))
    return files


def write(folder, train=None, validation=None, answers=ANSWERS):
    folder.mkdir(parents=True, exist_ok=True)
    if train is None:
        train = {f"{wnid}.tar": tar_of(class_files(wnid)) for wnid in SYNSETS}
    if validation is None:
        names = [f"ILSVRC2012_val_{i + 1:08}.JPEG" for i in range(len(ANSWERS))]
        validation = {name: encoded(picture(100 + i)) for i, name in enumerate(names)}
        validation = dict(reversed(validation.items()))  # archives need not be sorted
    (folder / TRAIN).write_bytes(tar_of(train))
    (folder / VALIDATION).write_bytes(tar_of(validation))
    (folder / KIT).write_bytes(kit(answers))
    return folder


def plan_of(source, fraction=0.25, **changes):
    sizes = SIZES if fraction else {"train": 8, "test": 7}
    fields = {"source": source, "sizes": sizes, "fraction": fraction, "seed": 0}
    return Plan(**(fields | {"skip_unreadable": False, "classes": 3} | changes))


def prepare(plan, directory):
    builder = ImageNet(
        plan, data_dir=directory / "imagenet" / plan.key(), file_format="array_record"
    )
    builder.download_and_prepare()
    return builder


def config_in(directory, **data):
    config = defaults()
    fields = {"name": "imagenet", "dir": str(directory), "image_size": 7, "stored_size": 8}
    fields |= {"in_memory": True, "batch_size": 4, "validation_fraction": 0.25}
    config.data.update(fields | data)
    return config


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("archives"))


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagenet, "SHARD", 2)
        yield


@pytest.fixture(scope="module")
def directory(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    prepare(plan_of(source), path)
    return path


def stored(directory, plan, split):
    """By its place in the archives: (image, label), as TFDS reads them."""
    builder = ImageNet(plan, data_dir=directory / "imagenet" / plan.key())
    return {r["file"].decode(): (r["image"], r["label"]) for r in builder.as_data_source(split)}


def test_the_kit_says_names_sizes_and_answers(source):
    found = read_kit(source)
    assert found.wnids == tuple(SYNSETS)
    assert found.names == ("tench", "crane (n02012849)", "crane (n03126707)")
    assert found.sizes == (4, 4, 5)
    assert found.validation == LABELS


def test_splits_classes_and_shapes(directory):
    data = make_data(config_in(directory))
    assert data.class_names == ("tench", "crane (n02012849)", "crane (n03126707)")
    assert (data.train_size, data.validation_size, data.test_size) == (10, 3, 5)
    assert np.bincount(data.validation_batches.examples.labels).tolist() == [1, 1, 1]
    assert data.training_batches[0]["image"].shape == (4, 8, 8, 3)
    assert data.image_shape == (7, 7, 3)


def test_every_image_is_stored_once_with_its_label_as_predict_would_see_it(directory, source):
    train, validation, test = (stored(directory, plan_of(source), split) for split in SIZES)
    originals = {
        f"{wnid}/{name}": (content, label)
        for label, wnid in enumerate(SYNSETS)
        for name, content in class_files(wnid).items()
    }
    assert not train.keys() & validation.keys()
    for size, images in ((8, train), (7, validation)):
        square = Preprocess((size, size), mean=(0.0,) * 3, std=(1 / 255,) * 3, crop=1.0)
        for place, (pixels, label) in images.items():
            content, expected = originals.pop(place)
            assert label == expected
            seen = np.rint(square(Image.open(io.BytesIO(content)))[0])
            assert np.array_equal(pixels, seen)
    assert not originals
    names = [f"{VALIDATION}/ILSVRC2012_val_{i + 1:08}.JPEG" for i in range(5)]
    assert {place: label for place, (_, label) in test.items()} == dict(
        zip(names, LABELS, strict=True)
    )


def test_mean_and_deviation_are_those_of_the_training_images(directory, source):
    data = make_data(config_in(directory))
    train = np.stack([i for i, _ in stored(directory, plan_of(source), "train").values()]) / 255
    np.testing.assert_allclose(data.mean, train.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.std, train.std((0, 1, 2)), rtol=1e-12)


def test_without_validation_all_training_images_are_trained_on(source, tmp_path):
    prepare(plan_of(source, fraction=0.0), tmp_path)
    data = make_data(config_in(tmp_path, validation_fraction=0.0))
    assert (data.train_size, data.validation_size, data.test_size) == (13, 5, 5)


class Interrupted(Exception):
    pass


def test_an_interrupted_preparation_goes_on_where_it_stopped(
    directory, source, tmp_path, monkeypatch
):
    class_photos, begun = imagenet.class_photos, []

    def some(source, kit, label):
        begun.append(label)
        for i, photo in enumerate(class_photos(source, kit, label)):
            if len(begun) == 3 and i == 2:
                raise Interrupted
            yield photo

    monkeypatch.setattr(imagenet, "class_photos", some)
    with pytest.raises(Interrupted):
        prepare(plan_of(source), tmp_path)
    assert begun == [0, 1, 2]
    assert not list(tmp_path.rglob("dataset_info.json"))
    prepare(plan_of(source), tmp_path)
    assert begun == [0, 1, 2, 2, 0, 1, 2]  # the last class of train, then those of validation
    assert not list(tmp_path.rglob("*.unfinished"))
    whole, resumed = (make_data(config_in(path)) for path in (directory, tmp_path))
    assert resumed.fingerprint == whole.fingerprint
    assert np.array_equal(
        resumed.training_batches.examples.images, whole.training_batches.examples.images
    )


def test_what_is_prepared_needs_no_archives_and_is_not_prepared_again(directory, source):
    before = {file: file.stat().st_mtime_ns for file in directory.rglob("*")}
    prepare(plan_of(Path("/nowhere")), directory)
    assert {file: file.stat().st_mtime_ns for file in directory.rglob("*")} == before


def refusal(work, *arguments):
    with pytest.raises(WrongInput) as caught:
        work(*arguments)
    return str(caught.value)


def test_missing_archives_are_refused_by_name(tmp_path):
    said = refusal(make_data, config_in(tmp_path, source=str(tmp_path)))
    assert said.startswith(f"There is no {TRAIN} in {tmp_path}: expected {TRAIN}, {VALIDATION} and")
    assert "https://image-net.org" in said


def test_an_archive_with_too_few_images_is_refused_with_the_class(tmp_path):
    train = {f"{wnid}.tar": tar_of(class_files(wnid)) for wnid in SYNSETS}
    few = class_files("n03126707")
    few.popitem()
    source = write(tmp_path / "archives", train | {"n03126707.tar": tar_of(few)})
    said = refusal(prepare, plan_of(source), tmp_path)
    assert said.startswith(f"{source / TRAIN} has 4 images in n03126707.tar, expected 5: download")
    del train["n02012849.tar"]
    write(source, train)
    said = refusal(prepare, plan_of(source), tmp_path / "other")
    assert said.startswith(f"{source / TRAIN} has no n02012849.tar: ")
    write(source, validation={"ILSVRC2012_val_00000001.JPEG": encoded(picture(0))})
    said = refusal(prepare, plan_of(source), tmp_path / "third")
    assert said.startswith(f"{source / VALIDATION} has 1 images, expected 5: ")


@pytest.mark.parametrize("name", [TRAIN, KIT])
def test_half_an_archive_is_refused_by_name(tmp_path, name):
    source = write(tmp_path / "archives")
    whole = (source / name).read_bytes()
    (source / name).write_bytes(whole[: len(whole) // 2])
    said = refusal(prepare, plan_of(source), tmp_path)
    assert said.startswith(f"{source / name} ")
    assert "download it again" in said


def test_an_answer_that_is_no_class_is_refused(tmp_path):
    source = write(tmp_path / "archives", answers=(3, 1, 1, 2, 9))
    said = refusal(prepare, plan_of(source), tmp_path)
    assert said.startswith(f"{source / KIT} says that a validation image is of class 9, expected")


def test_an_unreadable_image_is_refused_by_name_or_left_out_and_told(tmp_path, capsys):
    damaged = class_files("n01440764") | {"n01440764_2.JPEG": b"\xff\xd8 no more"}
    train = {f"{wnid}.tar": tar_of(class_files(wnid)) for wnid in SYNSETS}
    source = write(tmp_path / "archives", train | {"n01440764.tar": tar_of(damaged)})
    said = refusal(prepare, plan_of(source), tmp_path)
    assert said.startswith("n01440764/n01440764_2.JPEG cannot be read as an image (")
    with contextlib.redirect_stdout(io.StringIO()):
        prepare(plan_of(source, skip_unreadable=True), tmp_path)
    data = make_data(config_in(tmp_path, skip_unreadable=True))
    assert data.train_size + data.validation_size == 12
    said = capsys.readouterr().out
    assert "1 unreadable images are left out:\n  n01440764/n01440764_2.JPEG cannot" in said
