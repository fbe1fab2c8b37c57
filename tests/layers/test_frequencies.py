"""FcaNet's frequencies against the definition, sum by sum; tables, sizes."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet_jax.layers.frequencies import BASE, TABLES, Frequencies, adaptive_average, dct_filters
from senet_jax.layers.squeezes import Pool
from tests.layers.arrays import as64, assert_close, at_inference, features


def by_definition(x, indices, size):
    """FcaNet's coefficients, sum by sum; x has the stored size."""
    n, height, width, channels = x.shape
    beta = lambda p, u, length: (
        math.cos(math.pi * u * (p + 0.5) / length)
        / math.sqrt(length)
        * (math.sqrt(2) if u else 1.0)
    )
    z = np.zeros((n, channels))
    part = channels // len(indices)
    for c in range(channels):
        u, v = (i * (size // 7) for i in indices[c // part])
        for p in range(height):
            for q in range(width):
                z[:, c] += x[:, p, q, c] * beta(p, u, height) * beta(q, v, width)
    return z


@pytest.mark.parametrize("size", [7, 14])
def test_frequencies_are_dct_coefficients(size):
    u = features((2, size, size, 8))
    indices = ((0, 0), (6, 1), (0, 5), (3, 3))
    z = at_inference(Frequencies(indices=indices), u)
    assert_close(z[:, 0], by_definition(as64(u), indices, size))


def test_frequencies_of_the_authors_tables_come_in_their_order():
    impulse = jnp.zeros((1, 7, 7, 16)).at[0, 2, 4].set(1)
    for table, n in [("top", 16), ("low", 16), ("top", 2)]:
        z = at_inference(Frequencies(f"{table}{n}"), impulse)
        assert_close(z[:, 0], by_definition(as64(impulse), TABLES[table][:n], 7))


# section 1 of the reference, u and then v
@pytest.mark.parametrize(
    ("table", "u", "v"),
    [
        ("top", "0060011451300032", "0105202006046352"),
        ("low", "0011022120340130", "0101201223004315"),
    ],
)
def test_the_tables_are_the_references(table, u, v):
    assert TABLES[table] == tuple(zip(map(int, u), map(int, v), strict=True))
    assert len(set(TABLES[table])) == 16


def test_the_lowest_frequency_is_the_mean_times_the_root_of_the_positions():
    u = features((2, 14, 14, 8))
    expected = 14 * at_inference(Pool(), u)
    assert_close(at_inference(Frequencies("top1"), u), expected)


@pytest.mark.parametrize("size", [7, 8, 28])
def test_dct_filters_are_orthonormal(size):
    every = tuple((u, v) for u in range(BASE) for v in range(BASE))
    filters = dct_filters(every, (size, size), (size, size)).reshape(size * size, -1)
    np.testing.assert_allclose(filters.T @ filters, np.eye(49), atol=1e-12)


@given(st.integers(1, 20), st.integers(1, 20))
def test_adaptive_averages_are_torchs_bins(out, length):
    x = np.arange(length) ** 2.0
    expected = [
        x[math.floor(i * length / out) : math.ceil((i + 1) * length / out)].mean()
        for i in range(out)
    ]
    np.testing.assert_allclose(adaptive_average(out, length) @ x, expected, rtol=1e-12)


def test_another_size_is_averaged_to_the_stored_one():
    u = features((2, 10, 15, 8))
    rows, columns = adaptive_average(14, 10), adaptive_average(14, 15)
    pooled = np.einsum("ph,nhwc,qw->npqc", rows, as64(u), columns)
    indices = ((2, 1), (0, 6))
    z = at_inference(Frequencies(indices=indices, size=14), u)
    assert_close(z[:, 0], by_definition(pooled, indices, 14))


def test_maps_smaller_than_the_base_are_averaged_to_it():
    u = features((2, 4, 9, 8))
    same = at_inference(Frequencies("top4", size=(7, 9)), u)
    np.testing.assert_allclose(at_inference(Frequencies("top4"), u), same, rtol=1e-5)
