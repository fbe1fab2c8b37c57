"""The figures of attention: what they show, for usual and unusual gates."""

import io
import sys

import numpy as np
import pytest

from senet_jax.attention import Curves, of_batch
from senet_jax.plotting import (
    plot_ablation,
    plot_attention_by_class,
    plot_gate_heatmap,
    plot_gate_histograms,
    plot_image,
    plot_role_of_excitation,
)


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


def statistics(*channels, classes=4, low=0.0, high=1.0):
    random = np.random.default_rng(0)
    drawn_gates = {
        f"stage1/block{i + 1}/se": random.uniform(low, high, (12, c))
        for i, c in enumerate(channels)
    }
    return of_batch(drawn_gates, np.arange(12) % classes, classes)


OF_STATISTICS = [
    lambda s, n: plot_role_of_excitation(s, n),
    lambda s, n: plot_gate_heatmap(s),
    lambda s, n: plot_gate_histograms(s),
]


@pytest.mark.parametrize("plot", OF_STATISTICS, ids=["role", "heat map", "histograms"])
@pytest.mark.parametrize(
    "unusual",
    [
        lambda: statistics(8, low=0.5, high=0.5),
        lambda: statistics(8, low=-2, high=-1),
        lambda: statistics(1, classes=1),
        lambda: statistics(2048),
        lambda: statistics(4, 8, 16, 32),
    ],
    ids=["constant", "negative", "one channel", "2,048 channels", "four blocks"],
)
def test_statistics_of_all_kinds_are_drawn_without_a_warning(plot, unusual, recwarn):
    found = unusual()
    classes = len(next(iter(found.values())).count)
    assert drawn(plot(found, names(classes))).startswith(b"\x89PNG")
    assert not recwarn.list


def test_the_lines_are_the_classes_means_and_the_bands_one_deviation():
    found = statistics(8)
    figure = plot_role_of_excitation(found, names(), [1, 3])
    panel, block = figure.axes[0], found["stage1/block1/se"]
    everything = np.asarray(block.over_classes().mean)[0]
    order = np.argsort(everything)
    first, second, all_images = (line.get_ydata() for line in panel.lines)
    np.testing.assert_allclose(first, block.mean[1][order])
    np.testing.assert_allclose(second, block.mean[3][order])
    np.testing.assert_allclose(all_images, everything[order])
    edges = panel.collections[0].get_paths()[0].vertices[:, 1]
    assert edges.max() == pytest.approx(float((block.mean[1] + block.std[1]).max()), rel=1e-5)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "class 1",
        "class 3",
        "all images",
    ]


def test_of_many_channels_as_many_as_fit_are_drawn_from_first_to_last():
    found = statistics(2048)
    line = plot_role_of_excitation(found, names()).axes[0].lines[-1].get_ydata()
    everything = np.asarray(found["stage1/block1/se"].over_classes().mean)[0]
    assert len(line) == 64
    assert (line[0], line[-1]) == (everything.min(), everything.max())


def test_the_role_of_excitation_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="no gates to plot"):
        plot_role_of_excitation({}, names())
    with pytest.raises(ValueError, match="are of 4 classes, expected 3, as there are names"):
        plot_role_of_excitation(statistics(8), names(3))
    with pytest.raises(ValueError, match=r"classes=\[4\], expected up to 6 of 0 to 3"):
        plot_role_of_excitation(statistics(8), names(), [4])
    with pytest.raises(ValueError, match="most_channels=0, expected 1 or more"):
        plot_role_of_excitation(statistics(8), names(), most_channels=0)
    for plot in (plot_gate_heatmap, plot_gate_histograms):
        with pytest.raises(ValueError, match="no gates to plot"):
            plot({})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "count", [pytest.param(1, id="one channel"), pytest.param(16, id="16 channels")]
)
def test_an_image_is_drawn_with_its_extreme_channels(channels, count, recwarn):
    random = np.random.default_rng(0)
    gates = random.uniform(size=count)
    figure = plot_image(
        np.zeros((8, 8, channels)),  # constant
        np.full(4, 0.25),
        names(),
        gates,
        random.normal(size=(2, 2, count)),
        np.zeros((2, 2)),
    )
    assert drawn(figure).startswith(b"\x89PNG")
    assert not recwarn.list
    titles = [axes.get_title(loc="left").split("\n")[-1] for axes in figure.axes]
    assert f"#{gates.argmax()}: {gates.max():.2f}" in titles
    assert f"#{gates.argmin()}: {gates.min():.2f}" in titles


@pytest.mark.parametrize(
    "wrong,message",
    [
        ({"image": np.zeros((1, 8, 8, 3))}, r"expected \[H, W\] or \[H, W, 1 or 3\]"),
        ({"gates": np.ones(3)}, r"expected \[C\] and \[h, w, C\]"),
        ({"features": np.ones((1, 2, 2, 4))}, r"expected \[C\] and \[h, w, C\]"),
        ({"gates": np.ones(0), "features": np.ones((2, 2, 0))}, r"expected \[C\] and \[h, w, C\]"),
        ({"where": np.ones((1, 2, 2))}, r"where has shape \(1, 2, 2\), expected \[h, w\]"),
        ({"probabilities": np.ones((1, 4)) / 4}, "with 4 of them, as there are names"),
        ({"probabilities": np.ones(0), "class_names": []}, "with some of them"),
    ],
)
def test_an_image_whose_shapes_do_not_fit_is_refused(wrong, message):
    given = dict(
        image=np.zeros((8, 8)),
        probabilities=np.ones(4) / 4,
        class_names=names(),
        gates=np.ones(4),
        features=np.ones((2, 2, 4)),
        where=np.zeros((2, 2)),
    )
    with pytest.raises(ValueError, match=message):
        plot_image(**given | wrong)


def test_names_are_shown_letter_by_letter(recwarn):
    strange = ["_noise_", "$5 to $9", r"$\frac{$", 3]
    shown = [" _noise_", r"\$5 to \$9", r"\$\frac{\$", "3"]
    role = plot_role_of_excitation(statistics(8), strange)
    assert [text.get_text() for text in role.legends[0].get_texts()] == [*shown, "all images"]
    by_class = plot_attention_by_class(gates(8), strange)
    assert [text.get_text() for text in panels(by_class)[0].get_yticklabels()] == shown
    image = plot_image(
        np.zeros((8, 8)), np.ones(4) / 4, strange, np.ones(4), np.ones((2, 2, 4)), np.zeros((2, 2))
    )
    for figure in (role, by_class, image):
        drawn(figure)
    assert not recwarn.list


def test_the_curves_of_an_ablation_are_percentages():
    values = [np.array([1.0, 0.5, 0.1])] * 4
    figure = plot_ablation(Curves((0.0, 0.5, 1.0), *values))
    assert [list(line.get_xydata()[1]) for line in figure.axes[0].lines] == [[50, 50], [50, 50]]
    drawn(figure)
