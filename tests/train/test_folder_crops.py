"""Random crops of stored images, against SciPy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from train.augment import AugmentOptions, augment, warp

augmented = jax.jit(augment, static_argnums=2)
warped = jax.jit(warp, static_argnames="size")
STILL = {"shift": jnp.zeros(2), "rotate": 0.0, "scale": 1.0, "shear": 0.0}


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def ramps(h, w):
    """Each pixel tells its row and its column, uint8 [1, h, w, 2]."""
    return np.stack(np.mgrid[:h, :w], axis=-1).astype(np.uint8)[None]


@pytest.mark.parametrize("size", [(6, 9), (14, 5)])
def test_a_window_agrees_with_scipy(size):
    random = np.random.default_rng(0)
    image = random.uniform(size=(10, 12, 2)).astype(np.float32)
    for _ in range(5):
        sides = random.uniform(3, (10, 12))
        corner = random.uniform(0, np.array([10, 12]) - sides)
        step = sides / size
        expected = np.stack(
            [
                ndimage.affine_transform(
                    image[..., c], step, corner + step / 2 - 0.5, size, order=1, mode="nearest"
                )
                for c in range(2)
            ],
            axis=-1,
        )
        actual = warped(image, **STILL, window=(jnp.array(corner), jnp.array(sides)), size=size)
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_a_window_is_cut_out_of_what_the_warp_gives():
    """Away from the borders, where a window of whole pixels needs no second resampling."""
    image = np.random.default_rng(1).uniform(size=(16, 16, 3)).astype(np.float32)
    move = {"shift": jnp.array([0.3, -1.2]), "rotate": 0.4, "scale": 1.2, "shear": 0.1}
    window = jnp.array([3.0, 5.0]), jnp.array([6.0, 7.0])
    part = warped(image, **move, window=window, size=(6, 7))
    np.testing.assert_allclose(part, warped(image, **move)[3:9, 5:12], atol=1e-5)


def test_the_whole_as_a_window_is_the_image():
    image = np.random.default_rng(2).uniform(size=(5, 7, 3)).astype(np.float32)
    window = jnp.zeros(2), jnp.array([5.0, 7.0])
    np.testing.assert_allclose(warped(image, **STILL, window=window, size=(5, 7)), image, atol=1e-6)


def test_crops_show_shares_within_the_limits_in_the_size_asked_for():
    """Between neighbours of a ramp lies a side / the size: so each crop tells what it shows."""
    h, w, size = 40, 60, (20, 30)
    options = AugmentOptions(crop_area=(0.25, 0.5), size=size)
    images = np.repeat(ramps(h, w), 500, axis=0)
    crops = 255 * np.asarray(augmented(images, keys(500), options))
    assert crops.shape == (500, *size, 2)
    # by their middles: at the image's border a crop is cut off by half a pixel
    height = (crops[:, 15, 0, 0] - crops[:, 5, 0, 0]) * 2
    width = (crops[:, 0, 20, 1] - crops[:, 0, 10, 1]) * 3
    share, lean = height * width / (h * w), (width / w) / (height / h)
    assert share.min() > 0.249
    assert share.max() < 0.501
    assert abs(share.mean() - 0.375) < 0.015  # 0.0032 is its deviation
    assert lean.min() > 0.74
    assert lean.max() < 1.34
    assert np.abs(np.log(lean)).max() > 0.25
    centre = crops[:, 9:11, 14:16].mean((1, 2))
    np.testing.assert_allclose(centre.mean(0), [19.5, 29.5], atol=1.0)
    assert (centre.std(0) > [3, 4]).all()


def test_without_crops_images_of_another_size_are_resized_whole():
    images = np.full((2, 8, 8, 3), 77, np.uint8)
    images[:, :4] = 200
    out = np.asarray(augmented(images, keys(2), AugmentOptions(size=(7, 7))))
    assert out.shape == (2, 7, 7, 3)
    np.testing.assert_allclose(255 * out[0, :, 3, 0], [200] * 3 + [138.5] + [77] * 3, atol=1e-3)
    assert np.array_equal(out[0], out[1])


def test_other_changes_draw_what_they_drew_without_crops():
    images = np.full((4, 8, 8, 1), 9, np.uint8)
    cut = augmented(images, keys(4), AugmentOptions(cutout=5)) == 0
    both = augmented(images, keys(4), AugmentOptions(cutout=5, crop_area=(0.5, 1.0))) == 0
    assert np.array_equal(cut, both)


def test_images_that_have_their_size_are_not_resampled():
    images = np.zeros((4, 8, 8, 1), np.uint8)
    programs = {
        str(jax.make_jaxpr(augment, static_argnums=2)(images, keys(4), AugmentOptions(size=size)))
        for size in (None, (8, 8))
    }
    assert len(programs) == 1


@pytest.mark.parametrize("area", [(0.0, 1.0), (0.6, 0.5), (0.5, 1.1), (0.5,)])
def test_shares_that_cannot_be_are_refused(area):
    with pytest.raises(ValueError, match=r"augment\.crop_area is .* the smaller one first"):
        AugmentOptions(crop_area=area)
