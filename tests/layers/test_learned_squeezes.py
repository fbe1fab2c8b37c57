"""Squeezes with learned weights against NumPy; starts, counts, another size."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax.layers import BatchNorm
from senet_jax.layers.learned_squeezes import (
    LinearPool,
    SoftClusters,
    StridedConvolutions,
    WholeMap,
)
from senet_jax.layers.squeezes import Pool
from tests.layers.arrays import as64, assert_close, at_inference, features, softmax
from tests.layers.promises import count, frozen, variables_for
from tests.models.by_hand import convolve, normalise, relu

SHAPE = (3, 6, 5, 8)  # no two alike


@pytest.mark.parametrize("act", [None, "relu"])
def test_whole_map_is_a_kernel_as_large_as_the_map_then_batch_norm(act):
    u = features(SHAPE)
    module = WholeMap(act=act)
    v = variables_for(module, u)
    kernel = as64(v["params"]["kernel"])
    assert kernel.shape == (6, 5, 1, 8)
    y = np.einsum("nhwc,hwc->nc", as64(u), kernel[:, :, 0])
    expected = normalise(y, v["params"]["bn"], v["batch_stats"]["bn"])
    if act:
        expected = relu(expected)
    assert_close(at_inference(module, u)[:, 0], expected)
    bare = at_inference(WholeMap(norm=None), u, {"params": {"kernel": v["params"]["kernel"]}})
    assert_close(bare[:, 0], y)


def test_whole_map_trains_on_the_statistics_of_the_batch():
    u = features(SHAPE)
    v = variables_for(WholeMap(), u)
    z, updates = jax.jit(partial(WholeMap().apply, mutable=["batch_stats"]))(v, u)
    y = np.einsum("nhwc,hwc->nc", as64(u), as64(v["params"]["kernel"])[:, :, 0])
    bn = v["params"]["bn"]
    expected = normalise(y, bn, {"mean": y.mean(0), "var": y.var(0)})
    assert_close(z[:, 0], expected)
    moved = 0.9 * v["batch_stats"]["bn"]["mean"] + 0.1 * y.mean(0)
    np.testing.assert_allclose(updates["batch_stats"]["bn"]["mean"], moved, rtol=1e-5)


# GE-theta, section 2 of the reference: C * N + 2C
@pytest.mark.parametrize(
    ("channels", "size", "expected"), [(256, 56, 803328), (2048, 7, 2048 * 49 + 4096)]
)
def test_whole_map_counts(channels, size, expected):
    assert count(WholeMap(), channels, size) == expected


def test_strided_convolutions_are_depthwise_with_norms_and_relu_between():
    u = features((2, 7, 6, 4))
    module = StridedConvolutions(4)
    v = variables_for(module, u)
    p, stats = v["params"], v["batch_stats"]
    y = normalise(convolve(u, p["conv1"], 2, groups=4), p["bn1"], stats["bn1"])
    y = normalise(convolve(relu(y), p["conv2"], 2, groups=4), p["bn2"], stats["bn2"])
    assert y.shape == (2, 2, 2, 4)
    assert_close(at_inference(module, u)[:, 0], y.mean((1, 2)))


@pytest.mark.parametrize(("extent", "steps"), [(2, 1), (4, 2), (8, 3)])
def test_strided_convolutions_count(extent, steps):
    assert count(StridedConvolutions(extent), 256) == steps * (9 + 2) * 256


def test_linear_pool_starts_as_the_mean_and_weighs_positions():
    u = features(SHAPE)
    start = jax.jit(LinearPool().init)(jax.random.key(0), u)
    assert_close(at_inference(LinearPool(), u, start), at_inference(Pool(), u))
    kernel = features((6, 5), 4)
    z = at_inference(LinearPool(), u, {"params": {"kernel": kernel}})
    expected = np.einsum("nhwc,hw->nc", as64(u), as64(kernel))
    assert_close(z[:, 0], expected)
    assert count(LinearPool(), 256, 7) == 49


def test_soft_clusters_are_the_means_of_their_positions():
    u = features(SHAPE)
    module = SoftClusters(3)
    m = as64(variables_for(module, u)["params"]["centres"])
    x = as64(u).reshape(3, 30, 8)
    squares = np.square(x[:, :, None] - m[None, None]).sum(-1)  # [N, positions, K]
    a = softmax(-squares / (2 * math.sqrt(8)), axis=2)
    expected = np.einsum("npk,npc->nkc", a, x) / a.sum(1)[..., None]
    assert_close(at_inference(module, u), expected)
    assert count(module, 256) == 3 * 256


def test_one_cluster_is_the_mean():
    u = features(SHAPE)
    assert_close(at_inference(SoftClusters(1), u), at_inference(Pool(), u))


def test_a_cluster_without_positions_stays_finite():
    u = features(SHAPE)
    centres = jnp.stack([jnp.zeros(8), jnp.full(8, 1e4)])

    def of(centres):
        z = SoftClusters(2).apply({"params": {"centres": centres}}, u)
        return jnp.square(z).sum(), z

    (_, z), slope = jax.jit(jax.value_and_grad(of, has_aux=True))(centres)
    assert np.isfinite(z).all() and np.isfinite(slope).all()
    assert_close(z[:, 0], at_inference(Pool(), u)[:, 0])


@pytest.mark.parametrize("module", [WholeMap(), LinearPool()], ids=lambda m: type(m).__name__)
def test_weights_of_positions_refuse_another_size(module):
    variables = variables_for(module, features(SHAPE))
    with pytest.raises(ValueError, match=r"kernel has shape \(6, 5.*need \(5, 6.*choose Pool\(\)"):
        jax.eval_shape(frozen(module).apply, variables, features((3, 5, 6, 8)))


def test_norms_are_told_the_mode_by_the_block():
    told = frozen(WholeMap(norm=BatchNorm(momentum=0.5)))
    assert told.norm == BatchNorm(momentum=0.5, use_running_average=True)
