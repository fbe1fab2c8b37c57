"""timm's attention modules at seeded weights, where a module of timm runs and is one of ours."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from senet_jax.fused import finish
from senet_jax.layers import BatchNorm
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.directional import CoordinateAttention
from senet_jax.layers.excitations import Bottleneck
from senet_jax.layers.gather_excite import GatherExcite, sources
from senet_jax.layers.spatial import CBAM, SpatialAttention
from senet_jax.layers.squeezes import Pool
from tests.convert.ours import relative_error, unbiased
from tests.layers.promises import apply, frozen

pytestmark = pytest.mark.parity

PROMISED = 1e-5  # of the greatest value
SIZES = ((3, 7, 5), (2, 8, 14))  # images, height, width: odd and even, no two alike
STATISTICS = ("mean", "max")


def cbam(average):
    return CBAM(
        ChannelAttention(Pool(STATISTICS, average), Bottleneck(divisor=1, use_bias=False)),
        SpatialAttention(("mean", "max"), average, norm=BatchNorm()),
    )


OF_CBAM = {
    "channel/excite/fc1/kernel": "channel.fc1.weight",
    "channel/excite/fc2/kernel": "channel.fc2.weight",
    "spatial/conv/kernel": "spatial.conv.conv.weight",
    "spatial/bn": "spatial.conv.bn",
}
OF_COORDINATES = {
    "fc1/kernel": "conv1.weight",
    "bn": "bn1",
    "height_fc/kernel": "conv_h.weight",
    "width_fc/kernel": "conv_w.weight",
}
BIASES = {"fc1/bias": "conv1.bias", "height_fc/bias": "conv_h.bias", "width_fc/bias": "conv_w.bias"}


class Pair(NamedTuple):
    """A module of timm, `timm.layers.<file>.<name>(channels, **options(channels))`, ours, and the
    names of ours with theirs; of a norm, its own.
    """

    file: str
    name: str
    options: Callable[[int], dict[str, Any]]
    ours: nn.Module
    table: dict[str, str]


PAIRS = {
    "cbam": Pair("cbam", "CbamModule", lambda c: {}, cbam(average=False), OF_CBAM),
    "lcbam": Pair("cbam", "LightCbamModule", lambda c: {}, cbam(average=True), OF_CBAM),
    "coord": Pair(
        "coord_attn",
        "CoordAttn",
        lambda c: {},
        CoordinateAttention(reduction=24, divisor=8, use_bias=False),
        OF_COORDINATES,
    ),
    "coord of the authors": Pair(
        "coord_attn",
        "CoordAttn",
        lambda c: dict(bias=True, rd_channels=max(8, c // 32)),
        CoordinateAttention(),
        OF_COORDINATES | BIASES,
    ),
}
PAIRS |= {
    f"ge {extent}": Pair(
        "gather_excite",
        "GatherExcite",
        partial(lambda extent, c: dict(extent=extent, use_mlp=False), extent),
        GatherExcite(extent),
        {},
    )
    for extent in (0, 2, 4, 8)
}


def theirs(pair, channels):
    from tests.parity import reference

    module = importlib.import_module(f"timm.layers.{pair.file}")
    made = getattr(module, pair.name)(channels, **pair.options(channels))
    return reference.load_seeded(made)


def variables_of(pair, state):
    """Our variables from timm's tensors."""
    flat = {}
    for ours, name in pair.table.items():
        if ours.rpartition("/")[2] == "bn":
            flat[f"params/{ours}/scale"] = state[f"{name}.weight"]
            flat[f"params/{ours}/bias"] = state[f"{name}.bias"]
            flat[f"batch_stats/{ours}/mean"] = state[f"{name}.running_mean"]
            flat[f"batch_stats/{ours}/var"] = state[f"{name}.running_var"]
        elif state[name].ndim == 1:
            flat[f"params/{ours}"] = state[name]
        else:
            kernel = state[name].transpose(2, 3, 1, 0)
            flat[f"params/{ours}"] = kernel if "conv" in ours else kernel[0, 0]
    return traverse_util.unflatten_dict({k: v.copy() for k, v in flat.items()}, sep="/")


def normal(seed, n, h, w, channels):
    return np.random.default_rng(seed).normal(0.3, 1, (n, h, w, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [64, 256, 512])
@pytest.mark.parametrize("name", PAIRS)
def test_features_are_timms_at_inference(name, channels):
    import torch

    from tests.parity import reference

    module = theirs(PAIRS[name], channels)
    variables = variables_of(PAIRS[name], reference.state_dict(module))
    ours = frozen(PAIRS[name].ours)
    for seed, size in enumerate(SIZES):
        u = normal(seed, *size, channels)
        shapes = jax.eval_shape(ours.init, jax.random.key(0), u)
        shapes = {k: v for k, v in shapes.items() if k != "intermediates"}
        assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, variables)
        with torch.no_grad():
            expected = reference.nhwc(module(reference.nchw(u)))
        error = relative_error(apply(ours, variables, u), expected)
        assert error <= PROMISED, error


@pytest.mark.parametrize("name", PAIRS)
def test_features_slopes_and_statistics_are_timms_in_training(name):
    from tests.parity import reference

    n, h, w = SIZES[0]
    u, direction = normal(0, n, h, w, 64), normal(1, n, h, w, 64)
    module = theirs(PAIRS[name], 64)
    variables = variables_of(PAIRS[name], reference.state_dict(module))
    module.train()
    x = reference.nchw(u).requires_grad_()
    expected = module(x)
    (expected * reference.nchw(direction)).sum().backward()

    def outputs(params, u):
        y, updates = PAIRS[name].ours.apply(
            {**variables, "params": params}, u, mutable=["batch_stats"]
        )
        return finish(y, act=None), updates

    @jax.jit
    def step(params, u):
        y, back, updates = jax.vjp(outputs, params, u, has_aux=True)
        return y, *back(direction), updates

    y, slopes, of_u, updates = step(variables.get("params", {}), u)
    assert relative_error(y, reference.nhwc(expected)) <= PROMISED
    assert relative_error(of_u, reference.nhwc(x.grad)) <= PROMISED

    after = reference.state_dict(module)
    gradients = {k: p.grad.numpy() for k, p in module.named_parameters()}
    wanted = traverse_util.flatten_dict(variables_of(PAIRS[name], after | gradients), sep="/")
    # biases before a norm have no slope, but for rounding
    least = max([np.abs(g).max() for g in gradients.values()], default=0.0)
    for path, slope in traverse_util.flatten_dict(slopes, sep="/").items():
        error = relative_error(slope, wanted[f"params/{path}"], 0.1 * least)
        assert error <= PROMISED, (path, error)
    for path, value in traverse_util.flatten_dict(updates.get("batch_stats", {}), sep="/").items():
        if path.endswith("var"):
            count = n * (h + w) if name.startswith("coord") else n * h * w
            old = traverse_util.flatten_dict(variables["batch_stats"], sep="/")[path]
            value = unbiased(old, value, count)
        assert relative_error(value, wanted[f"batch_stats/{path}"]) <= PROMISED, path


@pytest.mark.parametrize("extent", [2, 4, 8])
def test_torchs_nearest_neighbours_are_ours(extent):
    import torch

    for size in range(1, 513):
        few = np.arange(-(-size // extent))
        theirs = torch.nn.functional.interpolate(torch.from_numpy(few)[None, None] * 1.0, size=size)
        np.testing.assert_array_equal(sources(len(few), size), theirs[0, 0], str(size))
