"""Mixup and CutMix: what they make of pairs, and that targets tell it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.mixing import MixOptions, mix

N, SIZE = 64, 8


def mixed(seed=0, step=0, images=None, **options):
    """Images that are 1.0 at even places and 0.0 at odd ones, and their targets, mixed."""
    if images is None:
        images = jnp.broadcast_to((jnp.arange(N) % 2 == 0)[:, None, None, None], (N, SIZE, SIZE, 1))
    targets = jax.nn.one_hot(jnp.arange(N) % 2, 2)
    keys = jax.random.split(jax.random.key(seed), N)
    settings = dict(mixup=0.0, cutmix=0.0, probability=1.0, end=10) | options
    x, y = mix(images.astype(jnp.float32), targets, keys, jnp.int32(step), MixOptions(**settings))
    return np.asarray(x), np.asarray(y)


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1}])
def test_a_target_is_what_share_of_each_image_there_is(options):
    x, y = mixed(**options)
    of_even = x.mean(axis=(1, 2, 3))  # white comes from places that are even
    np.testing.assert_allclose(y[:, 0], of_even, atol=1e-6)
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)
    assert np.std(of_even[::2]) > 0.05  # every image has a share of its own


def test_mixup_is_even_and_cutmix_has_a_box():
    assert np.ptp(mixed(mixup=0.4)[0], axis=(1, 2, 3)).max() < 1e-6
    x, _ = mixed(cutmix=1.0)
    assert set(np.unique(x)) == {0.0, 1.0}
    for image, own in zip(x[..., 0], np.arange(N) % 2 == 0, strict=True):
        rows, columns = np.nonzero(image != own)
        if len(rows):  # all of a rectangle
            assert len(rows) == np.ptp(rows) * np.ptp(columns) + np.ptp(rows) + np.ptp(columns) + 1


def test_both_means_one_of_them():
    x, _ = mixed(mixup=0.4, cutmix=1.0)
    even = np.ptp(x, axis=(1, 2, 3)) < 1e-6
    boxes = np.isin(x, (0.0, 1.0)).all(axis=(1, 2, 3))
    assert (even | boxes).all()
    assert 10 < (even & ~boxes).sum() < 54


def test_shares_of_mixup_are_beta_distributed():
    """Var Beta(a, a) = 1 / (4 (2 a + 1))."""
    shares = np.concatenate([mixed(seed, mixup=0.4)[1][::2, 0] for seed in range(8)])
    assert abs(shares.mean() - 0.5) < 0.06
    assert abs(shares.var() - 1 / (4 * 1.8)) < 0.025


def test_some_images_and_some_steps_are_left_whole():
    x, y = mixed(mixup=0.4, probability=0.25)
    whole = (y.max(axis=1) == 1).mean()
    assert 0.55 < whole < 0.92
    for later in (10, 11):
        x, y = mixed(step=later, mixup=0.4, cutmix=1.0)
        assert set(np.unique(y)) == {0.0, 1.0} and set(np.unique(x)) == {0.0, 1.0}


def test_pairs_do_not_depend_on_who_else_is_in_the_batch():
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(4, SIZE, SIZE, 3)), jnp.float32)
    targets, keys = jnp.eye(4), jax.random.split(jax.random.key(0), 4)
    options = MixOptions(mixup=0.4, cutmix=1.0, probability=1.0, end=10)
    whole = mix(images, targets, keys, jnp.int32(0), options)
    halves = [
        mix(images[i], targets[i], keys[i], jnp.int32(0), options) for i in (slice(2), slice(2, 4))
    ]
    for one, parts in zip(whole, zip(*halves, strict=True), strict=True):
        np.testing.assert_array_equal(one, jnp.concatenate(parts))


def test_the_config_says_when_it_ends():
    group = {"mixup": 0.2, "cutmix": 0.0, "probability": 0.5, "off_epochs": 1.5}
    assert MixOptions.from_config(group, steps=100, steps_per_epoch=10) == MixOptions(
        0.2, 0.0, 0.5, 85
    )
    assert MixOptions.from_config(group | {"mixup": 0.0}, 100, 10) is None
