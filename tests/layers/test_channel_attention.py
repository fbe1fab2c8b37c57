"""Channel attention as a whole: gates, fusions, deferred maps, blocks of a network, refusals."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import SEBlock
from senet_jax.fused import AffineMap, finish
from senet_jax.layers import BatchNorm, attach
from senet_jax.layers.activations import GATES
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.excitations import Bottleneck, Full, PerChannel
from senet_jax.layers.learned_squeezes import StridedConvolutions, WholeMap
from senet_jax.layers.squeezes import Pool, SoftmaxPool
from tests.layers.arrays import features
from tests.layers.promises import apply, frozen, gates, variables_for
from tests.models.twins import random_variables

SHAPE = (3, 4, 5, 8)  # no two alike


def test_a_gate_is_the_last_function_and_multiplies():
    u = features(SHAPE)
    module = ChannelAttention(Pool(), Full())
    variables = variables_for(module, u)

    @jax.jit
    def of_every_gate(u):
        answers = module.clone(gate="identity").apply(variables, u, method="gates")
        found = {name: module.clone(gate=name).apply(variables, u) for name in GATES}
        return found, {name: u * of(answers)[:, None, None] for name, of in GATES.items()}

    found, expected = of_every_gate(u)
    for name in GATES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)


def test_gates_by_their_values():
    found = jax.jit(lambda t: {name: of(t) for name, of in GATES.items()})
    at_zero, at_one = found(jnp.zeros((1, 2))), found(jnp.ones((1, 2)))
    expected = {
        "sigmoid": (0.5, 1 / (1 + np.exp(-1))),
        "hard_sigmoid": (0.5, 4 / 6),
        "tanh": (0, np.tanh(1)),
        "relu": (0, 1),
        "softmax": (0.5, 0.5),
        "one_plus_tanh": (1, 1 + np.tanh(1)),
        "gaussian": (1, np.exp(-0.5)),
        "identity": (0, 1),
    }
    assert expected.keys() == GATES.keys()
    for name, (zero, one) in expected.items():
        np.testing.assert_allclose(at_zero[name], [[zero] * 2], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(at_one[name], [[one] * 2], rtol=1e-6, err_msg=name)


def test_it_is_the_se_block_with_the_defaults():
    u = features((3, 4, 5, 32))
    variables = variables_for(SEBlock(), u)
    inside = {"params": {"excite": variables["params"]}}
    v = apply(ChannelAttention(), inside, u)
    np.testing.assert_allclose(v, apply(SEBlock(), variables, u), rtol=1e-6)
    shapes = jax.eval_shape(ChannelAttention().init, jax.random.key(0), u)
    assert jax.tree.map(jnp.shape, inside) == jax.tree.map(jnp.shape, shapes)


@pytest.mark.parametrize("squeeze", [Pool(), Pool(("mean", "max"), True), StridedConvolutions(2)])
def test_a_deferred_map_stays_deferred_and_means_the_same(squeeze):
    u = AffineMap(features(SHAPE), features((1, 8), 1), features((3, 8), 2))
    module = frozen(ChannelAttention(squeeze, Full(), shift=Bottleneck(2)))
    variables = variables_for(module, u.x)

    def deferred(u):
        v = module.apply(variables, u)
        assert isinstance(v, AffineMap) and v.x is u.x
        return finish(v, act=None)

    def at_once(u):
        return module.apply(variables, u.x * u.a[:, None, None] + u.b[:, None, None])

    @jax.jit
    def with_slopes(u):
        sums = lambda u, of: (jnp.sum(jnp.sin(of(u))), of(u))
        return [jax.grad(sums, has_aux=True)(u, of) for of in (deferred, at_once)]

    (slopes, found), (expected_slopes, expected) = with_slopes(u)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for slope, expected in zip(
        jax.tree.leaves(slopes), jax.tree.leaves(expected_slopes), strict=True
    ):
        np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-4)


def test_gates_are_those_of_float32_for_bfloat16_features():
    u = features(SHAPE).astype(jnp.bfloat16)
    module = ChannelAttention(Pool(("mean", "std")), Full())
    variables = variables_for(module, u)
    s, wide = (gates(module, variables, w)["gates"] for w in (u, u.astype(jnp.float32)))
    np.testing.assert_allclose(s, wide, rtol=1e-6)
    expected = np.asarray(u, np.float32) * np.asarray(s)[:, None, None]
    v = apply(module, variables, u)
    assert (np.asarray(v) == expected.astype(v.dtype)).all()


def test_add_and_both():
    u = features(SHAPE)
    both = ChannelAttention(Pool(), Full(), shift=Bottleneck(2))
    v = variables_for(both, u)
    x, p = np.asarray(u), jax.tree.map(np.asarray, v["params"])
    dense = lambda z, fc: z @ fc["kernel"] + fc["bias"]
    z = x.mean((1, 2), keepdims=True)
    s = 1 / (1 + np.exp(-dense(z, p["excite"]["fc"])))
    t = dense(np.maximum(dense(z, p["shift"]["fc1"]), 0), p["shift"]["fc2"])
    np.testing.assert_allclose(apply(both, v, u), x * s + t, rtol=1e-5, atol=1e-6)
    add = both.clone(combine="add", shift=None)
    np.testing.assert_allclose(apply(add, v, u), x + s, rtol=1e-5, atol=1e-6)


def test_excitation_and_shift_of_one_template_have_their_own_variables():
    layer = Bottleneck(2)
    module = ChannelAttention(Pool(), layer, shift=layer)
    params = jax.eval_shape(module.init, jax.random.key(0), features(SHAPE))["params"]
    assert params.keys() == {"excite", "shift"}


class Blocks(nn.Module):
    """Two blocks from one template as the zoo makes them, or from none, as users write them."""

    attention: nn.Module | None

    @nn.compact
    def __call__(self, x):
        for i in range(2):
            if self.attention is None:
                x = ChannelAttention(name=f"se{i}")(x)
            else:
                x = attach(self.attention, self, x, x.shape[-1], name=f"se{i}")
        return x


@pytest.mark.parametrize(
    "attention", [None, ChannelAttention(), ChannelAttention(SoftmaxPool(), Full())]
)
def test_blocks_do_not_share_their_parameters(attention):
    u = features((2, 3, 4, 32))
    params = jax.eval_shape(Blocks(attention).init, jax.random.key(0), u)["params"]
    assert params.keys() == {"se0", "se1"}
    alone = jax.eval_shape((attention or ChannelAttention()).init, jax.random.key(0), u)["params"]
    for of_block in params.values():
        assert jax.tree.map(jnp.shape, of_block) == jax.tree.map(jnp.shape, alone)


class Block(nn.Module):
    attention: nn.Module
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x):
        return finish(attach(self.attention, self, self.norm(name="bn")(x), x.shape[-1]))


def test_norms_in_squeeze_and_excitation_train_where_the_block_trains():
    u = features(SHAPE)
    attention = ChannelAttention(WholeMap(), PerChannel())
    variables = random_variables(Block(attention, partial(BatchNorm)), u)
    for inference in (False, True):
        block = Block(attention, partial(BatchNorm, use_running_average=inference))
        _, updates = jax.jit(partial(block.apply, mutable=["batch_stats"]))(variables, u)
        for part in ("squeeze", "excite"):
            before, after = (
                tree["batch_stats"]["se"][part]["bn"]["mean"] for tree in (variables, updates)
            )
            assert (before == after).all() == inference


def test_sequences_and_volumes():
    u = features((2, 3, 4, 2, 8))
    module = ChannelAttention(Pool(("max", "mean")), Full())
    variables = variables_for(module, u)
    of_volume, of_sequence = (apply(module, variables, v) for v in (u, u.reshape(2, 24, 8)))
    np.testing.assert_allclose(of_volume.reshape(2, 24, 8), of_sequence, rtol=1e-5, atol=1e-6)


def test_equal_attentions_compare_equal():
    make = lambda: ChannelAttention(WholeMap(), PerChannel(), shift=Bottleneck(4))
    assert make() == make() and hash(make()) == hash(make())
    assert make() != make().clone(gate="tanh")


class Wrong(nn.Module):
    def __call__(self, u):
        return u


@pytest.mark.parametrize(
    ("module", "shape", "sentence"),
    [
        (ChannelAttention(gate="cosine"), (1, 2, 2, 32), "Unknown gate 'cosine': expected"),
        (ChannelAttention(combine="max"), (1, 2, 2, 32), "Unknown combine 'max': expected 'mult"),
        (ChannelAttention(), (4, 32), r"shape \(4, 32\), expected \[N, \*spatial, C\]"),
        (ChannelAttention(), (1, 2, 2, 8), "reduction=16 leaves no unit of 8 channels"),
        (ChannelAttention(Wrong()), (1, 2, 2, 32), r"Wrong gives statistics.*\(1, S, 32\)"),
        (ChannelAttention(excite=Wrong()), (1, 2, 2, 32), r"Wrong gives answers.*\(1, 32\)"),
        (ChannelAttention(shift=Wrong()), (1, 2, 2, 32), r"Wrong gives answers.*\(1, 32\)"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(module, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(module.init, jax.random.key(0), features(shape))
