"""Published attentions by name, with the defaults that their papers or timm state.

create_model("resnet50", attention="cbam")   # instead of a template, attention=CBAM()
create_model("resnet50", attention={"name": "se", "reduction": 8})  # as a config or JSON writes it
create_model("resnet50", inner="sk")         # in place of the 3x3 convolutions
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn

from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.layers.directional import (
    CoordinateAttention,
    StripAttention,
    TripletAttention,
)
from senet_jax.layers.excitations import (
    AcrossChannels,
    AcrossChannelsMLP,
    Bottleneck,
    Full,
    PerChannel,
)
from senet_jax.layers.frequencies import Frequencies
from senet_jax.layers.gather_excite import GatherExcite
from senet_jax.layers.multi_input import MultiKernelConv
from senet_jax.layers.positions import SGE, DANetChannelAttention, NoSqueeze, SimAM
from senet_jax.layers.relative_excitations import GatedNorm, Standardise
from senet_jax.layers.se import SEBlock
from senet_jax.layers.selective_kernel import SelectiveKernel
from senet_jax.layers.spatial import BAM, CBAM, SCSE, SpatialAttention
from senet_jax.layers.split_attention import SplitAttention
from senet_jax.layers.squeezes import Pool, SoftmaxPool

__all__ = ["ATTENTIONS", "INNERS", "named_attention", "named_inner"]

TIMMS_CONTEXT = Bottleneck(8, divisor=1, layer_norm=True, epsilon=1e-6)

ATTENTIONS: Mapping[str, nn.Module] = {
    # arXiv 1709.01507
    "se": SEBlock(),
    # timm's add_maxpool: half mean, half maximum
    "se_max": ChannelAttention(Pool(("mean", "max"), average=True), Bottleneck()),
    # 1803.02579, its channel half
    "cse": SEBlock(reduction=2),
    # 1911.06667
    "ese": ChannelAttention(Pool(), Full(), gate="hard_sigmoid"),
    # 1910.03151, the kernel size by the paper's rule
    "eca": ChannelAttention(Pool(), AcrossChannels()),
    # timm's variants of it: the channels as a ring, and two convolutions
    "ceca": ChannelAttention(Pool(), AcrossChannels(circular=True)),
    "ecam": ChannelAttention(Pool(), AcrossChannelsMLP()),
    # 1903.10829
    "srm": ChannelAttention(Pool(("mean", "std")), PerChannel()),
    # 1909.11519
    "gct": ChannelAttention(Pool(("l2",)), GatedNorm(), gate="one_plus_tanh"),
    # CVPR 2021, Gaussian context transformer with the fixed width
    "gaussian": ChannelAttention(Pool(), Standardise(), gate="gaussian"),
    # 2012.11879
    "fca": ChannelAttention(Frequencies("top16"), Bottleneck(use_bias=False)),
    # 1904.11492 in timm's two forms: the context multiplies, or is added and then starts at zero
    "gc": ChannelAttention(SoftmaxPool(), TIMMS_CONTEXT),
    "gca": ChannelAttention(
        SoftmaxPool(), TIMMS_CONTEXT.clone(zero_init_last=True), gate="identity", combine="add"
    ),
    # 1709.01507, section 6.3: what the squeeze is good for
    "no_squeeze": NoSqueeze(),
    # 1810.12348 without parameters
    "gather": GatherExcite(),
    # 1807.06521, and its second half alone; 1807.06514; 1803.02579
    "cbam": CBAM(),
    "spatial": SpatialAttention(),
    "bam": BAM(),
    "scse": SCSE(),
    # 2103.02907, 2003.13328, 2010.03045
    "coordinate": CoordinateAttention(),
    "strip": StripAttention(),
    "triplet": TripletAttention(),
    # 1905.09646, ICML 2021, 1809.02983
    "sge": SGE(),
    "simam": SimAM(),
    "danet": DANetChannelAttention(),
    # 1709.01507, section 6.2: SE with the maximum in place of the mean
    "max_squeeze": ChannelAttention(Pool(("max",)), Bottleneck()),
}
# what stands in place of a 3x3 convolution with its norm and ReLU
INNERS: Mapping[str, nn.Module] = {
    "sk": SelectiveKernel(),  # 1903.06586
    "split": SplitAttention(),  # 2004.08955
    "multi_input_se": MultiKernelConv(),
    "parallel_se": MultiKernelConv(arrangement="parallel"),
    "serial_se": MultiKernelConv(arrangement="serial"),
}


def named_attention(name: str, **fields: Any) -> nn.Module:
    """An attention by name, an unbound module: a template for a model's option `attention`.

    Args:
      **fields: of the module, in place of the named one's.

    Raises:
      ValueError: no such attention or no such field; says which are near.

    Example:
      >>> named_attention("cse").reduction
      2
      >>> named_attention("se", reduction=8, gate="tanh").gate
      'tanh'
    """
    return _named("attention", ATTENTIONS, name, fields)


def named_inner(name: str, **fields: Any) -> nn.Module:
    """The same for a residual network's option `inner`."""
    return _named("inner", INNERS, name, fields)


def _named(
    option: str, table: Mapping[str, nn.Module], name: str, fields: Mapping[str, Any]
) -> nn.Module:
    if name not in table:
        raise ValueError(f"Unknown {option} {name!r}. {_nearest(name, table)}")
    template = table[name]
    known = [f.name for f in dataclasses.fields(template) if f.name not in ("parent", "name")]
    for field in fields:
        if field not in known:
            raise ValueError(f"{option} {name!r} has no {field!r}. {_nearest(field, known)}")
    return template.clone(**fields)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"Did you mean {', '.join(map(repr, near))}? " if near else ""
    return f"{hint}There are {', '.join(map(repr, known))}."
