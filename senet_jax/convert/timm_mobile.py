"""timm's names for mobile networks (efficientnet.py, mobilenetv3.py)."""

from collections.abc import Mapping
from typing import Any

from senet_jax.convert.tables import (
    CONV,
    DENSE,
    DENSE_AS_CONV,
    NORM,
    Row,
    Table,
    refuse,
    strange_attention,
    strange_options,
)
from senet_jax.models.spec import per_stage

TABLE: Table = (
    Row("stem/conv1", "conv_stem", CONV),
    Row("stem/bn1", "bn1", NORM),
    Row("stage{s}/block{b}/conv", "blocks.{s-1}.{b-1}.conv", CONV),
    Row("stage{s}/block{b}/fused_conv", "blocks.{s-1}.{b-1}.conv_exp", CONV),
    Row("stage{s}/block{b}/expand_conv", "blocks.{s-1}.{b-1}.conv_pw", CONV),
    Row("stage{s}/block{b}/depthwise_conv", "blocks.{s-1}.{b-1}.conv_dw", CONV),
    Row("stage{s}/block{b}/pointwise_conv", "blocks.{s-1}.{b-1}.conv_pw", CONV),
    Row("stage{s}/block{b}/project_conv", "blocks.{s-1}.{b-1}.conv_pwl", CONV),
    Row("stage{s}/block{b}/bn{i}", "blocks.{s-1}.{b-1}.bn{i}", NORM),
    Row("stage{s}/block{b}/se/fc1", "blocks.{s-1}.{b-1}.se.conv_reduce", DENSE_AS_CONV),
    Row("stage{s}/block{b}/se/fc2", "blocks.{s-1}.{b-1}.se.conv_expand", DENSE_AS_CONV),
    Row("head/conv", "conv_head", CONV),
    Row("head/bn", "bn2", NORM),
    Row("head/hidden", "conv_head", DENSE_AS_CONV),
    Row("head/fc", "classifier", DENSE),
)


def table(model: Any) -> Table:
    """The names that timm gives to a mobile network's modules."""
    attentions = set(per_stage("attention", model.attention, len(model.stages))) - {None}
    strangers = [found for attention in attentions for found in strange_attention(attention)]
    if attentions:
        strangers += strange_options(model, {"placement": "depthwise"})
    refuse(strangers)
    return TABLE


def hint(state_dict: Mapping[str, Any], model: Any) -> str:
    """What to do about weights that do not fit, where their names tell it."""
    if "features.0.0.weight" in state_dict:
        return "They have torchvision's names: timm has most of these networks, converted."
    return ""
