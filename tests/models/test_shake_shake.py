"""Shake-Shake's mixing: one share forward, another one backward."""

import jax
import jax.numpy as jnp
import numpy as np

from senet_jax import create_model
from senet_jax.models.shake_shake import mix
from tests.models.twins import random_images, random_variables


def test_values_use_the_forward_share_and_gradients_the_backward_share():
    r = np.random.default_rng(0)
    first, second = (jnp.asarray(r.normal(size=(2, 3, 3, 4)), jnp.float32) for _ in range(2))
    forward, backward = jnp.array([[0.2], [0.9]]), jnp.array([[0.7], [0.4]])
    share = forward[:, None, None]
    mixed = mix(first, second, forward, backward)
    np.testing.assert_allclose(mixed, share * first + (1 - share) * second, rtol=1e-5, atol=1e-6)
    total = lambda a, b: mix(a, b, forward, backward).sum()
    d_first, d_second = jax.grad(total, argnums=(0, 1))(first, second)
    expected = jnp.broadcast_to(backward[:, None, None], first.shape)
    np.testing.assert_allclose(d_first, expected, rtol=1e-6)
    np.testing.assert_allclose(d_second, 1 - expected, rtol=1e-6)


def test_training_draws_by_the_key_and_inference_does_not():
    model = create_model("shake_shake26_2x96d", stage_sizes=(1,), width=8)
    images = random_images()
    variables = random_variables(model, images)

    @jax.jit
    def train(key):
        options = dict(train=True, mutable=["batch_stats"], rngs={"dropout": key})
        return model.apply(variables, images, **options)[0]

    one, same, other = (train(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    model.apply(variables, images)  # needs no key
