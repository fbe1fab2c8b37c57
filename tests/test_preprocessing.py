"""Images as networks want them, against Pillow used directly and by published rules."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import list_models, preprocess_for
from senet_jax.models.inputs import CAFFE, IMAGENET_MEAN, IMAGENET_STD
from senet_jax.models.pretrained import PRETRAINED
from senet_jax.preprocessing import Preprocess, centre_crop, resized_shape

Image = pytest.importorskip("PIL.Image")

GREY = dict(mean=(0.5,), std=(0.5,), crop=1.0)
COLOUR = dict(mean=IMAGENET_MEAN, std=IMAGENET_STD)


def picture(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def by_hand(pixels, size, crop, method):
    """timm's evaluation as its documentation says it: torchvision's Resize of the short side to
    floor(size / crop), CenterCrop, ToTensor, Normalize."""
    image = Image.fromarray(pixels)
    short = math.floor(size / crop)
    width, height = image.size
    if width <= height:
        image = image.resize((short, int(short * height / width)), method)
    else:
        image = image.resize((int(short * width / height), short), method)
    left, top = (round((side - size) / 2.0) for side in image.size)
    image = image.crop((left, top, left + size, top + size))
    return (np.asarray(image) / 255.0 - IMAGENET_MEAN) / IMAGENET_STD


@pytest.mark.parametrize("shape", [(50, 71), (97, 40), (33, 33), (20, 21), (300, 37)])
@pytest.mark.parametrize(
    ("crop", "interpolation", "method"),
    [
        (0.875, "bicubic", Image.Resampling.BICUBIC),
        (0.95, "bilinear", Image.Resampling.BILINEAR),
        (1.0, "bicubic", Image.Resampling.BICUBIC),
    ],
)
def test_images_are_prepared_as_timm_does(shape, crop, interpolation, method):
    preprocess = Preprocess((32, 32), **COLOUR, crop=crop, interpolation=interpolation)
    pixels = picture(*shape)
    got = preprocess(pixels)
    assert got.dtype == np.float32
    # float32 arithmetic against float64, values up to 2.6
    np.testing.assert_allclose(got[0], by_hand(pixels, 32, crop, method), atol=2e-6)


@pytest.mark.parametrize("shape", [(50, 71), (97, 40), (33, 33), (20, 300)])
@pytest.mark.parametrize("crop", [1.0, 0.9])
def test_squashed_images_lose_the_ratio_of_their_sides_and_nothing_else(shape, crop):
    """timm's crop_mode "squash": torchvision's Resize of both sides to floor(size / crop), then
    CenterCrop."""
    preprocess = Preprocess((32, 36), **COLOUR, crop=crop, crop_mode="squash")
    pixels = picture(*shape)
    height, width = math.floor(32 / crop), math.floor(36 / crop)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - 36) / 2.0), round((height - 32) / 2.0)
    expected = np.asarray(image.crop((left, top, left + 36, top + 32)))
    unnormalised = preprocess(pixels)[0] * IMAGENET_STD + IMAGENET_MEAN
    np.testing.assert_array_equal(np.round(unnormalised * 255), expected)
    np.testing.assert_allclose(unnormalised * 255, expected, atol=1e-3)  # float32, 255 * 2 ** -24


def test_a_shape_that_is_no_square_keeps_the_ratio_of_the_sides():
    # timm's ResizeKeepRatio: 20 x 30 in 40 x 90 is limited by the height; halves are rounded
    assert resized_shape((40, 90), (20, 30), 1.0) == (20, 45)
    assert Preprocess((20, 30), **COLOUR, crop=1.0)(picture(40, 90)).shape == (1, 20, 30, 3)


def test_the_crop_is_in_the_middle():
    pixels = np.arange(5 * 6).reshape(5, 6, 1)
    np.testing.assert_array_equal(centre_crop(pixels, (3, 2))[..., 0], pixels[1:4, 2:4, 0])


def test_images_of_the_networks_own_size_stay_as_they_are():
    pixels = picture(8, 8, 1)
    got = Preprocess((8, 8), **GREY)(pixels)
    np.testing.assert_allclose(got[0], pixels / 127.5 - 1, atol=1e-6)


@pytest.fixture
def file(tmp_path):
    """Saves a Pillow image and returns the path."""

    def save(image, name="image.png", **options):
        path = tmp_path / name
        image.save(path, **options)
        return str(path)

    return save


RED = (200, 40, 10)


def only_colour(batch):
    """The one colour of an image, as 0..255."""
    np.testing.assert_allclose(batch, np.broadcast_to(batch[:, :1, :1], batch.shape))
    return np.round((batch[0, 0, 0] * 0.5 + 0.5) * 255).tolist()


def prepared(path, channels):
    half = (0.5,) * channels
    return only_colour(Preprocess((4, 4), half, half)(path))


def test_every_kind_of_file_becomes_the_networks_channels(file):
    red, grey = Image.new("RGB", (6, 6), RED), Image.new("L", (6, 6), 90)
    luma = 84  # (299 * 200 + 587 * 40 + 114 * 10) / 1000, ITU-R 601
    for image in (red, red.convert("RGBA"), red.convert("P", palette=Image.Palette.ADAPTIVE)):
        path = file(image)
        assert prepared(path, 3) == list(RED)
        assert prepared(path, 1) == [luma]
    for image in (grey, grey.convert("LA"), grey.convert("P")):
        path = file(image)
        assert prepared(path, 3) == [90] * 3
        assert prepared(path, 1) == [90]
    white = file(Image.new("1", (6, 6), 1))
    assert prepared(white, 3) == [255] * 3


def test_transparent_pixels_keep_their_colour(file):
    path = file(Image.new("RGBA", (6, 6), (*RED, 0)))
    assert prepared(path, 3) == list(RED)
    assert prepared(path, 4) == [*RED, 0]


def test_cmyk_becomes_colours(file):
    cmyk = Image.new("CMYK", (6, 6), (0, 255, 255, 0))  # no cyan: red
    red, green, blue = prepared(file(cmyk, "image.jpg", quality=95), 3)
    assert red > 220 and green < 40 and blue < 40


def test_sixteen_bits_become_eight(file):
    values = np.full((6, 6), 128 * 257, np.uint16)
    path = file(Image.fromarray(values))
    assert prepared(path, 1) == [128]
    assert prepared(path, 3) == [128] * 3
    wide = file(Image.fromarray(values.astype(np.int32)), "image.tif")
    assert prepared(wide, 1) == [128]


def test_floats_and_thirty_two_bits_are_refused(file):
    floats = file(Image.fromarray(np.zeros((6, 6), np.float32)), "image.tif")
    with pytest.raises(ValueError, match=r"image\.tif has pixels of 32-bit floats, expected 8"):
        prepared(floats, 1)
    wide = file(Image.fromarray(np.full((6, 6), 1 << 20, np.int32)), "wide.tif")
    with pytest.raises(ValueError, match=r"wide\.tif has pixels of 32 bits, expected 8 or 16"):
        prepared(wide, 1)


def test_photographs_are_turned_upright(file):
    pixels = picture(40, 60)
    upright = Image.fromarray(pixels)
    sideways = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    preprocess = Preprocess((16, 16), **COLOUR)
    turned = preprocess(file(sideways, exif=exif))
    np.testing.assert_array_equal(turned, preprocess(pixels))


def test_one_and_several_of_every_kind_make_a_batch(file, tmp_path):
    pixels = [picture(20, 30, seed=0), picture(40, 20, seed=1)]
    images = [Image.fromarray(p) for p in pixels]
    paths = [file(image, f"{i}.png") for i, image in enumerate(images)]
    preprocess = Preprocess((16, 16), **COLOUR)
    expected = np.concatenate([preprocess(p) for p in pixels])
    assert expected.shape == (2, 16, 16, 3)
    for several in (pixels, images, paths, [tmp_path / "0.png", images[1]]):
        np.testing.assert_array_equal(preprocess(several), expected)
    batch = np.stack([pixels[0]] * 2)
    for array in (batch, jnp.asarray(batch)):
        np.testing.assert_array_equal(preprocess(array), expected[[0, 0]])
    np.testing.assert_array_equal(preprocess(images[0])[0], expected[0])


def test_arrays_may_have_any_number_of_channels():
    many = Preprocess((8, 8), (0.5,) * 6, (0.5,) * 6)
    assert many(picture(10, 12, 6)).shape == (1, 8, 8, 6)
    assert Preprocess((8, 8), **COLOUR)(picture(10, 12, 1)[..., 0]).shape == (1, 8, 8, 3)
    with pytest.raises(ValueError, match=r"shape \(10, 12, 3\), expected \[H, W, 6\]"):
        many(picture(10, 12))
    with pytest.raises(ValueError, match=r"cannot have 6 channels: give the network uint8 arrays"):
        many(Image.fromarray(picture(10, 12)))


def test_what_is_no_image_is_refused_by_name(tmp_path):
    preprocess = Preprocess((8, 8), **COLOUR)
    (tmp_path / "note.png").write_text("no image")
    with pytest.raises(ValueError, match=r"note\.png cannot be read as an image \(no format"):
        preprocess(tmp_path / "note.png")
    Image.fromarray(picture(64, 64)).save(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.jpg cannot be read as an image \(OSError: .*trunc"):
        preprocess(tmp_path / "cut.jpg")
    with pytest.raises(FileNotFoundError, match=r"There is no image .*gone\.png"):
        preprocess(tmp_path / "gone.png")
    with pytest.raises(ValueError, match="array of float32, expected uint8"):
        preprocess(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ValueError, match="An image is a int, expected a file name"):
        preprocess([3])


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (dict(interpolation="cubic"), "Unknown interpolation 'cubic': expected one of bilinear"),
        (dict(crop_mode="border"), "Unknown crop_mode 'border': expected center or squash"),
        (dict(crop=0), "crop is 0, expected a share"),
        (dict(std=(1.0,)), "mean has 3 values and std 1"),
    ],
)
def test_wrong_settings_are_refused(wrong, text):
    with pytest.raises(ValueError, match=text):
        Preprocess((8, 8), **COLOUR | wrong)


def test_adapted_channels_keep_what_the_adapted_kernel_sees():
    """A grey image that is given once to the summed kernel, as three times to the kernel itself;
    and a fourth channel that is red again."""
    colours = Preprocess((8, 8), (0.2, 0.4, 0.6), (0.1, 0.1, 0.1), crop=1.0)
    assert colours.with_channels(3) is colours
    one, four = colours.with_channels(1), colours.with_channels(4)
    grey = picture(8, 8, 1)
    np.testing.assert_allclose(
        3 * one(grey), colours(grey).sum(-1, keepdims=True), rtol=1e-5, atol=1e-5
    )
    assert four.mean == (0.2, 0.4, 0.6, 0.2)


# What timm 1.0.31 says for some tags: size, crop, interpolation; at the test size
TAGS = {
    "seresnet50": ((224, 0.95, "bicubic"), (288, 1.0, "bicubic")),  # a1_in1k
    "seresnet50.ra2_in1k": ((224, 0.875, "bicubic"), (288, 0.95, "bicubic")),
    "seresnet50.a3_in1k": ((160, 0.95, "bicubic"), (224, 0.95, "bicubic")),
    "legacy_senet154": ((224, 0.875, "bilinear"), (224, 0.875, "bilinear")),
    "resnetrs50": ((160, 0.91, "bicubic"), (224, 0.91, "bicubic")),
    "seresnextaa201d_32x8d.sw_in12k": ((320, 0.95, "bicubic"), (384, 1.0, "bicubic")),
}


@pytest.mark.parametrize("tag", TAGS)
def test_published_weights_say_how_their_images_are_prepared(tag):
    for test_size, (size, crop, interpolation) in zip((False, True), TAGS[tag], strict=True):
        assert preprocess_for(tag, test_size=test_size) == Preprocess(
            (size, size), IMAGENET_MEAN, IMAGENET_STD, crop, interpolation
        )


def test_all_published_settings_are_possible():
    for name in list_models(pretrained=True):
        for tag, weights in PRETRAINED[name].items():
            found = preprocess_for(f"{name}.{tag}", test_size=True)
            assert found.crop_mode == weights.input.crop_mode
            assert found.size == (weights.input.test_size or weights.input.size,) * 2


def test_the_caffe_release_is_fed_what_caffe_was():
    """Its own values are 0..255 and blue first, minus 104, 117, 123; ours are red first."""
    images = CAFFE
    preprocess = Preprocess(
        (8, 8), images.mean, images.std, images.crop, images.interpolation, images.crop_mode
    )
    pixels = picture(9, 9)  # 8 / 0.875, rounded down
    caffe = pixels[..., ::-1].astype(np.float64) - (104, 117, 123)
    got = preprocess(pixels)[0]
    np.testing.assert_allclose(got[..., ::-1], caffe[:8, :8], atol=1e-4)  # of up to 151
    assert math.floor(images.size / images.crop) == 256


def test_a_config_beside_a_file_says_it(tmp_path):
    file, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    file.touch()
    known = dict(input_size=[1, 20, 24], mean=[0.1], std=[0.2], crop_pct=0.9)
    known |= dict(interpolation="bilinear", test_input_size=[1, 30, 36], test_crop_pct=1.0)
    config.write_text(json.dumps(dict(architecture="seresnet18", pretrained_cfg=known)))
    expected = Preprocess((20, 24), (0.1,), (0.2,), 0.9, "bilinear")
    for source in (file, tmp_path, f"local-dir:{tmp_path}"):
        assert preprocess_for(source) == expected
    assert preprocess_for(file, test_size=True) == Preprocess(
        (30, 36), (0.1,), (0.2,), 1.0, "bilinear"
    )
    config.write_text(
        json.dumps(dict(architecture="seresnet18", pretrained_cfg=dict(crop_mode="squash")))
    )
    assert preprocess_for(file).crop_mode == "squash"
    config.write_text(
        json.dumps(dict(architecture="seresnet18", pretrained_cfg=dict(crop_mode="border")))
    )
    with pytest.raises(ValueError, match="for crop_mode 'border', expected 'center' or 'squash'"):
        preprocess_for(file)


def test_a_bare_file_is_prepared_for_as_its_name_says(tmp_path, caplog):
    file = tmp_path / "mine.pth"
    file.touch()
    assert preprocess_for(file, "seresnet50.a3_in1k") == preprocess_for("seresnet50.a3_in1k")
    assert preprocess_for(file, "seresnet50") == preprocess_for("seresnet50")
    assert not caplog.messages
    assert preprocess_for(file, "seresnet18").size == (224, 224)
    assert preprocess_for(file, "seresnet20", in_chans=1).size == (32, 32)
    assert all("Nothing says how images for" in message for message in caplog.messages)
    assert len(caplog.messages) == 2
