"""All models by name."""

import dataclasses
import difflib
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

import flax.linen as nn

from senet_jax.layers import BatchNorm
from senet_jax.layers.named import named_attention, named_inner
from senet_jax.models import (
    cspdarknet,
    inception_cifar,
    inception_variants,
    mobile_searched,
    mobile_variants,
    preact,
    regnet,
    resnet_attention,
    resnet_variants,
    resnext_cifar,
    shake_shake,
    shufflenet,
    vgg,
)
from senet_jax.models.pretrained import PRETRAINED
from senet_jax.models.spec import Variant, options_of

VARIANTS: dict[str, Variant] = {
    **resnet_variants.VARIANTS,
    **resnet_attention.VARIANTS,
    **preact.VARIANTS,
    **resnext_cifar.VARIANTS,
    **mobile_variants.VARIANTS,
    **mobile_searched.VARIANTS,
    **regnet.VARIANTS,
    **cspdarknet.VARIANTS,
    **vgg.VARIANTS,
    **inception_variants.VARIANTS,
    **inception_cifar.VARIANTS,
    **shufflenet.VARIANTS,
    **shake_shake.VARIANTS,
}

# fields whose modules have names
TEMPLATES = {"attention": named_attention, "inner": named_inner}


def create_model(name: str, *, fused: bool | str = True, **options: Any) -> nn.Module:
    """A model of the zoo, as an unbound Linen module.

    Args:
      name: one of `list_models()`; timm's names where timm has the network.
      fused: False computes batch norm, attention and shortcut the usual way, one pass after the
        other; same variables and values. "pallas" has a kernel of our own for GPUs, see
        `BatchNorm`. (Short for `norm=BatchNorm(fused=...)`.)
      **options: fields of the model's class, in place of the variant's: `num_classes=10`,
        `attention=None`, `attention="eca"` or another name of `senet_jax.layers.named`,
        `attention={"name": "se", "reduction": 8}`, `attention=SEBlock(reduction=8)`,
        `placement="pre"`, `dtype="bfloat16"`, ...

    Returns:
      A module for `model.init(key, images)` and `model.apply(variables, images, train=False)`,
      images `[N, H, W, C]`. Models with equal options are equal, and share what `jit` compiled.

    Raises:
      ValueError: no such model or no such option; says which are near.

    Example:
      >>> create_model("seresnet50").feature_info[-1]
      FeatureInfo(name='stage4', stride=32, channels=2048)
    """
    if name not in VARIANTS:
        raise ValueError(_unknown_model(name))
    variant = VARIANTS[name]
    fields = [f.name for f in dataclasses.fields(variant.model) if f.name not in ("parent", "name")]
    unknown = [option for option in options if option not in fields]
    if unknown:
        near = difflib.get_close_matches(unknown[0], fields, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"{name} has no option {unknown[0]!r}. {hint}It has {', '.join(fields)} and fused."
        )
    options = {k: _by_name(k, _hashable(v)) for k, v in options.items()}
    options = {**variant.options, **options}
    if fused is not True:
        options["norm"] = BatchNorm(
            **options_of(options.get("norm", BatchNorm())) | dict(fused=fused)
        )
    return variant.model(**options)


def list_models(
    pattern: str = "*", *, pretrained: bool = False, features: bool = False
) -> list[str]:
    """Names of the zoo's models that match a pattern with `*` and `?`, sorted.

    Args:
      pattern: "se*", "*50*", ...
      pretrained: only those with published weights, which `senet_jax.load(name)` fetches.
      features: only those with a pyramid of features, `feature_info` and the method `features`.
    """
    return sorted(
        name
        for name, variant in VARIANTS.items()
        if fnmatch(name, pattern)
        and (not pretrained or name in PRETRAINED)
        and (not features or hasattr(variant.model, "feature_info"))
    )


def _unknown_model(name: str) -> str:
    near = difflib.get_close_matches(name, VARIANTS, n=3)
    hint = f"Did you mean {', '.join(map(repr, near))}? " if near else ""
    return f"Unknown model {name!r}. {hint}list_models() shows all {len(VARIANTS)}."


def _by_name(field: str, value: Any) -> Any:
    """The modules that a field's names stand for, a name alone or with fields; any other value as
    it is.
    """
    if field not in TEMPLATES:
        return value
    if isinstance(value, tuple):
        return tuple(_by_name(field, each) for each in value)
    if isinstance(value, Mapping):
        if "name" not in value:
            raise ValueError(
                f'{field}={dict(value)!r} has no name: expected one as in {{"name": "se", ...}}.'
            )
        return TEMPLATES[field](**{k: _hashable(v) for k, v in value.items()})
    return TEMPLATES[field](value) if isinstance(value, str) else value


def _hashable(value: Any) -> Any:
    """Lists, as JSON and configs hold them, as the tuples that a hashable module needs."""
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value
