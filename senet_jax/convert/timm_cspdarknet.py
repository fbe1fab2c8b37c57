"""timm's names for CSPDarknet (cspnet.py)."""

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

TABLE: Table = (
    Row("stem/conv1", "stem.conv1.conv", CONV),
    Row("stem/bn1", "stem.conv1.bn", NORM),
    Row("stage{s}/down_conv", "stages.{s-1}.conv_down.conv", CONV),
    Row("stage{s}/down_bn", "stages.{s-1}.conv_down.bn", NORM),
    Row("stage{s}/expand_conv", "stages.{s-1}.conv_exp.conv", CONV),
    Row("stage{s}/expand_bn", "stages.{s-1}.conv_exp.bn", NORM),
    Row("stage{s}/block{b}/conv{i}", "stages.{s-1}.blocks.{b-1}.conv{i}.conv", CONV),
    Row("stage{s}/block{b}/bn{i}", "stages.{s-1}.blocks.{b-1}.conv{i}.bn", NORM),
    Row("stage{s}/block{b}/se/fc{i}", "stages.{s-1}.blocks.{b-1}.attn.fc{i}", DENSE_AS_CONV),
    Row("stage{s}/branch_conv", "stages.{s-1}.conv_transition_b.conv", CONV),
    Row("stage{s}/branch_bn", "stages.{s-1}.conv_transition_b.bn", NORM),
    Row("stage{s}/join_conv", "stages.{s-1}.conv_transition.conv", CONV),
    Row("stage{s}/join_bn", "stages.{s-1}.conv_transition.bn", NORM),
    Row("head/fc", "head.fc", DENSE),
)


def table(model: Any) -> Table:
    """The names that timm gives to a CSPDarknet's modules; it has SE between the convolutions of a
    block, with the block's own activation.
    """
    strangers = [] if model.attention is None else strange_options(model, {"placement": "inner"})
    refuse(strangers + strange_attention(model.attention, act=model.act, gate="sigmoid"))
    return TABLE
