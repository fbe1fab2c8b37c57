"""What every attention module promises, checked on one module at a time."""

from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from senet_jax.fused import AffineMap, Features, finish
from senet_jax.layers import BatchNorm, Conv
from senet_jax.layers.attach import with_norms
from tests.models.twins import random_variables

SHAPE = (3, 6, 5, 32)  # no two alike, and more images than one: a swapped axis shows


def features(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(0.3, 1, shape), jnp.float32)


def frozen(module: nn.Module) -> nn.Module:
    """With its norms on running statistics, as a model binds them at inference."""
    return with_norms(module, dict(use_running_average=True))


@cache
def variables_of(module: nn.Module, shape: tuple[int, ...]) -> dict[str, Any]:
    return random_variables(frozen(module), features(shape))


def variables_for(module: nn.Module, u: jax.Array) -> dict[str, Any]:
    """Nothing at zero or one; the dictionaries are the caller's."""
    return jax.tree.map(lambda p: p, variables_of(module, u.shape))


@partial(jax.jit, static_argnums=0)  # five times as fast as compiling operation by operation
def looked_at(
    module: nn.Module, variables: dict[str, Any], u: Features
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """At inference, an array; and gates by the path where they were sown."""
    y, sown = frozen(module).apply(variables, u, mutable=["intermediates"])
    flat = traverse_util.flatten_dict(sown.get("intermediates", {}), sep="/")
    assert all(path.endswith("gates") and len(values) == 1 for path, values in flat.items())
    return finish(y, act=None), {path: values[0] for path, values in flat.items()}


def apply(module: nn.Module, variables: dict[str, Any], u: Features) -> jax.Array:
    return looked_at(module, variables, u)[0]


def gates(module: nn.Module, variables: dict[str, Any], u: Features) -> dict[str, jax.Array]:
    return looked_at(module, variables, u)[1]


def count(module: nn.Module, channels: int, size: int = 4) -> int:
    u = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), u)
    return sum(p.size for p in jax.tree.leaves(variables.get("params", {})))


def check(module: nn.Module, shape: tuple[int, ...] = SHAPE) -> None:
    """A deferred map is as good as an array; shape and dtype stay; gates are float32."""
    x, a, b = features(shape), features((1, shape[-1]), 1), features((1, shape[-1]), 2)
    u = finish(AffineMap(x, a, b), act=None)
    variables = variables_for(module, u)
    y = apply(module, variables, u)
    assert (y.shape, y.dtype) == (u.shape, u.dtype)
    deferred = apply(module, variables, AffineMap(x, a, b))
    np.testing.assert_allclose(deferred, y, rtol=1e-4, atol=1e-5)
    z, sown = jax.eval_shape(
        partial(looked_at, module), variables, jax.ShapeDtypeStruct(shape, jnp.bfloat16)
    )
    assert (z.shape, z.dtype) == (shape, jnp.bfloat16)
    assert {s.dtype for s in sown.values()} <= {jnp.dtype("float32")}


def check_gradients(module: nn.Module, shape: tuple[int, ...] = SHAPE) -> None:
    """They are finite and reach every parameter."""
    u, direction = features(shape), features(shape, 3)
    variables = variables_for(module, u)

    @jax.jit
    def slopes(params):
        loss = lambda params: jnp.sum(direction * apply(module, {**variables, "params": params}, u))
        return jax.grad(loss)(params)

    for path, slope in traverse_util.flatten_dict(slopes(variables["params"]), sep="/").items():
        assert np.isfinite(slope).all() and np.abs(slope).max() > 0, path


def check_training(module: nn.Module, shape: tuple[int, ...] = SHAPE) -> None:
    """Behind a convolution and a norm whose result is not stored, gradients are finite."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            u = BatchNorm(name="bn")(Conv(shape[-1], name="conv")(x))
            return finish(module.clone(name="se", parent=self)(u))

    x = features((*shape[:-1], 8))
    variables = random_variables(Net(), x)

    @jax.jit
    def slopes(params, x):
        loss = lambda params, x: jnp.sum(
            jnp.square(Net().apply({**variables, "params": params}, x, mutable=["batch_stats"])[0])
        )
        return jax.grad(loss, argnums=(0, 1))(params, x)

    for slope in jax.tree.leaves(slopes(variables["params"], x)):
        assert np.isfinite(slope).all()
