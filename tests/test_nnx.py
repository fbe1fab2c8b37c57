"""SE in Flax NNX: the native block against the Linen one, and the zoo's models as NNX modules."""

import subprocess
import sys

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import senet_jax

nnx = pytest.importorskip("flax.nnx")
senet_nnx = pytest.importorskip("senet_jax.nnx", reason="needs flax 0.10.2", exc_type=ImportError)
SEBlock, attention_weights = senet_nnx.SEBlock, senet_nnx.attention_weights
from_linen = senet_nnx.from_linen

FLAX = tuple(int(part) for part in flax.__version__.split(".")[:2])


def features(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def as_linen(block):
    """The block's variables as the Linen block has them."""
    layers = {name: getattr(block, name) for name in ("fc1", "fc2")}
    names = ("kernel", "bias") if block.use_bias else ("kernel",)
    return {
        "params": {
            layer: {name: getattr(part, name)[...] for name in names}
            for layer, part in layers.items()
        }
    }


@pytest.mark.parametrize("options", [{}, dict(use_bias=False), dict(divisor=8)])
@pytest.mark.parametrize("shape", [(2, 5, 64), (2, 4, 3, 64), (2, 2, 3, 2, 64)])
def test_the_block_is_the_linen_block(options, shape):
    u = features(*shape)
    block = SEBlock(64, 16, rngs=nnx.Rngs(0), **options)
    expected = senet_jax.SEBlock(16, **options).apply(as_linen(block), u)
    np.testing.assert_allclose(block(u), expected, rtol=1e-6)


def test_an_identity_start_changes_nothing():
    u = features(2, 4, 4, 16)
    block = SEBlock(16, 4, identity_start=True, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(block(u), u)


def test_pooled_features_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 16\), expected \[N, \*spatial, C\]"):
        SEBlock(16, rngs=nnx.Rngs(0))(jnp.ones((2, 16)))


class Network(nnx.Module):
    """An NNX network of one's own, with two blocks."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.first = SEBlock(8, 4, rngs=rngs)
        self.second = SEBlock(8, 2, use_bias=False, rngs=rngs)
        self.classes = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, images):
        x = nnx.relu(self.first(self.conv(images)))
        return self.classes(self.second(x).mean((1, 2)))


def test_gates_are_handed_out_when_asked_for():
    network, images = Network(nnx.Rngs(0)), features(2, 6, 6, 3)
    structure = jax.tree.structure(nnx.state(network))
    gates = attention_weights(network, images)
    assert gates.keys() == {"first", "second"}
    np.testing.assert_allclose(
        gates["first"], network.first.gates(network.conv(images).mean((1, 2))), rtol=1e-6
    )
    assert jax.tree.structure(nnx.state(network)) == structure


def train(module, images, steps=4):
    """Losses of a few steps to class 0, all in one compiled program."""

    def loss(module):
        return -jax.nn.log_softmax(module(images))[:, 0].mean()

    @nnx.jit
    def step(module):
        value, gradients = nnx.value_and_grad(loss)(module)
        params = nnx.state(module, nnx.Param)
        nnx.update(module, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients))
        return value

    return [float(step(module)) for _ in range(steps)]


def test_a_network_with_blocks_trains():
    network = Network(nnx.Rngs(0))
    before = np.asarray(network.second.fc1.kernel[...])
    losses = train(network, features(4, 6, 6, 3))
    assert losses[-1] < losses[0]
    assert np.any(before != network.second.fc1.kernel[...])


@pytest.fixture(scope="module")
def zoo():
    attention = senet_jax.SEBlock(reduction=4)
    options = dict(stage_sizes=(1, 1), width=8, num_classes=5, attention=attention, dropout=0.2)
    model = senet_jax.create_model("seresnet20", **options)
    images = features(4, 8, 8, 3)
    return model, jax.jit(model.init)(jax.random.key(0), images), images


def test_a_model_of_the_zoo_keeps_its_weights_and_its_logits(zoo):
    model, variables, images = zoo
    module = from_linen(model, variables)
    np.testing.assert_array_equal(module(images), model.apply(variables, images))
    assert jax.tree.all(jax.tree.map(np.array_equal, module.variables(), variables))
    assert module.params.stage1.block1.se.fc1.kernel[...].shape == (8, 2)
    assert len(jax.tree.leaves(nnx.state(module, nnx.Param))) == len(
        jax.tree.leaves(variables["params"])
    )


def test_a_model_of_the_zoo_trains_alone_and_inside_another(zoo):
    model, variables, images = zoo

    class Two(nnx.Module):
        def __init__(self, rngs):
            self.body = from_linen(model, variables, rngs=rngs)
            self.scale = nnx.Param(jnp.ones((1, 1)))

        def __call__(self, images):
            return self.body(images) * self.scale[...]

    two = Two(nnx.Rngs(0))
    two.train()
    losses = train(two, images)
    assert losses[-1] < losses[0]
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), two.body.variables(), variables)
    assert jax.tree.all(moved["batch_stats"])
    assert moved["params"]["stage2"]["block1"]["se"]["fc2"]["kernel"]

    two.eval()
    statistics = two.body.variables()["batch_stats"]
    np.testing.assert_array_equal(two(images), two(images))  # no dropout
    assert jax.tree.all(
        jax.tree.map(np.array_equal, two.body.variables()["batch_stats"], statistics)
    )
    assert senet_jax.attention_weights(model, two.body.variables(), images).keys() == {
        "stage1/block1/se",
        "stage2/block1/se",
    }


@pytest.mark.skipif(FLAX < (0, 12), reason="older bridges lose parameters beside statistics")
def test_flax_own_bridge_takes_our_models(zoo):
    model, variables, images = zoo
    module = nnx.bridge.ToNNX(model, rngs=nnx.Rngs(0)).lazy_init(images)
    attributes = flax.nnx.bridge.variables.linen_vars_to_nnx_attrs(variables)
    nnx.update(module, attributes)
    np.testing.assert_allclose(module(images), model.apply(variables, images), rtol=1e-6)


def test_the_library_does_not_load_it():
    program = "import sys, senet_jax; print('senet_jax.nnx' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


def test_an_old_flax_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(flax, "__version__", "0.8.5")
    monkeypatch.delitem(sys.modules, "senet_jax.nnx")
    with pytest.raises(ImportError, match=r"needs flax 0\.10\.2 or newer, and this is 0\.8\.5"):
        __import__("senet_jax.nnx")
