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


def logits(model, variables, images):
    return jax.jit(model.apply)(variables, images)


@pytest.fixture(scope="module")
def bottleneck():
    model = create_model(
        "seresnet50", stage_sizes=(1, 1), width=16, attention=SEBlock(4), num_classes=5
    )
    images = random_images(size=24)
    return model, random_variables(model, images), images


@pytest.mark.parametrize("backbone", BACKBONES)
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


def test_a_norm_of_ones_own_network_is_found():
    class Net(nn.Module):
        norm: nn.Module

        @nn.compact
        def __call__(self, x, *, train=False):
            norm = self.norm.clone(
                use_running_average=not train, fused=False, name="bn", parent=self
            )
            return norm(Conv(4, name="conv")(x)).mean((1, 2))

    model, images = Net(BatchNorm()), random_images(size=8)
    variables = random_variables(model, images)
    folded, lighter = fold_batch_norm(model, variables, images=images)
    expected = model.apply(variables, images)
    np.testing.assert_allclose(folded.apply(lighter, images), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="give images"):
        fold_batch_norm(model, variables)


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
