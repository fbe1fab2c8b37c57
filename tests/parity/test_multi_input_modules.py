"""Selective kernels and split attention against timm's modules, with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax.convert.tables import CONV, DENSE_AS_CONV, NORM, Row, read, tensors_of
from senet_jax.convert.timm_resnet import BIASED_CONV
from senet_jax.layers import BatchNorm
from senet_jax.layers.selective_kernel import SelectiveKernel
from senet_jax.layers.split_attention import SplitAttention
from tests.convert.ours import relative_error

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("x64")]

SELECTIVE = (
    Row("conv{i}", "paths.{i-1}.conv", CONV),
    Row("bn{i}", "paths.{i-1}.bn", NORM),
    Row("fc1", "attn.fc_reduce", DENSE_AS_CONV),
    Row("bn", "attn.bn", NORM),
    Row("fc2", "attn.fc_select", DENSE_AS_CONV),
)
SPLIT = (
    Row("conv1", "conv", CONV),
    Row("bn1", "bn0", NORM),
    Row("fc{i}", "fc{i}", BIASED_CONV),
    Row("bn", "bn1", NORM),
)
TIMM = dict(divisor=8, least=0)  # its width of the hidden layer


def compare(ours, theirs, table, channels, size=(9, 7)):
    """Inference, and a training step's outputs in float64: norms of three images magnify rounding.
    B, H, W and C all differ.
    """
    from tests.parity import reference

    theirs = reference.load_seeded(theirs)
    x = np.random.default_rng(channels).normal(size=(3, *size, channels)).astype(np.float32)
    state = reference.state_dict(theirs)
    variables = read(state, tensors_of(Flat(ours), table, channels), type(ours).__name__)
    expected = reference.nhwc(theirs(reference.nchw(x)))
    found = ours.clone(norm=BatchNorm(use_running_average=True)).apply(variables, jnp.asarray(x))
    assert relative_error(found, expected) < 2e-6

    theirs.double().train()
    wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (variables, x))
    expected = reference.nhwc(theirs(reference.nchw(x.astype(np.float64))))
    assert relative_error(ours.apply(*wide, mutable=["batch_stats"])[0], expected) < 1e-12


class Flat:
    """A module whose inputs have a few positions, which is all that its shapes depend on."""

    def __init__(self, module):
        self.module = module

    def init(self, key, images):
        features = jax.ShapeDtypeStruct((2, 4, 4, images.shape[-1]), jnp.float32)
        return jax.eval_shape(self.module.init, key, features)


@pytest.mark.parametrize("channels", [64, 256])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (dict(groups=1, split_input=True), {}),
        (dict(groups=1, strides=2), dict(split_input=False, stride=2)),
        (dict(groups=32), dict(split_input=False, groups=32)),
        (
            dict(groups=4, keep_3x3=False, kernel_sizes=(3, 5, 7)),
            dict(split_input=False, groups=4, keep_3x3=False, kernel_size=[3, 5, 7]),
        ),
        (
            dict(groups=1, split_input=True, kernel_sizes=(5, 5), reduction=8, divisor=16),
            dict(kernel_size=5, rd_ratio=1 / 8, rd_divisor=16),
        ),
        (
            dict(groups=8, features=96, divisor=32, least=32),
            dict(out_channels=96, groups=8, split_input=False, rd_divisor=32),
        ),
    ],
)
def test_selective_kernels(ours, theirs, channels):
    from tests.parity.reference import timm

    module = timm.layers.SelectiveKernel(channels, **theirs)
    compare(SelectiveKernel(**TIMM | ours), module, SELECTIVE, channels)


@pytest.mark.parametrize("channels", [64, 256])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        (dict(radix=1), dict(radix=1)),
        (dict(radix=4, groups=2, strides=2), dict(radix=4, groups=2, stride=2)),
        (dict(groups=4, features=128), dict(groups=4, out_channels=128)),
    ],
)
def test_split_attention(ours, theirs, channels):
    from tests.parity.reference import timm, torch

    module = timm.layers.SplitAttn(channels, norm_layer=torch.nn.BatchNorm2d, **theirs)
    compare(SplitAttention(**ours), module, SPLIT, channels)


def test_split_attention_rounds_its_width_as_timm():
    from tests.parity.reference import timm, torch

    module = timm.layers.SplitAttn(72, norm_layer=torch.nn.BatchNorm2d, radix=3)  # 54 to 56
    compare(SplitAttention(radix=3, divisor=8), module, SPLIT, 72)
