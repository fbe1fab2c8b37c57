"""Folded networks against the ones that they were made from."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from senet_jax import BatchNorm, SEBlock, attention_weights, create_model, fold_batch_norm
from senet_jax.layers import Conv
from senet_jax.layers.named import ATTENTIONS
from tests.models.shrink import shrink
from tests.models.test_any_attention import BACKBONES
from tests.models.twins import random_images, random_variables

QUICK = ("seresnet50", "seresnet164", "efficientnet_b0", "regnety_002")
NETWORKS = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES
]


def logits(model, variables, images):
    return jax.jit(model.apply)(variables, images)


@pytest.fixture(scope="module")
def bottleneck():
    model = create_model(
        "seresnet50", stage_sizes=(1, 1), width=16, attention=SEBlock(4), num_classes=5
    )
    images = random_images(size=24)
    return model, random_variables(model, images), images


@pytest.mark.parametrize("backbone", NETWORKS)
def test_logits_stay_and_statistics_go(backbone):
    model, _, size = shrink(backbone)
    images = random_images(size=size)
    variables = random_variables(model, images)
    folded, lighter = fold_batch_norm(model, variables, images=images)
    expected = logits(model, variables, images)
    error = np.abs(logits(folded, lighter, images) - expected).max() / np.abs(expected).max()
    assert error < 1e-5
    assert lighter.keys() == {"params"}
    names = traverse_util.flatten_dict(variables["params"]).keys()
    kept = traverse_util.flatten_dict(lighter["params"]).keys()
    assert kept < names  # nothing has another name
    assert {path[-1] for path in names - kept} == {"scale"}


@pytest.mark.parametrize("attention", ["bam", "coordinate", "srm"])
def test_norms_inside_attention_are_folded_as_well(bottleneck, attention):
    model = bottleneck[0].clone(attention=ATTENTIONS[attention])
    images = bottleneck[2]
    variables = random_variables(model, images)
    folded, lighter = fold_batch_norm(model, variables, images=images)
    expected = logits(model, variables, images)
    np.testing.assert_allclose(logits(folded, lighter, images), expected, rtol=1e-4, atol=1e-4)
    gates = [attention_weights(*m, images) for m in ((model, variables), (folded, lighter))]
    for path, expected in gates[0].items():
        np.testing.assert_allclose(gates[1][path], expected, rtol=1e-4, atol=1e-5)


def test_only_what_stands_before_a_norm_alone_takes_its_scale():
    """The first norms of pre-activation blocks keep theirs: their input is a sum."""
    model = shrink("seresnet164").model
    images = random_images(size=16)
    _, lighter = fold_batch_norm(model, random_variables(model, images))
    block = lighter["params"]["stage2"]["block1"]
    assert block["bn1"].keys() == {"scale", "bias"}
    assert block["bn2"].keys() == {"bias"}


class Net(nn.Module):
    """One's own network, of norms made of its field."""

    norm: BatchNorm = BatchNorm()

    @nn.compact
    def __call__(self, x, *, train=False):
        return self.normed("bn", Conv(3, name="conv")(x), train).mean((1, 2))

    def normed(self, name, x, train):
        options = dict(use_running_average=not train, fused=False)
        return self.norm.clone(**options, name=name, parent=self)(x)


class Skip(Net):
    """Its convolution is read by a sum as well."""

    @nn.compact
    def __call__(self, x, *, train=False):
        y = Conv(3, name="conv")(x)
        return (self.normed("bn", y, train) + y).mean((1, 2))


class Twice(Net):
    """Its convolution is called twice and normed once."""

    @nn.compact
    def __call__(self, x, *, train=False):
        conv = Conv(3, name="conv")
        return conv(self.normed("bn", conv(x), train)).mean((1, 2))


class Outside(Net):
    """It has a norm that is not made of its field."""

    @nn.compact
    def __call__(self, x, *, train=False):
        y = Conv(3, name="conv")(self.normed("bn", x, train))
        return BatchNorm(use_running_average=not train, fused=False)(y).mean((1, 2))


class FlaxNorm(Net):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.BatchNorm(use_running_average=not train)(self.normed("bn", x, train))


@pytest.mark.parametrize(("net", "keeps_scale"), [(Net, False), (Skip, True), (Twice, True)])
def test_only_a_convolution_that_nothing_else_reads_takes_the_scale(net, keeps_scale):
    model, images = net(), random_images(size=8)
    variables = random_variables(model, images)
    folded, lighter = fold_batch_norm(model, variables, images=images)
    expected = model.apply(variables, images)
    np.testing.assert_allclose(folded.apply(lighter, images), expected, rtol=1e-5, atol=1e-5)
    assert ("scale" in lighter["params"]["bn"]) == keeps_scale


@pytest.mark.parametrize("net", [Outside, FlaxNorm])
def test_norms_that_cannot_be_folded_are_refused(net):
    images = random_images(size=8)
    variables = random_variables(net(), images)
    with pytest.raises(ValueError, match="norms that are not made of its field `norm`"):
        fold_batch_norm(net(), variables, images=images)


def test_where_the_first_convolution_is_elsewhere_images_are_asked_for():
    with pytest.raises(ValueError, match="give images"):
        fold_batch_norm(Net(), random_variables(Net(), random_images(size=8)))


def test_the_original_stays(bottleneck):
    model, variables, _ = bottleneck
    before = jax.tree.map(np.array, variables)
    fold_batch_norm(model, variables)
    jax.tree.map(np.testing.assert_array_equal, variables, before)


def test_refusals(bottleneck):
    model, variables, images = bottleneck
    folded, lighter = fold_batch_norm(model, variables)
    with pytest.raises(ValueError, match="folded already"):
        fold_batch_norm(folded, lighter)
    with pytest.raises(ValueError, match="no statistics to train with"):
        folded.apply(lighter, images, train=True, mutable=["batch_stats"])
    with pytest.raises(ValueError, match="no field `norm`"):
        fold_batch_norm(nn.Dense(3), {"params": {}})
