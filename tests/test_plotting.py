"""The figure of the attention by class: what it shows, for usual and unusual gates."""

import io
import sys

import numpy as np
import pytest

from senet_jax.plotting import plot_attention_by_class


def gates(*channels, classes=4, low=0.0, high=1.0):
    random = np.random.default_rng(0)
    return {
        f"stage1/block{i + 1}/se": random.uniform(low, high, (classes, c))
        for i, c in enumerate(channels)
    }


def names(classes=4):
    return [f"class {i}" for i in range(classes)]


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def colours(figure):
    return [np.ma.filled(axes.images[0].get_array(), np.nan) for axes in panels(figure)]


def drawn(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def test_there_is_a_panel_for_each_block_with_its_path_and_channels():
    figure = plot_attention_by_class(gates(8, 16, 16, 32), names())
    assert [axes.get_title(loc="left") for axes in panels(figure)] == list(gates(8, 16, 16, 32))
    assert [axes.get_xlabel() for axes in panels(figure)] == [
        "8 channels",
        "16 channels",
        "16 channels",
        "32 channels",
    ]
    assert [text.get_text() for text in panels(figure)[0].get_yticklabels()] == names()


def test_colours_are_deviations_from_the_mean_over_classes_on_one_scale():
    values = gates(8, 16)
    figure = plot_attention_by_class(values, names())
    limits = {image.get_clim() for axes in panels(figure) for image in axes.images}
    assert len(limits) == 1
    ((low, high),) = limits
    deviations = [x - x.mean(axis=0) for x in values.values()]
    assert high == -low == max(np.abs(d).max() for d in deviations)
    for shown, expected in zip(colours(figure), deviations, strict=True):
        columns = [sorted(map(tuple, x.T)) for x in (shown, expected)]
        np.testing.assert_allclose(*columns, atol=1e-12)


def test_channels_are_lined_up_by_the_class_that_opens_them_widest():
    (shown,) = colours(plot_attention_by_class(gates(40), names()))
    favourites = shown.argmax(axis=0)
    assert favourites.tolist() == sorted(favourites)
    for c in range(4):
        heights = shown[c, favourites == c]
        assert heights.tolist() == sorted(heights, reverse=True)


def test_channels_in_another_order_give_the_same_picture():
    (values,) = gates(16).values()
    (shown,) = colours(plot_attention_by_class({"se": values}, names()))
    (permuted,) = colours(plot_attention_by_class({"se": values[:, ::-1]}, names()))
    np.testing.assert_allclose(shown, permuted)


def test_a_class_that_is_nan_is_left_out_and_changes_nothing_else():
    (values,) = gates(8).values()
    with_gap = np.insert(values, 2, np.nan, axis=0)
    (shown,) = colours(plot_attention_by_class({"se": with_gap}, names(5)))
    (without,) = colours(plot_attention_by_class({"se": values}, names(4)))
    assert np.isnan(shown[2]).all()
    np.testing.assert_allclose(np.delete(shown, 2, axis=0), without)


@pytest.mark.parametrize(
    "values",
    [
        np.full((4, 8), 0.5),
        np.zeros((4, 8)),
        np.full((4, 8), np.nan),
        np.random.default_rng(0).uniform(-2, -1, (4, 8)),
        np.random.default_rng(0).uniform(size=(4, 1)),
        np.random.default_rng(0).uniform(size=(4, 2048)),
    ],
    ids=["constant", "zero", "nan", "negative", "one channel", "2,048 channels"],
)
def test_unusual_gates_are_drawn_without_a_warning(values, recwarn):
    assert drawn(plot_attention_by_class({"se": values}, names())).startswith(b"\x89PNG")
    assert not recwarn.list


def test_names_of_many_classes_give_way_to_their_number():
    figure = plot_attention_by_class(gates(8, classes=1000), names(1000))
    assert panels(figure)[0].get_ylabel() == "1,000 classes"
    assert not panels(figure)[0].get_yticklabels()
    drawn(figure)


def test_no_global_state_of_matplotlib_is_touched():
    before = "matplotlib.pyplot" in sys.modules
    drawn(plot_attention_by_class(gates(8), names()))
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_no_gates_are_refused_with_the_likely_reason():
    with pytest.raises(
        ValueError, match="no gates to plot: a network with attention=None has none"
    ):
        plot_attention_by_class({}, names())


@pytest.mark.parametrize("shape", [(3, 8), (8,), (4, 0)])
def test_gates_that_do_not_fit_the_names_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"have shape \(.*\), expected \[classes, C\] with 4 classes"
    ):
        plot_attention_by_class({"se": np.zeros(shape)}, names())
