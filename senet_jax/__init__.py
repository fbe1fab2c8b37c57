"""Squeeze-and-Excitation networks for JAX and Flax."""

from senet_jax.attention import attention_weights
from senet_jax.functional import channel_attention, excite, scale, squeeze
from senet_jax.layers import BatchNorm, SEBlock
from senet_jax.loading import load
from senet_jax.models import ResNet, SEResNet, create_model, list_models

__version__ = "0.1.0"

__all__ = [
    "create_model",
    "list_models",
    "load",
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
