"""Attention weights of a whole model, and of other people's modules."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from senet_jax import SEBlock, attention_weights, create_model


def test_a_plain_network_has_none():
    model, images = create_model("resnet20", stage_sizes=(1, 1, 1)), jnp.ones((2, 8, 8, 3))
    assert attention_weights(model, jax.jit(model.init)(jax.random.key(0), images), images) == {}


def test_blocks_come_in_the_networks_order():
    model, images = create_model("seresnet20", stage_sizes=(11, 1)), jnp.ones((2, 8, 8, 3))
    weights = attention_weights(model, jax.jit(model.init)(jax.random.key(0), images), images)
    expected = [f"stage1/block{i}/se" for i in range(1, 12)] + ["stage2/block1/se"]
    assert list(weights) == expected
    assert {w.dtype for w in weights.values()} == {jnp.dtype("float32")}


def test_it_works_inside_jit_and_for_any_module_with_se_blocks():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return SEBlock(reduction=2, name="gate")(nn.Conv(8, (3, 3), name="conv")(x)).mean(
                (1, 2)
            )

    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    variables = Net().init(jax.random.key(0), images)  # holds the gates sown while initialising
    inside = jax.jit(lambda v, x: attention_weights(Net(), v, x))(variables, images)
    outside = attention_weights(Net(), variables, images)
    assert list(inside) == ["gate"]
    assert inside["gate"].shape == (2, 8)
    np.testing.assert_allclose(inside["gate"], outside["gate"], rtol=1e-6)


def test_gates_differ_between_images_and_agree_with_one_image_at_a_time():
    model = create_model("seresnet20", stage_sizes=(1, 1, 1))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 3)), jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    together = attention_weights(model, variables, images)
    for i in range(3):
        alone = attention_weights(model, variables, images[i : i + 1])
        for path, gates in alone.items():
            np.testing.assert_allclose(together[path][i], gates[0], rtol=1e-4, atol=1e-6)
    assert np.std(together["stage3/block1/se"], axis=0).max() > 0
