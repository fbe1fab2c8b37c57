"""Names for RegNets: timm's (regnet.py) and torchvision's, which timm's *_tv networks come from."""

from collections.abc import Iterable
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
)

TIMM: Table = (
    Row("stem/conv1", "stem.conv", CONV),
    Row("stem/bn1", "stem.bn", NORM),
    Row("stage{s}/block{b}/conv{i}", "s{s}.b{b}.conv{i}.conv", CONV),
    Row("stage{s}/block{b}/bn{i}", "s{s}.b{b}.conv{i}.bn", NORM),
    Row("stage{s}/block{b}/shortcut_conv", "s{s}.b{b}.downsample.conv", CONV),
    Row("stage{s}/block{b}/shortcut_bn", "s{s}.b{b}.downsample.bn", NORM),
    Row("stage{s}/block{b}/se/fc{i}", "s{s}.b{b}.se.fc{i}", DENSE_AS_CONV),
    Row("head/fc", "head.fc", DENSE),
)
BLOCK = "trunk_output.block{s}.block{s}-{b-1}"
TORCHVISION: Table = (
    Row("stem/conv1", "stem.0", CONV),
    Row("stem/bn1", "stem.1", NORM),
    Row("stage{s}/block{b}/conv1", f"{BLOCK}.f.a.0", CONV),
    Row("stage{s}/block{b}/bn1", f"{BLOCK}.f.a.1", NORM),
    Row("stage{s}/block{b}/conv2", f"{BLOCK}.f.b.0", CONV),
    Row("stage{s}/block{b}/bn2", f"{BLOCK}.f.b.1", NORM),
    Row("stage{s}/block{b}/conv3", f"{BLOCK}.f.c.0", CONV),
    Row("stage{s}/block{b}/bn3", f"{BLOCK}.f.c.1", NORM),
    Row("stage{s}/block{b}/shortcut_conv", f"{BLOCK}.proj.0", CONV),
    Row("stage{s}/block{b}/shortcut_bn", f"{BLOCK}.proj.1", NORM),
    Row("stage{s}/block{b}/se/fc{i}", f"{BLOCK}.f.se.fc{{i}}", DENSE_AS_CONV),
    Row("head/fc", "fc", DENSE),
)


def table(model: Any) -> Table:
    """The names that timm gives to a RegNet's modules."""
    _check(model, "timm")
    return TIMM


def torchvision_table(model: Any) -> Table:
    """The names that torchvision gives to them."""
    _check(model, "torchvision")
    return TORCHVISION


def is_torchvision(names: Iterable[str]) -> bool:
    """Whether a state dict with these names is torchvision's."""
    return "stem.0.weight" in names


def _check(model: Any, source: str) -> None:
    refuse(strange_attention(model.attention, act="relu", gate="sigmoid"), source)
