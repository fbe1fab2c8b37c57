"""Repeated augmentation: the same images several times in a batch."""

import numpy as np
import pytest

from train.data.pipeline import InMemory, TrainingBatches


def batches(repeats, batch_size=12, n=20, **share):
    images = np.zeros((n, 1, 1, 1), np.uint8)
    return TrainingBatches(InMemory(images, np.arange(n)), batch_size, repeats=repeats, **share)


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_each_image_is_so_often_in_its_batch(repeats):
    labels = batches(repeats)[0]["label"]
    assert set(np.unique(labels, return_counts=True)[1]) == {repeats}
    assert (labels[::2] != labels[1::2]).all()  # neighbours, which are mixed, differ


def test_all_images_have_their_turn_before_one_comes_again():
    """20 images in 5 batches of 4 images, 3 copies of each."""
    seen = np.concatenate([batches(3)[k]["label"][:4] for k in range(5)])
    assert sorted(seen) == list(range(20))


def test_processes_share_the_batch():
    whole = batches(3)[7]["label"]
    parts = [batches(3, process_index=i, process_count=4)[7]["label"] for i in range(4)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
