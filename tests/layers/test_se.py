"""The SE block: widths, shapes, what it refuses, what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import SEBlock, functional
from senet_jax.fused import AffineMap, finish
from senet_jax.layers import reduced_channels


# C // r of the Caffe release, and timm's table for r = 16 (h(64) = 8 is the only difference there)
@pytest.mark.parametrize(
    ("channels", "release", "timm"),
    [(64, 4, 8), (128, 8, 8), (256, 16, 16), (512, 32, 32), (1024, 64, 64), (2048, 128, 128)],
)
def test_widths_are_the_published_ones(channels, release, timm):
    assert reduced_channels(channels, 16) == release
    assert reduced_channels(channels, 16, divisor=8) == timm


@pytest.mark.parametrize("channels", [96, 160, 16, 8])
def test_timms_rule_rounds_to_eight_with_a_floor(channels):
    assert reduced_channels(channels, 16, divisor=8) == 8


@pytest.mark.parametrize("shape", [(2, 7, 8), (2, 5, 4, 8), (2, 3, 4, 5, 8)])
def test_every_axis_between_batch_and_channels_is_squeezed(shape):
    u = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    block = SEBlock(reduction=2)
    v, variables = block.init_with_output(jax.random.key(0), u)
    s = functional.channel_attention(u, variables["params"], spatial_rank=u.ndim - 2)
    np.testing.assert_allclose(v, functional.scale(u, s, spatial_rank=u.ndim - 2), rtol=1e-6)


def test_a_deferred_map_stays_deferred_and_means_the_same():
    r = np.random.default_rng(0)
    x, a, b = (jnp.asarray(r.normal(size=s), jnp.float32) for s in ((2, 5, 4, 8), (1, 8), (1, 8)))
    u, block = AffineMap(x, a, b), SEBlock(reduction=2)
    array = finish(u, act=None)
    v, variables = block.init_with_output(jax.random.key(0), array)
    deferred = block.apply(variables, u)
    assert isinstance(deferred, AffineMap)
    np.testing.assert_allclose(finish(deferred, act=None), v, rtol=1e-5, atol=1e-6)


def test_biases_are_an_option():
    count = lambda **o: sum(
        p.size
        for p in jax.tree.leaves(SEBlock(**o).init(jax.random.key(0), jnp.ones((1, 2, 2, 256))))
    )
    assert count() == 8464  # 2Ch + C + h
    assert count(use_bias=False) == 8192


def test_gates_cost_nothing_when_nobody_asks(monkeypatch):
    u = jnp.ones((2, 4, 4, 8))
    block = SEBlock(reduction=2)
    variables = block.init(jax.random.key(0), u)
    lowered = lambda: jax.jit(lambda v, u: block.apply(v, u)).lower(variables, u).as_text()
    sown = lowered()
    monkeypatch.setattr(SEBlock, "sow", lambda *args: None)
    assert sown == lowered()


def test_gates_are_float32_for_bfloat16_features():
    u = jnp.ones((2, 4, 4, 8), jnp.bfloat16)
    variables = SEBlock(reduction=2).init(jax.random.key(0), u)
    v, sown = SEBlock(reduction=2).apply(variables, u, mutable=["intermediates"])
    assert v.dtype == jnp.bfloat16
    assert sown["intermediates"]["gates"][0].dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "shape", "sentence"),
    [
        (dict(reduction=16), (1, 2, 2, 8), "reduction=16 leaves no unit of 8 channels.*divisor=8"),
        (dict(reduction=0), (1, 2, 2, 8), "reduction=0, expected a ratio of 1 or more"),
        (dict(), (4, 64), r"shape \(4, 64\), expected \[N, \*spatial, C\].*gates"),
    ],
)
def test_wrong_input_gets_a_sentence(options, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        SEBlock(**options).init(jax.random.key(0), jnp.ones(shape))
