"""Statistics that fit any size against NumPy; what all squeezes keep of positions, and refusals."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax.fused import AffineMap
from senet_jax.layers.frequencies import Frequencies
from senet_jax.layers.learned_squeezes import (
    LinearPool,
    SoftClusters,
    StridedConvolutions,
    WholeMap,
)
from senet_jax.layers.squeezes import DirectionalPool, Pool, SoftmaxPool
from tests.layers.arrays import as64, assert_close, at_inference, features, softmax
from tests.layers.promises import variables_for

SHAPE = (3, 6, 5, 8)  # no two alike
ANY_RANK = (Pool(), Pool(("max", "std")), SoftmaxPool(), WholeMap(), LinearPool(), SoftClusters())
IMAGES = (DirectionalPool(), StridedConvolutions(2), Frequencies("top4"))
BY_POSITION = (WholeMap(), LinearPool(), Frequencies("top4"), DirectionalPool())


def by_numpy(kind, x, axes):
    match kind:
        case "mean":
            return x.mean(axes)
        case "max":
            return x.max(axes)
        case "std":
            return np.sqrt(x.var(axes, ddof=1) + 1e-5)
        case "l1":
            return np.abs(x).sum(axes)
        case "l2":
            return np.sqrt(np.square(x).sum(axes) + 1e-5)


KINDS = ("mean", "max", "std", "l1", "l2")


def test_statistics_of_all_positions_are_stacked_in_their_order_or_averaged():
    u = features(SHAPE)
    expected = np.stack([by_numpy(kind, as64(u), (1, 2)) for kind in KINDS], axis=1)
    assert_close(at_inference(Pool(KINDS), u), expected)
    assert_close(at_inference(Pool(), u), expected[:, :1])
    averaged = at_inference(Pool(KINDS, average=True), u)
    assert_close(averaged, expected.mean(1, keepdims=True))


def test_the_mean_of_a_deferred_map_is_read_not_computed():
    x, a, b, mean = features(SHAPE), features((1, 8), 1), features((1, 8), 2), features((3, 8), 3)
    assert (at_inference(Pool(), AffineMap(x, a, b, mean), {})[:, 0] == mean).all()


def test_the_standard_deviation_keeps_its_digits_beside_a_large_mean():
    u = features(SHAPE)
    near, far = (at_inference(Pool(("std",)), v) for v in (u, u + 1000))
    np.testing.assert_allclose(far, near, rtol=1e-3)  # of one-pass sums nothing would be left


def test_one_position_has_no_deviation_and_a_finite_gradient():
    u = features((2, 1, 1, 4))
    of = lambda u: Pool(("std",)).apply({}, u).sum()
    z, slope = jax.jit(jax.value_and_grad(of))(u)
    np.testing.assert_allclose(z, 8 * math.sqrt(1e-5), rtol=1e-5)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("along", "axis", "kind"), [("height", 1, "mean"), ("width", 2, "max"), ("width", 2, "std")]
)
def test_one_direction_alone(along, axis, kind):
    u = features(SHAPE)
    z = at_inference(DirectionalPool(along, kind), u)
    assert_close(z, by_numpy(kind, as64(u), axis))


def test_softmax_pool_is_a_weighted_mean():
    u = features(SHAPE)
    fc = variables_for(SoftmaxPool(), u)["params"]["fc"]
    x = as64(u).reshape(3, 30, 8)
    weights = softmax(x @ as64(fc["kernel"]) + as64(fc["bias"]), axis=1)
    assert_close(at_inference(SoftmaxPool(), u), (weights * x).sum(1, keepdims=True))


def test_softmax_pool_without_weights_is_the_mean_whatever_the_bias():
    u = features(SHAPE)
    p = lambda kernel, bias: {"params": {"fc": {"kernel": kernel, "bias": bias}}}
    zero, kernel = jnp.zeros((8, 1)), features((8, 1), 1)
    mean = at_inference(SoftmaxPool(), u, p(zero, jnp.ones(1)))
    assert_close(mean, at_inference(Pool(), u))
    first, second = (at_inference(SoftmaxPool(), u, p(kernel, jnp.full(1, b))) for b in (0.0, 3.0))
    assert_close(first, second)


def test_softmax_pool_starts_as_kaiming_by_the_fan_in():
    init = jax.jit(SoftmaxPool().init)(jax.random.key(0, impl="rbg"), jnp.ones((1, 1, 1, 4096)))
    kernel = np.asarray(init["params"]["fc"]["kernel"])
    assert kernel.std() == pytest.approx(math.sqrt(2 / 4096), rel=0.05)


def test_flips_change_what_knows_positions_and_nothing_else():
    u = features(SHAPE)
    flipped = u[:, ::-1, ::-1]
    for module in (Pool(KINDS), SoftmaxPool(), SoftClusters()):
        v = variables_for(module, u)
        same = at_inference(module, flipped, v)
        assert_close(same, at_inference(module, u, v))
    for module in BY_POSITION:
        v = variables_for(module, u)
        assert np.abs(at_inference(module, flipped, v) - at_inference(module, u, v)).max() > 0.1, (
            module
        )


@pytest.mark.parametrize("module", ANY_RANK, ids=lambda m: type(m).__name__)
def test_sequences_and_volumes(module):
    u = features((2, 3, 4, 2, 8))
    line = u.reshape(2, 24, 8)
    variables = variables_for(module, u)
    z = at_inference(module, u, variables)
    if isinstance(module, WholeMap | LinearPool):
        kernel = variables["params"]["kernel"]
        variables["params"]["kernel"] = kernel.reshape(24, *kernel.shape[3:])
    assert z.shape[::2] == (2, 8)
    assert_close(z, at_inference(module, line, variables))


@pytest.mark.parametrize("module", IMAGES, ids=lambda m: type(m).__name__)
def test_height_and_width_are_needed_where_they_are_told_apart(module):
    with pytest.raises(ValueError, match=r"shape \(2, 7, 8\), expected \[N, H, W, C\].*Pool\(\)"):
        jax.eval_shape(module.init, jax.random.key(0), features((2, 7, 8)))


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (Pool(("mean", "median")), "Unknown statistic 'median': expected 'mean', 'max'"),
        (Pool(()), "expected one or more statistics"),
        (DirectionalPool(kind="mode"), "Unknown statistic 'mode'"),
        (DirectionalPool("depth"), "along='depth': expected 'height' or 'width'"),
        (StridedConvolutions(3), "extent=3, expected a power of two"),
        (SoftClusters(0), "clusters=0, expected 1 or more"),
        (Frequencies("top16"), "8 channels cannot be split among 16 frequencies"),
        (Frequencies("bot8"), "'bot8': expected 'top' or 'low'.*indices="),
        (Frequencies("top3"), "'top3': expected 'top' or 'low' and 1, 2, 4, 8, 16"),
        (Frequencies(indices=((7, 0),)), "pairs .* from 0 to 6"),
        (Frequencies(indices=()), "pairs .* from 0 to 6"),
        (Frequencies("top4", size=6), "size=6, expected 7 or more"),
        (WholeMap(act="tanh"), "Unknown activation 'tanh'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wrong_options_get_a_sentence(module, sentence):
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(module.init, jax.random.key(0), features(SHAPE))


@pytest.mark.parametrize("module", [Pool(), Pool(("l2",)), *IMAGES], ids=lambda m: type(m).__name__)
def test_statistics_of_bfloat16_are_float32(module):
    u = features(SHAPE).astype(jnp.bfloat16)
    variables = variables_for(module, u)
    z = at_inference(module, u, variables)
    assert z.dtype == np.float32
    assert_close(z, at_inference(module, u.astype(jnp.float32), variables))
