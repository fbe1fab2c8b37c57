"""Every squeeze with every excitation that takes it and every gate."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from senet_jax.layers.activations import GATES
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.excitations import (
    AcrossChannels,
    AcrossChannelsMLP,
    AcrossChannelsSizes,
    Bottleneck,
    Full,
    Identity,
    LocalAndGlobal,
    PerChannel,
)
from senet_jax.layers.frequencies import Frequencies
from senet_jax.layers.learned_squeezes import (
    LinearPool,
    SoftClusters,
    StridedConvolutions,
    WholeMap,
)
from senet_jax.layers.relative_excitations import GatedNorm, SelfAttention, Standardise
from senet_jax.layers.squeezes import DirectionalPool, Pool, SoftmaxPool
from tests.layers.arrays import features
from tests.layers.promises import frozen, variables_for

SHAPE = (3, 4, 5, 8)  # no two alike
# name: squeeze, and whether it gives one statistic
SQUEEZES = {
    "mean": (Pool(), True),
    "half mean, half max": (Pool(("mean", "max"), average=True), True),
    "mean and std": (Pool(("mean", "std")), False),
    "rows": (DirectionalPool("width"), False),
    "columns": (DirectionalPool("height"), False),
    "softmax": (SoftmaxPool(), True),
    "whole map": (WholeMap(act="relu"), True),
    "strided": (StridedConvolutions(2), True),
    "linear": (LinearPool(), True),
    "clusters": (SoftClusters(2), False),
    "frequencies": (Frequencies("low4"), True),
}
# name: excitation, and whether it takes several statistics; no ReLU, of which all might be shut
EXCITATIONS = {
    "bottleneck": (Bottleneck(2, act="silu"), True),
    "layer norm": (Bottleneck(2, act="silu", layer_norm=True), True),
    "full": (Full(), True),
    "per channel": (PerChannel(), True),
    "self-attention": (SelfAttention(3), True),
    "neighbours": (AcrossChannels(3), False),
    "several sizes": (AcrossChannelsSizes((3, 5)), False),
    "mlp": (AcrossChannelsMLP(2, 1, act="silu"), False),
    "local and global": (LocalAndGlobal(everywhere=Bottleneck(2, act="silu")), False),
    "gated norm": (GatedNorm(), False),
    "standardise": (Standardise(learn_width=True), False),
    "identity": (Identity(), False),
}
FIT = [
    (squeeze, excite)
    for squeeze, (_, one) in SQUEEZES.items()
    for excite, (_, several) in EXCITATIONS.items()
    if one or several
]
UNFIT = [pair for pair in itertools.product(SQUEEZES, EXCITATIONS) if pair not in FIT]
# each squeeze, and each excitation with parameters, at least once: the others take minutes
SOME = [
    ("mean", "bottleneck"),
    ("mean", "standardise"),
    ("half mean, half max", "neighbours"),
    ("mean and std", "per channel"),
    ("rows", "self-attention"),
    ("columns", "full"),
    ("softmax", "layer norm"),
    ("whole map", "several sizes"),
    ("strided", "mlp"),
    ("linear", "local and global"),
    ("clusters", "bottleneck"),
    ("frequencies", "gated norm"),
]
SLOW = [pytest.param(*pair, marks=pytest.mark.slow) for pair in FIT if pair not in SOME]
IDS = dict(ids=lambda value: value.replace(" ", "_"))


def product(squeeze, excite, **options):
    return ChannelAttention(SQUEEZES[squeeze][0], EXCITATIONS[excite][0], **options)


def test_the_sample_has_every_squeeze_and_every_excitation():
    squeezes, excitations = (set(names) for names in zip(*SOME, strict=True))
    assert (squeezes, excitations) == (set(SQUEEZES), set(EXCITATIONS) - {"identity"})
    assert set(SOME) <= set(FIT)


def test_every_product_keeps_shape_and_dtype():
    u = jax.ShapeDtypeStruct(SHAPE, jnp.bfloat16)
    for squeeze, excite in FIT:
        module = product(squeeze, excite)
        init = partial(module.init_with_output, mutable=True)
        v, variables = jax.eval_shape(init, jax.random.key(0), u)
        assert (v.shape, v.dtype) == (u.shape, u.dtype), module
        (s,) = variables["intermediates"]["gates"]
        assert (s.shape, s.dtype) == ((3, 8), jnp.float32), module


@pytest.mark.parametrize(("squeeze", "excite"), UNFIT, **IDS)
def test_several_statistics_need_an_excitation_that_takes_them(squeeze, excite):
    with pytest.raises(ValueError, match="takes one statistic per channel and the squeeze gives"):
        jax.eval_shape(product(squeeze, excite).init, jax.random.key(0), features(SHAPE))


def blind(path, gate):
    """Parameters whose gradient is zero by the formula: a constant that softmax takes away."""
    if path == "squeeze/fc/bias":  # of `SoftmaxPool`
        return True
    same_for_all_channels = ("excite/conv2/bias", "excite/value_bias")
    return gate == "softmax" and path in same_for_all_channels


@jax.jit
def slopes_of_gates(s, weights):
    """For each gate the gradient `[N, C]` of a weighted sum of its values."""
    sums = {name: lambda s, of=of: jnp.sum(weights * of(s)) for name, of in GATES.items()}
    return {name: jax.grad(of)(s) for name, of in sums.items()}


@pytest.mark.parametrize(("squeeze", "excite"), [*SOME, *SLOW], **IDS)
def test_gradients_through_every_gate_are_finite_and_reach_every_parameter(squeeze, excite):
    """Once through squeeze and excitation for all gates, as they work value by value."""
    u, weights = features(SHAPE), features((3, 8), 3)
    module = frozen(product(squeeze, excite, gate="identity"))
    variables = variables_for(module, u)
    if "params" not in variables:
        pytest.skip("there are none")

    @jax.jit
    def answers_and_jacobian(params):
        of = lambda params: module.apply({**variables, "params": params}, u, method="gates")
        return of(params), jax.jacrev(of)(params)

    s, jacobian = answers_and_jacobian(variables["params"])
    assert np.isfinite(s).all() and np.std(s) > 1e-3
    slopes = slopes_of_gates(s, weights)
    for path, by_answer in traverse_util.flatten_dict(jacobian, sep="/").items():
        for name in GATES:
            slope = np.tensordot(slopes[name], by_answer, axes=2)  # over images and channels
            assert np.isfinite(slope).all(), (path, name)
            assert blind(path, name) or np.abs(slope).max() > 1e-6, (path, name)
