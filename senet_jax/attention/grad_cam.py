"""Grad-CAM: where in an image the evidence for a class is (arXiv 1610.02391)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from senet_jax.attention.batches import check_labels


def grad_cam(
    model: nn.Module, variables: Mapping[str, Any], images: jax.Array, classes: jax.Array
) -> jax.Array:
    """Where the last features speak for a class: `[N, h, w]`, float32, 0 to 1, every image its own.

    The features' channels are weighed by the mean gradient of the class's logit, summed, cut off at
    zero and divided by the largest value; 0 everywhere where nothing speaks for the class.

    Args:
      model: of the zoo, with a classifier: it has the methods `features` and `head`.
      variables, images: as for `attention_weights`.
      classes: whole numbers `[N]`.

    Raises:
      TypeError, ValueError: the model has no such methods or no classifier, or classes are none of
        its own.
    """
    num_classes: int = getattr(model, "num_classes", 0)
    if not (hasattr(model, "features") and num_classes):
        raise ValueError(
            f"{type(model).__name__} has no classifier on features: expected a model of"
            " create_model with num_classes of 1 or more."
        )
    check_labels("Classes", classes, len(images), num_classes)
    return _maps(model, variables, images, jnp.asarray(classes))


@partial(jax.jit, static_argnums=0)
def _maps(model, variables, images, classes):
    shown = {k: variables[k] for k in variables if k != "intermediates"}
    last = model.apply(shown, images, method="features")[-1]

    def chosen(features):
        logits = model.apply(shown, features, method=_head)
        return jnp.sum(logits[jnp.arange(len(classes)), classes])

    slopes = jax.grad(chosen)(last).astype(jnp.float32)
    weights = jnp.mean(slopes, axis=(1, 2), keepdims=True)
    maps = jnp.maximum(jnp.sum(weights * last.astype(jnp.float32), axis=-1), 0)
    largest = jnp.max(maps, axis=(1, 2), keepdims=True)
    return jnp.where(largest > 0, maps / jnp.where(largest > 0, largest, 1), 0)


def _head(model, features):
    return model.head(features, train=False)
