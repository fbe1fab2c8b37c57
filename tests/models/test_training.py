"""What training does to blocks: stochastic depth, rematerialisation, in families that have them."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import BatchNorm
from senet_jax.fused import AffineMap, finish
from senet_jax.models.mobile_blocks import Row
from senet_jax.models.training import drop_branch, drop_rates
from tests.models.shrink import shrink
from tests.models.twins import random_images, random_variables, train_step

NAMES = (
    "seresnet50",
    "efficientnet_b0",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("seresnet18", "regnety_002")),
)


class Dropping(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, u):
        return drop_branch(self, u, self.rate)


def test_rates_grow_linearly_from_the_first_block_to_the_last():
    assert drop_rates(0.3, (1, 3), train=True) == [[0.0], pytest.approx([0.1, 0.2, 0.3])]
    assert drop_rates(0.3, (1, 3), train=False) == [[0.0], [0.0] * 3]
    assert drop_rates(0.3, (1,), train=True) == [[0.0]]
    with pytest.raises(ValueError, match=r"stochastic_depth=1\.5, expected at least 0 and less"):
        drop_rates(1.5, (1,), train=True)


def test_a_branch_is_left_out_image_by_image_and_its_mean_stays():
    ones = jnp.ones((20_000, 2, 1, 3))
    dropped = np.asarray(Dropping(0.2).apply({}, ones, rngs={"dropout": jax.random.key(0)}))
    assert set(np.unique(dropped)) == {0.0, np.float32(1.25)}
    assert (dropped == dropped[:, :1, :, :1]).all()  # whole images
    assert abs(dropped.mean() - 1) < 3 * np.sqrt(0.2 / 0.8 / len(ones))


def test_what_is_deferred_stays_deferred():
    r = np.random.default_rng(0)
    x, a, b = (jnp.asarray(r.normal(size=s), jnp.float32) for s in ((5, 2, 2, 3), (1, 3), (1, 3)))
    rngs = {"dropout": jax.random.key(1)}
    dropped = Dropping(0.5).apply({}, AffineMap(x, a, b), rngs=rngs)
    assert isinstance(dropped, AffineMap)
    written = Dropping(0.5).apply({}, x * a[:, None, None] + b[:, None, None], rngs=rngs)
    np.testing.assert_allclose(finish(dropped, act=None), written, rtol=1e-6, atol=1e-6)


def test_a_block_left_out_is_its_shortcut():
    model = shrink("seresnet18").model.clone(
        stage_sizes=(2,), stem="cifar", stochastic_depth=0.5, num_classes=10
    )
    images = random_images(n=16, size=8)
    variables = random_variables(model, images)

    def output(model):
        features = partial(model.apply, train=True, method="features", mutable=["batch_stats"])
        return np.asarray(features(variables, images, rngs={"dropout": jax.random.key(0)})[0][-1])

    shortcut = output(model.clone(stage_sizes=(1,)))
    whole = output(model.clone(stochastic_depth=0.0))
    dropped = output(model)
    alone = np.abs(dropped - shortcut).max(axis=(1, 2, 3)) < 1e-6
    assert 0 < alone.sum() < len(images)
    branch = whole - shortcut  # but where the ReLU has cut it off
    seen = whole[~alone] > 0
    doubled = np.maximum(shortcut + 2 * branch, 0)[~alone]
    np.testing.assert_allclose(dropped[~alone][seen], doubled[seen], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_rematerialised_a_step_gives_the_same_numbers(name):
    """With branches left out, too: what is computed again draws the same."""
    small = shrink(name)
    if name == "efficientnet_b0":  # blocks with shortcuts
        stage = (Row("inverted", 3, 1, 8, repeats=3, expansion=2),)
        small = small._replace(model=small.model.clone(stages=(stage,)))
    model = small.model.clone(stochastic_depth=0.4)
    images = random_images(size=small.size)
    variables = random_variables(model, images)
    (loss, (logits, updates)), gradients = train_step(model, variables, images)
    again = train_step(model.clone(remat=True), variables, images)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-4),
        ((loss, (logits, updates)), gradients),
        again,
    )
    without = train_step(small.model, variables, images)[0][0]
    assert abs(without - loss) > 1e-4


def test_deferred_and_at_once_leave_out_the_same():
    model = shrink("seresnet50").model.clone(stochastic_depth=0.5)
    images = random_images(size=16)
    variables = random_variables(model, images)
    fused = train_step(model, variables, images)[0][0]
    plain = train_step(model.clone(norm=BatchNorm(fused=False)), variables, images)[0][0]
    np.testing.assert_allclose(fused, plain, rtol=1e-5)


def test_rematerialised_a_step_keeps_less():
    """What the forward pass hands to the backward pass, in bytes, beside images and variables."""
    model = shrink("seresnet50").model.clone(stage_sizes=(4,), stem="cifar")
    images = jnp.zeros((4, 8, 8, 3))
    variables = random_variables(model, images)

    def kept(model):
        def loss(params):
            every = {**variables, "params": params}
            return jnp.sum(model.apply(every, images, train=True, mutable=["batch_stats"])[0] ** 2)

        backward = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], variables["params"])
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(backward))

    assert kept(model.clone(remat=True)) < 0.5 * kept(model)
