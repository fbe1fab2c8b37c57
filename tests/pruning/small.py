"""The small networks that the tests prune."""

from functools import partial

import jax

from senet_jax import SEBlock, create_model
from senet_jax.models.mobile import MobileNet
from senet_jax.models.mobile_blocks import Row

SE = SEBlock(reduction=2)


def resnet(**options):
    options = dict(stage_sizes=(1, 1), width=8, attention=SE) | options
    return create_model("seresnet20", **options)


def mobile(**options):
    rows = (
        Row("separable", 3, 1, 8),
        Row("inverted", 3, 1, 8, expansion=2),
        Row("fused", 3, 2, 16, expansion=2),
    )
    stages = tuple((row,) for row in rows)
    options = dict(stages=stages, stem_width=8, head_kind="plain", attention=SE) | options
    return MobileNet(num_classes=10, **options)


NETWORKS = {
    "two convolutions, 3x3": partial(resnet, placement="3x3"),
    "two convolutions, standard": partial(resnet, placement="standard"),
    "bottleneck, 3x3": partial(resnet, placement="3x3", bottleneck=True),
    "bottleneck, standard": partial(resnet, placement="standard", bottleneck=True),
    "plain": partial(resnet, attention=None, bottleneck=True),
    "mobile": mobile,
}

logits = jax.jit(lambda model, variables, x: model.apply(variables, x), static_argnums=0)
