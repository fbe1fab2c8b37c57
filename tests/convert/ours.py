"""Our side of the comparisons."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util


def evaluate(model: Any, variables: Any, images: np.ndarray) -> tuple[Any, Any]:
    """Logits and every level of the pyramid, at inference."""
    return _evaluate(model, variables, images)


@partial(jax.jit, static_argnums=0)
def _evaluate(model, variables, images):
    def both(model, images):
        levels = model.features(images)
        return model.head(levels[-1], train=False), levels

    return model.apply(variables, images, method=both)


def train_step(model: Any, variables: Any, images: np.ndarray, labels: np.ndarray) -> dict:
    """Mean cross-entropy in training mode: the loss, its gradients, the new running statistics."""
    loss, gradients, updates = _train_step(model, variables, images, labels)
    return dict(loss=loss, images=gradients[1], params=gradients[0], **updates)


@partial(jax.jit, static_argnums=0)
def _train_step(model, variables, images, labels):
    def loss(params, images):
        logits, updates = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -jnp.mean(chosen), updates

    (value, updates), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        variables["params"], images
    )
    return value, gradients, updates


def unbiased(old: np.ndarray, new: np.ndarray, n: int, momentum: float = 0.9) -> np.ndarray:
    """A running variance as torch has it after a step over n values a channel: of n / (n - 1)."""
    return momentum * old + (new - momentum * old) * n / (n - 1)


def relative_error(ours: Any, theirs: Any, least: float = 0.0) -> float:
    """The greatest difference, in units of the greatest value, or of `least` if that is less."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.max(np.abs(ours - theirs)) / max(np.max(np.abs(theirs)), least))


def flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")
