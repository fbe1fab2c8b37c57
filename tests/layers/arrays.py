"""Inputs and comparisons in NumPy, for tests of parts: there an index or a mean is not compiled."""

from functools import partial

import jax
import numpy as np

from tests.layers import promises
from tests.layers.promises import frozen, variables_for

# float32 against float64, of sums of some dozens of values near 1
assert_close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


def features(shape, seed=0):
    return np.asarray(promises.features(shape, seed))


def as64(x):
    return np.asarray(x, np.float64)


def softmax(t, axis=-1):
    e = np.exp(t - t.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@partial(jax.jit, static_argnums=0)
def frozen_apply(module, variables, x):
    return frozen(module).apply(variables, x)


def at_inference(module, x, variables=None, *, params=None):
    """What a module gives by running statistics, for random variables or for these."""
    if params is not None:
        variables = {"params": params}
    elif variables is None:
        variables = variables_for(module, x)
    return np.asarray(frozen_apply(module, variables, x))


@partial(jax.jit, static_argnums=0)
def at_start(module, x):
    """What a module gives with the variables that it starts with."""
    return module.init_with_output(jax.random.key(0, impl="rbg"), x)[0]  # quick to compile


def params_of(module, x):
    """The parameters that `at_inference` uses, in float64."""
    return jax.tree.map(as64, variables_for(module, x).get("params", {}))
