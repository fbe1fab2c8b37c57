"""Squeeze-and-Excitation networks for JAX and Flax."""

from senet_jax.attention import attention_weights
from senet_jax.functional import channel_attention, excite, scale, squeeze
from senet_jax.grafting import graft
from senet_jax.inference import fold_batch_norm
from senet_jax.layers import BatchNorm, SEBlock
from senet_jax.loading import class_names_for, load
from senet_jax.models import ResNet, SEResNet, create_model, list_models
from senet_jax.preprocessing import preprocess_for

__version__ = "0.1.0"

__all__ = [
    "create_model",
    "list_models",
    "load",
    "preprocess_for",
    "class_names_for",
    "graft",
    "fold_batch_norm",
    "attention_weights",
    "SEBlock",
    "BatchNorm",
    "ResNet",
    "SEResNet",
    "squeeze",
    "excite",
    "scale",
    "channel_attention",
]
