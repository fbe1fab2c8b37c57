"""The zoo."""

from senet_jax.models.registry import create_model, list_models
from senet_jax.models.resnet import ResNet, SEResNet

__all__ = ["ResNet", "SEResNet", "create_model", "list_models"]
