"""Published attentions by name: counts, starts, and the equalities that need no weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import SEBlock
from senet_jax.layers import attach
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.excitations import Bottleneck, Identity
from senet_jax.layers.frequencies import Frequencies
from senet_jax.layers.named import ATTENTIONS, named_attention
from senet_jax.layers.relative_excitations import Standardise
from senet_jax.layers.squeezes import Pool
from tests.layers.arrays import at_start, features
from tests.layers.promises import apply, count, frozen, gates, variables_for

SHAPE = (3, 4, 5, 32)  # no two alike
CHANNELS = (64, 256, 512, 2048)


@jax.jit
def sigmoid(t):
    return jax.nn.sigmoid(t)


def zeros(module, u):
    return jax.tree.map(lambda p: p * 0, variables_for(module, u))


# sections 1, 2 and 6 of the reference; "se" is the paper's C / 16, where timm's is at least 8
@pytest.mark.parametrize(
    ("attention", "expected"),
    [
        ("se", (580, 8464, 33312, 526464)),
        (SEBlock(divisor=8), (1096, 8464, 33312, 526464)),
        ("max_squeeze", (580, 8464, 33312, 526464)),
        ("se_max", (580, 8464, 33312, 526464)),
        ("cse", (4192, 65920, 262912, 4197376)),
        ("ese", (4160, 65792, 262656, 4196352)),
        ("eca", (3, 5, 5, 7)),
        ("ceca", (3, 5, 5, 7)),
        ("ecam", (41, 225, 449, 2305)),
        ("srm", (256, 1024, 2048, 8192)),
        ("gct", (192, 768, 1536, 6144)),
        ("gaussian", (0, 0, 0, 0)),
        ("fca", (512, 8192, 32768, 524288)),
        ("gc", (1177, 16993, 66753, 1053441)),
        ("gca", (1177, 16993, 66753, 1053441)),
    ],
)
def test_counts(attention, expected):
    module = named_attention(attention) if isinstance(attention, str) else attention
    assert tuple(count(module, c) for c in CHANNELS) == expected


class Pair(nn.Module):
    attention: nn.Module

    @nn.compact
    def __call__(self, x):
        y = attach(self.attention, self, x, x.shape[-1], name="se1")
        return attach(self.attention, self, y, x.shape[-1], name="se2")


@pytest.mark.parametrize("name", ATTENTIONS)
def test_every_block_of_a_network_has_its_own(name):
    attention = named_attention(name)
    assert count(Pair(attention), 64) == 2 * count(attention, 64)


@pytest.mark.parametrize("name", ["se", "ese", "eca", "gc"])
def test_without_weights_everything_is_halved(name):
    u = features(SHAPE)
    module = ATTENTIONS[name]
    assert (apply(module, zeros(module, u), u) == np.asarray(u) / 2).all()


@pytest.mark.parametrize("name", ["gct", "gca"])
def test_what_starts_as_the_identity_to_the_bit(name):
    u = features(SHAPE)
    assert (at_start(ATTENTIONS[name], u) == u).all()


@pytest.mark.parametrize("inference", [True, False])
def test_srm_starts_by_halving(inference):
    u = features(SHAPE)
    module = frozen(ATTENTIONS["srm"]) if inference else ATTENTIONS["srm"]
    assert (at_start(module, u) == np.asarray(u) / 2).all()


def test_eca_with_a_unit_impulse_is_gather_excite_without_parameters():
    u = features(SHAPE)
    impulse = {"params": {"excite": {"kernel": jnp.array([[0.0], [1], [0]])}}}
    s = gates(ATTENTIONS["eca"], impulse, u)["gates"]
    assert (s == gates(ChannelAttention(Pool(), Identity()), {}, u)["gates"]).all()
    np.testing.assert_allclose(s, sigmoid(np.asarray(u).mean((1, 2))), rtol=1e-5)


def test_fca_of_the_lowest_frequency_is_se_of_a_larger_mean():
    u = features((3, 14, 14, 32))
    fca = ChannelAttention(Frequencies("top1"), Bottleneck(use_bias=False))
    v = variables_for(fca, u)
    se = {"params": v["params"]["excite"]}
    z = 14 * np.asarray(u).mean((1, 2))
    expected = SEBlock(use_bias=False).apply(se, z, method="gates")
    np.testing.assert_allclose(gates(fca, v, u)["gates"], expected, rtol=1e-5)


def test_global_context_of_equal_weights_is_of_the_mean():
    u = features(SHAPE)
    gc = ATTENTIONS["gc"]
    v = variables_for(gc, u)
    v["params"]["squeeze"] = {"fc": {"kernel": jnp.zeros((32, 1)), "bias": jnp.ones(1)}}
    of_mean = ChannelAttention(Pool(), gc.excite)
    inside = {"params": {"excite": v["params"]["excite"]}}
    np.testing.assert_allclose(
        gates(gc, v, u)["gates"], gates(of_mean, inside, u)["gates"], rtol=1e-5
    )


@pytest.mark.parametrize("multiplies", [True, False])
def test_gaussian_leaves_channels_of_equal_means(multiplies):
    u = features(SHAPE)
    u = u - u.mean((1, 2), keepdims=True) + 0.25
    module = ChannelAttention(Pool(), Standardise(width_multiplies=multiplies), gate="gaussian")
    np.testing.assert_allclose(apply(module, {}, u), u, rtol=1e-4)


def test_gaussian_by_the_papers_formula_and_by_the_ports():
    u = features(SHAPE)
    z = np.asarray(u, np.float64).mean((1, 2))
    y = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)
    s = gates(ATTENTIONS["gaussian"], {}, u)["gates"]
    np.testing.assert_allclose(s, np.exp(-np.square(y) / 8), rtol=1e-4)
    port = ChannelAttention(Pool(), Standardise(width_multiplies=True), gate="gaussian")
    np.testing.assert_allclose(gates(port, {}, u)["gates"], np.exp(-np.square(y)), rtol=1e-4)


def test_mean_and_max_of_a_constant_map_go_through_the_same_layers_twice():
    u = jnp.broadcast_to(features((3, 1, 1, 32)), SHAPE)
    module = ChannelAttention(Pool(("mean", "max")), Bottleneck())
    v = variables_for(module, u)
    once = gates(ChannelAttention(Pool(), Bottleneck(), gate="identity"), v, u)["gates"]
    np.testing.assert_allclose(gates(module, v, u)["gates"], sigmoid(2 * once), rtol=1e-5)


@pytest.mark.parametrize("name", ["se", "eca", "srm", "gct", "gc"])
def test_flipped_features_have_the_same_gates(name):
    u = features(SHAPE)
    v = variables_for(ATTENTIONS[name], u)
    both = [gates(ATTENTIONS[name], v, w)["gates"] for w in (u, jnp.asarray(np.flip(u, (1, 2))))]
    np.testing.assert_allclose(*both, rtol=1e-4)


def test_images_do_not_see_each_other():
    """B differs from W, so that gates of one image cannot meet the columns of another."""
    u = features(SHAPE)
    for name in ("gct", "gc"):
        v = variables_for(ATTENTIONS[name], u)
        whole = apply(ATTENTIONS[name], v, u)
        np.testing.assert_allclose(apply(ATTENTIONS[name], v, u[1:2])[0], whole[1], rtol=1e-4)


def test_unknown_names_get_near_ones():
    with pytest.raises(ValueError, match=r"attention 'gtc'\. Did you mean 'gc', 'gct'.*'se'"):
        named_attention("gtc")
    with pytest.raises(ValueError, match="There are 'se'"):
        named_attention("")
    assert named_attention("se") == SEBlock()
