"""A person's images: right whatever their format, stored once, and seen as predict sees them."""

import os

import numpy as np
import pytest
from PIL import Image, ImageOps

from configs.folder import get_config
from senet_jax.preprocessing import _of_run
from tests.train import pictures
from train.check import check
from train.data import make_data
from train.data.folder import make_plan
from train.data.squares import Photo, Squares, reader, square_sizes
from train.errors import WrongInput
from train.setup import describe

SIZE = 7


def config_of(folder, directory, **data):
    config = get_config()
    fields = {"folder": str(folder), "dir": str(directory), "image_size": SIZE, "batch_size": 4}
    config.data.update(fields | data)
    return config


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """train, val and test, of pictures of several shapes."""
    folder = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        for name in pictures.CLASSES:
            for i in range(count):
                pictures.draw(folder / split / name / f"{i}.png", shape=(9 + 3 * i, 14 - 2 * i))
    return folder


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def data(photos, directory):
    return make_data(config_of(photos, directory, in_memory=True))


def records(photos, directory, split):
    """By file, as TFDS itself reads them: (image, label)."""
    plan = make_plan(config_of(photos, directory).data)
    builder = Squares(plan, data_dir=directory / "folders" / plan.key, file_format="array_record")
    return {r["file"].decode(): (r["image"], r["label"]) for r in builder.as_data_source(split)}


def square(image, size):
    """By Pillow alone: the short side to `size`, the middle."""
    w, h = image.size
    wide = (size, int(size * h / w)) if w <= h else (int(size * w / h), size)
    image = image.resize(wide, Image.Resampling.BICUBIC)
    left, top = (round((have - size) / 2) for have in image.size)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def test_splits_sizes_and_classes_are_those_of_the_folder(data):
    assert (data.train_size, data.validation_size, data.test_size) == (12, 6, 4)
    assert data.class_names == pictures.CLASSES
    assert data.image_shape == (SIZE, SIZE, 3)
    assert data.training_batches[0]["image"].shape == (4, 8, 8, 3)  # 8/7 of 7
    assert data.test_batches[0]["image"].shape == (64, SIZE, SIZE, 3)


def test_images_are_resized_squares_with_the_label_of_their_folder(photos, directory, data):
    for split, folder, size in (
        ("train", "train", 8),
        ("validation", "val", 7),
        ("test",) * 2 + (7,),
    ):
        stored = records(photos, directory, split)
        assert len(stored) == getattr(data, f"{split}_size")
        for file, (pixels, label) in stored.items():
            assert file.split("/")[0] == folder
            assert file.split("/")[1] == pictures.CLASSES[label]
            with Image.open(photos / file) as image:
                assert np.array_equal(pixels, square(image, size))


def test_evaluation_and_predict_see_the_same_pixels(photos, directory, data):
    run = describe(config_of(photos, directory), data)
    preprocess = _of_run(run)  # preprocess_for(workdir)
    stored = records(photos, directory, "test")
    mean, std = (np.asarray(values, np.float32) for values in (data.mean, data.std))
    for file, (pixels, _) in stored.items():
        evaluated = (pixels.astype(np.float32) * np.float32(1 / 255) - mean) / std
        np.testing.assert_allclose(evaluated, preprocess(photos / file)[0], atol=2e-6)


def test_mean_and_deviation_are_those_of_the_stored_training_images(photos, directory, data):
    train = np.stack([pixels for pixels, _ in records(photos, directory, "train").values()]) / 255
    np.testing.assert_allclose(data.mean, train.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.std, train.std((0, 1, 2)), rtol=1e-12)


def test_initial_weights_get_images_normalised_as_they_know_them(photos, directory):
    config = config_of(photos, directory)
    config.model.init_from = "seresnet50.ra2_in1k"
    config.model.name = "seresnet50"
    data = make_data(config)
    assert data.mean == (0.485, 0.456, 0.406)
    assert data.std == (0.229, 0.224, 0.225)


def test_what_is_prepared_is_reused_until_a_file_or_an_option_changes(tmp_path, monkeypatch):
    folder = pictures.fill(tmp_path / "photos", 3)
    config = config_of(folder, tmp_path / "data", test_fraction=0.0)
    prepared = []
    prepare = Squares.download_and_prepare
    monkeypatch.setattr(
        Squares, "download_and_prepare", lambda self: prepared.append(prepare(self))
    )
    for _ in range(2):
        assert make_data(config).train_size == 4
    assert len(prepared) == 1
    changed = folder / "cat" / "0.png"
    os.utime(changed, ns=(0, 0))
    make_data(config)
    pictures.draw(folder / "dog" / "new.png")
    assert make_data(config).train_size == 5
    config.data.image_size = 5
    assert make_data(config).image_shape == (5, 5, 3)
    assert len(prepared) == 4


def test_without_test_images_those_of_validation_are_reported_and_it_is_said(tmp_path, capsys):
    folder = pictures.fill(tmp_path / "photos" / "train", 3).parent
    data = make_data(config_of(folder, tmp_path / "data"))
    said = capsys.readouterr().out
    assert "There are no test images: what is reported as test is of the validation images" in said
    assert (data.train_size, data.validation_size, data.test_size) == (4, 2, 2)
    assert np.array_equal(data.test_batches[0]["image"], data.validation_batches[0]["image"])


@pytest.fixture
def damaged(tmp_path):
    folder = pictures.fill(tmp_path / "photos", 4)
    whole = (folder / "cat" / "0.png").read_bytes()
    (folder / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "1.png").write_text("not an image")
    return folder


def test_an_unreadable_image_is_refused_by_name_and_nothing_is_left(damaged, tmp_path):
    with pytest.raises(WrongInput) as caught:
        make_data(config_of(damaged, tmp_path / "data"))
    said = str(caught.value)
    assert said.startswith(str(damaged))
    assert "cannot be read as an image" in said
    assert said.endswith("leave out all such files with --config.data.skip_unreadable=True.")
    assert not list((tmp_path / "data").rglob("*array_record*"))


def test_unreadable_images_are_left_out_and_counted_if_asked_for(damaged, tmp_path, capsys):
    config = config_of(damaged, tmp_path / "data", test_fraction=0.0, skip_unreadable=True)
    for _ in range(2):  # also when they were left out by an earlier run
        data = make_data(config)
        assert data.train_size + data.validation_size == 6
        said = capsys.readouterr().out
        assert "2 unreadable images are left out:" in said
        assert f"{damaged / 'cat' / '0.png'} cannot be read as an image" in said
        assert f"{damaged / 'dog' / '1.png'} cannot be read as an image" in said


def test_a_class_of_which_nothing_can_be_read_is_refused(damaged, tmp_path):
    for file in (damaged / "cat").iterdir():
        file.write_text("")
    with pytest.raises(WrongInput, match="image of class cat can be read"):
        make_data(config_of(damaged, tmp_path / "data", skip_unreadable=True))


def test_an_eighth_more_is_stored_unless_another_size_is_asked_for():
    data = get_config().data
    assert square_sizes(("train", "test"), data) == {"train": 256, "test": 224}
    data.stored_size = 300
    assert square_sizes(("train", "test"), data) == {"train": 300, "test": 224}


def test_training_images_that_were_jpeg_are_jpeg_again_where_that_is_faster(tmp_path):
    smooth = Image.fromarray(np.add.outer(np.arange(140), np.arange(150)).astype(np.uint8) // 2)
    for kind in ("jpeg", "png"):
        smooth.save(tmp_path / f"photo.{kind}")
    for name, size, lossy, start in (
        ("photo.jpeg", 128, True, b"\xff\xd8"),
        ("photo.jpeg", 127, True, b"\x89PNG"),  # small
        ("photo.jpeg", 128, False, b"\x89PNG"),  # for evaluation
        ("photo.png", 128, True, b"\x89PNG"),
    ):
        pixels, file = reader(size, 3, lossy=lossy)(Photo("name", 0, tmp_path / name))
        assert file.getvalue().startswith(start)
        assert np.abs(np.asarray(Image.open(file)).astype(int) - pixels).mean() < 1


RGB = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def read(file):
    """As a file, after it came out the same from its bytes."""
    from_file, from_bytes = (
        reader(6, 3, lossy=True)(Photo("name", 0, content)) for content in (file, file.read_bytes())
    )
    assert np.array_equal(from_file.pixels, from_bytes.pixels)
    return from_file


def as_rgb(image):
    return np.asarray(image.convert("RGB"))


def palette():
    return Image.fromarray(RGB).quantize(16)


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("rgb.png", Image.fromarray(RGB), RGB),
        ("grey.png", Image.fromarray(GREY), np.dstack([GREY] * 3)),
        ("palette.png", palette(), as_rgb(palette())),
        ("alpha.png", Image.fromarray(np.dstack([RGB, GREY])), RGB),
        ("grey-alpha.png", Image.fromarray(RGB[..., :2], "LA"), np.dstack([GREY] * 3)),
        (
            "16-bit.png",
            Image.fromarray(GREY.astype(np.uint16) * 257),
            np.dstack([GREY] * 3),
        ),
        (
            "cmyk.tif",
            Image.fromarray(np.dstack([255 - RGB, np.zeros_like(GREY)]), "CMYK"),
            RGB,
        ),
        ("one-bit.png", Image.fromarray(GREY > 127), np.dstack([(GREY > 127) * np.uint8(255)] * 3)),
    ],
)
def test_every_kind_of_image_comes_out_as_rgb(tmp_path, name, image, expected):
    image.save(tmp_path / name)
    pixels, png = read(tmp_path / name)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, expected)
    assert np.array_equal(np.asarray(Image.open(png)), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright_as_their_exif_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "photo.png", exif=exif)
    turned = ImageOps.exif_transpose(Image.open(tmp_path / "photo.png"))
    assert (orientation == 1) == np.array_equal(np.asarray(turned), RGB)
    pixels, _ = read(tmp_path / "photo.png")
    assert np.array_equal(pixels, np.asarray(turned))


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        (
            {"folder": ""},
            "config.data.folder is not set: say where your images are"
            " (--config.data.folder=/path/to/photos).",
        ),
        (
            {"image_size": 64, "stored_size": 200},
            "config.data.stored_size is 200, expected config.data.image_size, 64, to twice that, or"
            " 0 to leave it to the trainer.",
        ),
        ({"test_fraction": 1.0}, "config.data.test_fraction is 1.0, expected at least 0 and less"),
        ({"image_size": 0}, "config.data.image_size is 0, expected 1 or more."),
    ],
)
def test_values_that_will_not_do_are_refused_before_the_folder_is_read(tmp_path, fields, answer):
    config = config_of(tmp_path / "nowhere", tmp_path)
    config.data.update(fields)
    with pytest.raises(WrongInput) as caught:
        check(config)
    assert str(caught.value).startswith(answer)
