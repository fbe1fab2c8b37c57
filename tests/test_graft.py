"""Attention grafted into a trained plain network: nothing changes at first, then it learns."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import SEBlock, create_model
from senet_jax.grafting import graft

OPTIONS = dict(stage_sizes=(1, 1), width=8, num_classes=5)
ATTENTION = SEBlock(reduction=4, identity_start=True)


def trained(model, images, seed=0):
    """Variables with nothing at zero or one, as training leaves them."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree.map(lambda v: jnp.asarray(rng.uniform(0.1, 0.5, v.shape), v.dtype), shapes)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(1).normal(size=(4, 8, 8, 3)), jnp.float32)


@pytest.fixture(scope="module")
def plain(images):
    model = create_model("resnet20", **OPTIONS)
    return model, trained(model, images)


@pytest.fixture(scope="module")
def plain_logits(plain, images):
    return jax.jit(plain[0].apply)(plain[1], images)


def grafted(plain, images, **options):
    model = plain[0].clone(attention=ATTENTION, **options)
    return model, graft(plain[1], model, jax.random.key(0), images)


@pytest.mark.parametrize("placement", ["standard", "post", "3x3"])
def test_logits_are_the_plain_networks_at_first(plain, plain_logits, images, placement):
    model, variables = grafted(plain, images, placement=placement)
    logits = jax.jit(model.apply)(variables, images)
    # gates are 1 to the bit; the compiler may order the sums of the two programs differently
    np.testing.assert_allclose(logits, plain_logits, rtol=1e-6)


def test_training_starts_from_the_plain_networks_loss_and_moves_the_gates(plain, images):
    model, variables = grafted(plain, images)

    def loss(params, network, stats):
        variables = {"params": params, "batch_stats": stats}
        logits, _ = network.apply(variables, images, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(logits)[:, 0].mean()

    value = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    plain_loss = jax.jit(loss, static_argnums=1)(
        plain[1]["params"], plain[0], plain[1]["batch_stats"]
    )
    grafted_loss, gradients = value(variables["params"], model, variables["batch_stats"])
    np.testing.assert_allclose(grafted_loss, plain_loss, rtol=1e-6)  # order of sums
    gates = gradients["stage2"]["block1"]["se"]["fc2"]
    assert all(jnp.any(gradient != 0) for gradient in jax.tree.leaves(gates))

    moved = jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradients)
    _, second = value(moved, model, variables["batch_stats"])
    first_layer = second["stage2"]["block1"]["se"]["fc1"]["kernel"]  # its path was closed by zeros
    assert jnp.any(first_layer != 0)


def test_every_array_is_kept_and_only_the_attention_is_new(plain, images):
    model, variables = grafted(plain, images)
    assert jax.tree.structure(variables) == jax.tree.structure(
        jax.eval_shape(model.init, jax.random.key(0), images)
    )
    before, after = (traverse_util.flatten_dict(v) for v in (plain[1], variables))
    assert all(after[path] is before[path] for path in before)
    new = after.keys() - before.keys()
    assert new and all("se" in path for path in new)


def test_a_network_of_ones_own_can_be_grafted(images):
    class Own(nn.Module):
        attention: nn.Module | None = None

        @nn.compact
        def __call__(self, x, *, train=False):
            x = nn.relu(nn.Conv(8, (3, 3), name="conv")(x))
            if self.attention is not None:
                x = self.attention.clone(name="se", parent=self)(x)
            return nn.Dense(5, name="classes")(x.mean((1, 2)))

    variables = jax.jit(Own().init)(jax.random.key(0), images)
    with_se = Own(ATTENTION)
    both = graft(variables, with_se, jax.random.key(1), images)
    np.testing.assert_array_equal(with_se.apply(both, images), Own().apply(variables, images))


def test_another_network_is_refused_by_name(plain, images):
    model = create_model("resnet20", **OPTIONS | dict(num_classes=3), attention=ATTENTION)
    with pytest.raises(ValueError, match=r"no place for params/head/fc/bias \(5,\), .*kernel"):
        graft(plain[1], model, jax.random.key(0), images)


def test_an_identity_start_is_exact_and_its_gates_reach_two():
    block = SEBlock(reduction=2, identity_start=True)
    u = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 4)), jnp.float32)
    v, variables = block.init_with_output(jax.random.key(0), u)
    np.testing.assert_array_equal(v, u)
    open_wide = jax.tree.map(lambda p: p + 50.0, variables)
    np.testing.assert_array_equal(block.apply(open_wide, jnp.ones((1, 4)), method="gates"), 2.0)
