"""State dicts of moskomule/senet.pytorch: ImageNet and CIFAR networks.

They are torchvision's ResNet with SE layers of their own in its blocks: linear, without biases.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from senet_jax.convert.tables import DENSE, Row, Table, Variables, describe, read, tensors_of
from senet_jax.convert.timm import image_channels
from senet_jax.convert.timm_resnet import BLOCKS, HEAD, PLAIN_STEM, SHORTCUT

TABLE: Table = (
    *PLAIN_STEM,
    *BLOCKS,
    Row("stage{s}/block{b}/se/fc1", "layer{s}.{b-1}.se.fc.0", DENSE),
    Row("stage{s}/block{b}/se/fc2", "layer{s}.{b-1}.se.fc.2", DENSE),
    *SHORTCUT,
    *HEAD,
)


def from_moskomule(state_dict: Mapping[str, Any], model: nn.Module) -> Variables:
    """Variables of a model from a state dict of moskomule/senet.pytorch.

    Args:
      state_dict: arrays by name, as `read_weights` returns them. Every tensor is used exactly once;
        only `num_batches_tracked` is dropped.
      model: the same network with SE blocks without biases, for example
        `create_model("seresnet20", attention=SEBlock(use_bias=False))` for its `se_resnet20`, or
        "seresnet50" for its `se_resnet50`; `reduction` as it was trained with.

    Returns:
      `{"params": ..., "batch_stats": ...}`, of the model's `param_dtype`.

    Raises:
      ConversionError: names every tensor that is missing, left over, or has a wrong shape.
    """
    tensors = tensors_of(model, TABLE, image_channels(state_dict, TABLE))
    hint = ""
    if any(name.endswith("se.fc.0.bias") for name in tensors):
        hint = (
            "Its SE layers have no biases:"
            " create_model(..., attention=SEBlock(reduction=16, use_bias=False))."
        )
    return read(state_dict, tensors, describe(model), hint)
