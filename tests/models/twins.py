"""Small networks with random variables, and one training step of theirs, for the models' tests."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def count(model, size=64):
    images = jnp.zeros((1, size, size, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images))
    return sum(p.size for p in jax.tree.leaves(shapes["params"]))


def features(model, variables, images):
    return jax.jit(partial(model.apply, method="features"))(variables, images)


def random_images(n=4, size=12, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, size, size, 3)), dtype)


def random_variables(model, images, seed=0):
    """Variables with nothing at zero or one, so that no mistake hides; faster than `model.init`."""
    r = np.random.default_rng(seed)

    def draw(path, leaf):
        if leaf.ndim > 1:
            values = r.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape)
        else:
            values = r.uniform(0.5, 1.5, leaf.shape)
            if path[-1].key in ("bias", "mean"):
                values -= 0.8
        return jnp.asarray(values, leaf.dtype)

    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree_util.tree_map_with_path(draw, shapes)


def train_step(model, variables, images):
    weights = jnp.cos(jnp.arange(40.0)).reshape(4, 10).astype(images.dtype)

    def loss(params, images):
        logits, updates = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return jnp.sum(weights * jax.nn.log_softmax(logits)), (logits, updates)

    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    return jax.device_get(step(variables["params"], images))


def norm(t):
    return float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(t))))


def relative_errors(ours, theirs, floor):
    """Of every array: the error's norm over its own, or over `floor` times that of all together.

    The floor is for gradients that nearly cancel: they carry the rounding errors of their terms.
    """
    least = max(floor * norm(theirs), 1e-12)
    return jax.tree.map(lambda p, q: norm(p - q) / max(norm(q), least), ours, theirs)


def assert_steps_agree(ours, theirs, tolerance, floor=0.0):
    """Loss, logits, running statistics, gradients of every parameter and of the images."""
    for a, b in zip(ours, theirs, strict=True):
        errors = relative_errors(a, b, floor)
        assert max(jax.tree.leaves(errors)) < tolerance, errors
