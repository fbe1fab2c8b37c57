"""Channel attentions against timm's modules: `python -m pytest -m parity
tests/parity/test_channel_modules.py` (docs/parity.md).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import SEBlock
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.excitations import (
    AcrossChannelsMLP,
    Bottleneck,
    Full,
    adaptive_kernel_size,
)
from senet_jax.layers.named import TIMMS_CONTEXT, named_attention
from senet_jax.layers.squeezes import Pool, SoftmaxPool

pytestmark = pytest.mark.parity

PROMISED = 1e-4  # of the greatest value of a tensor, in float32
HALF = Pool(("mean", "max"), average=True)
CONTEXT = ChannelAttention(SoftmaxPool(), TIMMS_CONTEXT, shift=TIMMS_CONTEXT)

# name: ours, timm's module and its arguments, ours <- timm's names
FC = {"fc1": "fc1", "fc2": "fc2"}
EXCITE = {"excite/fc1": "fc1", "excite/fc2": "fc2"}
CASES = {
    "se": (SEBlock(divisor=8), "SEModule", {}, FC),
    "se without bias": (SEBlock(divisor=8, use_bias=False), "SEModule", dict(bias=False), FC),
    "se as a product": (
        ChannelAttention(Pool(), Bottleneck(divisor=8)),
        "SEModule",
        {},
        EXCITE,
    ),
    "se_max": (
        ChannelAttention(HALF, Bottleneck(divisor=8)),
        "SEModule",
        dict(add_maxpool=True),
        EXCITE,
    ),
    "ese": (named_attention("ese"), "EffectiveSEModule", {}, {"excite/fc": "fc"}),
    "ese_max": (
        ChannelAttention(HALF, Full(), gate="hard_sigmoid"),
        "EffectiveSEModule",
        dict(add_maxpool=True),
        {"excite/fc": "fc"},
    ),
    "eca": (named_attention("eca"), "EcaModule", {}, {"excite": "conv"}),
    "ceca": (named_attention("ceca"), "CecaModule", {}, {"excite": "conv"}),
    "ecam": (
        ChannelAttention(Pool(), AcrossChannelsMLP()),
        "EcaModule",
        dict(use_mlp=True),
        {"excite/conv1": "conv", "excite/conv2": "conv2"},
    ),
    "gc": (
        named_attention("gc"),
        "GlobalContext",
        {},
        {
            "squeeze/fc": "conv_attn",
            "excite/fc1": "mlp_scale.fc1",
            "excite/ln": "mlp_scale.norm",
            "excite/fc2": "mlp_scale.fc2",
        },
    ),
    "gca": (
        named_attention("gca"),
        "GlobalContext",
        dict(fuse_add=True, fuse_scale=False),
        {
            "squeeze/fc": "conv_attn",
            "excite/fc1": "mlp_add.fc1",
            "excite/ln": "mlp_add.norm",
            "excite/fc2": "mlp_add.fc2",
        },
    ),
    "gc and gca": (
        CONTEXT,
        "GlobalContext",
        dict(fuse_add=True, fuse_scale=True),
        {
            "squeeze/fc": "conv_attn",
            "excite/fc1": "mlp_scale.fc1",
            "excite/ln": "mlp_scale.norm",
            "excite/fc2": "mlp_scale.fc2",
            "shift/fc1": "mlp_add.fc1",
            "shift/ln": "mlp_add.norm",
            "shift/fc2": "mlp_add.fc2",
        },
    ),
    "gc of the mean": (
        ChannelAttention(Pool(), TIMMS_CONTEXT),
        "GlobalContext",
        dict(use_attn=False),
        {
            "excite/fc1": "mlp_scale.fc1",
            "excite/ln": "mlp_scale.norm",
            "excite/fc2": "mlp_scale.fc2",
        },
    ),
}


def kernel_of(value):
    """torch's (O, I, *size) -> ours (*size, I, O), 1x1 convolutions as dense, ECA's as [k, 1]."""
    if value.ndim == 4:
        return value[:, :, 0, 0].T
    return value.transpose(2, 1, 0)


def ours_from(state, names, template):
    """Variables of ours from timm's state; every value of both is used."""
    params, left = {}, set(state)
    for path, theirs in names.items():
        node = params
        for part in path.split("/"):
            node = node.setdefault(part, {})
        for key, value in state.items():
            if key.rsplit(".", 1)[0] == theirs:
                left.remove(key)
                if key.endswith("bias"):
                    node["bias"] = value
                elif value.ndim == 1:
                    node["scale"] = value
                else:
                    node["kernel"] = kernel_of(value)
    assert not left, left
    params = jax.tree.map(lambda value, ours: value.reshape(ours.shape), params, template)
    return {"params": jax.tree.map(jnp.asarray, params)}


def both(name, channels, size):
    """timm's output and ours, and the gradients by the features, for random weights."""
    import torch

    from tests.parity import reference

    ours, class_name, arguments, names = CASES[name]
    theirs = getattr(reference.timm.layers, class_name)(channels, **arguments)
    r = np.random.default_rng(0)
    state = {
        key: r.normal(1 if "norm.weight" in key else 0, 0.3, tuple(value.shape)).astype(np.float32)
        for key, value in theirs.state_dict().items()
    }
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    u = r.normal(0.2, 1, (3, *size, channels)).astype(np.float32)
    shapes = jax.eval_shape(ours.init, jax.random.key(0), u)["params"]
    assert sum(p.size for p in jax.tree.leaves(shapes)) == sum(v.size for v in state.values())
    variables = ours_from(state, names, shapes)

    x = reference.nchw(u).requires_grad_()
    y = theirs(x)
    y.square().sum().backward()

    def loss(u):
        v = ours.apply(variables, u)
        return jnp.square(v).sum(), v

    (_, v), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(u)
    return (reference.nhwc(y), v), (reference.nhwc(x.grad), slope)


# odd and even sizes, height and width unlike the number of images and each other
@pytest.mark.parametrize("size", [(7, 5), (4, 6)])
@pytest.mark.parametrize("channels", [64, 256])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_counts_are_timms(name, channels, size):
    for theirs, ours in both(name, channels, size):
        error = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
        assert error <= PROMISED


def test_kernel_sizes_are_timms():
    from tests.parity import reference

    for channels in range(1, 4097):
        kernel = reference.timm.layers.EcaModule(channels).conv.kernel_size[0]
        assert adaptive_kernel_size(channels) == kernel, channels


def test_timms_sum_starts_elsewhere():
    """It leaves the last bias of `gca` as torch draws it; mmcv's and ours is zero, the identity."""
    from tests.parity import reference

    theirs = reference.timm.layers.GlobalContext(64, fuse_add=True, fuse_scale=False)
    assert (theirs.mlp_add.fc2.weight == 0).all() and (theirs.mlp_add.fc2.bias != 0).any()
