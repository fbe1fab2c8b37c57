"""Means, deviations and the rule of noise by NumPy; tables and picture of a sweep."""

import csv
import io
import math

import numpy as np
import pytest

from train.sweep.picture import write_png
from train.sweep.table import (
    Row,
    as_csv,
    as_markdown,
    difference,
    noise_band,
    pooled_deviation,
)

ACCURACIES = {"se": (0.97, 0.98, 0.99), "plain": (0.96, 0.97, 0.965), "max": (0.5, 0.51)}
PAPER = {"se": 77.72, "plain": 76.70}


@pytest.fixture
def rows():
    return [
        Row(name, values, 1000, 250_000, 0.02 if name == "plain" else 0.01, PAPER.get(name))
        for name, values in ACCURACIES.items()
    ]


def test_the_deviation_is_pooled_over_variants(rows):
    squares = [np.sum((np.array(v) - np.mean(v)) ** 2) for v in ACCURACIES.values()]
    expected = 100 * np.sqrt(np.sum(squares) / (2 + 2 + 1))
    np.testing.assert_allclose(pooled_deviation(rows), expected, rtol=1e-9)
    np.testing.assert_allclose(noise_band(rows), 2 * expected * np.sqrt(2 / 3), rtol=1e-9)


def test_a_difference_counts_from_two_standard_errors_on():
    base, other = Row("a", (0.9, 0.9, 0.9)), Row("b", (0.88, 0.88, 0.88))
    points, beyond = difference(other, base, deviation=1.2)
    np.testing.assert_allclose(points, -2)
    assert beyond  # the standard error is 1.2 sqrt(2 / 3) = 0.98
    assert not difference(other, base, deviation=1.3)[1]
    assert not difference(other, base, deviation=math.nan)[1]


def test_the_markdown_names_both_data_sets_and_the_rule(rows):
    lines = as_markdown(rows, "digits", "ImageNet").splitlines()
    assert lines[0] == (
        "| variant | test accuracy on digits, % | seeds | against se, points | parameters |"
        " 10⁶ mult.-adds | time of a step | published accuracy on ImageNet, % |"
    )
    assert lines[2] == ("| se | 98.00 ± 1.00 | 3 |  | 1,000 | 0.250 | 1.00 (10.0 ms) | 77.72 |")
    assert lines[3] == (
        "| plain | 96.50 ± 0.50 | 3 | -1.50 | 1,000 | 0.250 | 2.00 (20.0 ms) | 76.70 (-1.02) |"
    )
    assert lines[4].startswith("| max | 50.50 ± 0.71 | 2 | -47.50 |")
    assert lines[-1].startswith("Mean and standard deviation over seeds. A difference is noise if")
    assert "0.77 points" in lines[-1]


def test_what_is_noise_is_called_so():
    rows = [Row("se", (0.97, 0.98)), Row("plain", (0.97, 0.975))]
    table = as_markdown(rows, "digits")
    assert "| -0.25 (noise) |" in table
    assert "time of a step" not in table
    assert "published" not in table


def test_a_variant_without_a_result_has_a_row():
    rows = [Row("se", (0.97,)), Row("plain", ())]
    assert "| plain | failed | 0 |  |  |  |" in as_markdown(rows, "digits")
    assert as_csv(rows).splitlines()[2] == "plain,,,0,,0,,,,"


def test_the_csv_has_the_numbers(rows):
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [row["variant"] for row in read] == list(ACCURACIES)
    assert (read[1]["mean"], read[1]["deviation"], read[1]["seeds"]) == ("96.5000", "0.5000", "3")
    assert (read[1]["difference"], read[1]["beyond_noise"]) == ("-1.5000", "1")
    assert (read[1]["step_ms"], read[2]["published"]) == ("20.0000", "")


@pytest.mark.parametrize("paper", [None, "ImageNet"])
def test_the_picture_is_a_png_whatever_is_missing(tmp_path, rows, paper):
    file = tmp_path / "table.png"
    write_png(file, [*rows, Row("failed", ()), Row("once", (0.9,))], "digits", paper)
    assert file.read_bytes().startswith(b"\x89PNG")
