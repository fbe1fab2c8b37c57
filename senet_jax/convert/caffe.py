"""Weights of the paper's own release, for Caffe (github.com/hujie-frank/SENet): SE-BN-Inception.

    model = create_model("sebn_inception")
    variables = from_caffe(read_caffemodel("SE-BN-Inception.caffemodel"), model)

Its other networks are in timm, converted: `senet_jax.load("legacy_seresnet50")`, ... Here the
images are as everywhere, red first; the release's are blue first, so the input channels of the
first convolution are turned round. `preprocess_for` subtracts the release's mean.

Blobs are numbered as in Caffe: "conv1/7x7_s2.0" is `net.params["conv1/7x7_s2"][0]`. Behind this
convolution are a layer BatchNorm, "conv1/7x7_s2/bn", and a layer Scale, "conv1/7x7_s2/bn/scale". In
the names of `caffe_names` the kinds are

    conv           convolution, with or without a bias
    norm           BatchNorm and Scale, by the name of their convolution
    dense          fully connected
    dense_as_conv  fully connected here, a 1x1 convolution there
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from senet_jax.convert.caffe_names import SEBN_INCEPTION, NamedLayer
from senet_jax.convert.tables import (
    OI,
    OI11,
    OIHW,
    SAME,
    Axes,
    ConversionError,
    Kind,
    Row,
    Table,
    Tensor,
    Variables,
    describe,
    module_there,
    read,
    refuse,
    strange_attention,
    tensors_of,
)

Names = Iterable[NamedLayer]

BGR = Axes(lambda k: OIHW.there(_turned(k)), lambda w: _turned(OIHW.here(w)))

BIAS: Kind = {("params", "bias"): ("1", SAME)}
CONV: Kind = {("params", "kernel"): ("0", OIHW), **BIAS}
KINDS: dict[str, Kind] = {
    "conv": CONV,
    "dense": {("params", "kernel"): ("0", OI), **BIAS},
    "dense_as_conv": {("params", "kernel"): ("0", OI11), **BIAS},
    "norm": {
        ("batch_stats", "mean"): ("/bn.0", SAME),
        ("batch_stats", "var"): ("/bn.1", SAME),
        ("params", "scale"): ("/bn/scale.0", SAME),
        ("params", "bias"): ("/bn/scale.1", SAME),
    },
}
FIRST, CLASSIFIER = "stem/conv1", "head/fc"
FIRST_CONV: Kind = {**CONV, ("params", "kernel"): ("0", BGR)}


def from_caffe(
    blobs: Mapping[str, Sequence[np.ndarray]], model: nn.Module, names: Names = SEBN_INCEPTION
) -> Variables:
    """Variables of a model from the weights of Caffe's layers.

    Running statistics are divided by their third blob, as Caffe does when it uses them (by a factor
    of 0, they are 0).

    Args:
      blobs: arrays by layer, as `read_caffemodel` returns them. Every blob is used exactly once.
      model: the same network, `create_model("sebn_inception")`, with the number of classes and
        channels of the weights.
      names: its modules and Caffe's layers, see `caffe_names`.

    Returns:
      `{"params": ..., "batch_stats": ...}`, of the model's `param_dtype`, for images whose channels
      are red, green, blue.

    Raises:
      ConversionError: names every blob that is missing, left over, or has a wrong shape.
    """
    attention = getattr(model, "attention", None)
    for block in attention if isinstance(attention, tuple) else (attention,):
        refuse(strange_attention(block, act="relu", gate="sigmoid"))
    table = _table(names)
    weights = {f"{layer}.{i}": blob for layer, own in blobs.items() for i, blob in enumerate(own)}
    first = weights.get(f"{module_there(FIRST, table)[0]}.0")
    channels = first.shape[1] if first is not None and first.ndim == 4 else 3
    try:
        tensors = _tensors_of(model, table, channels)
    except ConversionError as error:
        raise ConversionError(
            f"{error} Of Caffe's networks sebn_inception alone is known; the others of its release"
            " are timm's, senet_jax.load('legacy_seresnet50') and so on."
        ) from None
    fitted = {
        name: _of_before_2015(blob, tensors[name]) if name in tensors else blob
        for name, blob in weights.items()
    }
    variables = read(fitted, tensors, describe(model))
    factors = variables.pop("factors", {})
    if factors:
        variables["batch_stats"] = _divided(variables["batch_stats"], factors)
    return variables


def classes_of(blobs: Mapping[str, Sequence[np.ndarray]], names: Names = SEBN_INCEPTION) -> int:
    """The number of classes of weights; 0 if they have no classifier."""
    classifier = blobs.get(module_there(CLASSIFIER, _table(names))[0], ())
    return classifier[0].shape[-2] if classifier and classifier[0].ndim >= 2 else 0


def _table(names: Names) -> Table:
    return tuple(
        Row(ours, theirs, FIRST_CONV if ours == FIRST else KINDS[kind])
        for ours, theirs, kind in names
    )


def _tensors_of(model: nn.Module, table: Table, channels: int) -> dict[str, Tensor]:
    """`tensors_of`, and the factor of each norm's statistics, which has no place here."""
    tensors = {}
    for name, tensor in tensors_of(model, table, channels).items():
        name = name.replace("./", "/")  # the two layers of a norm
        tensors[name] = tensor
        collection, *parents, leaf = tensor.path
        if (collection, leaf) == ("batch_stats", "var"):
            path = ("factors", *parents, "factor")
            tensors[name.removesuffix("1") + "2"] = Tensor(path, SAME, (1,), jnp.float32)
    return tensors


def _of_before_2015(blob: np.ndarray, tensor: Tensor) -> np.ndarray:
    """A bias `[1, 1, 1, C]` as `[C]`, as Caffe itself takes it."""
    spare = blob.ndim - len(tensor.shape_there)
    if blob.ndim == 4 and spare > 0 and blob.shape[:spare] == (1,) * spare:
        return blob.reshape(blob.shape[spare:])
    return blob


def _divided(statistics: Any, factors: Any) -> Any:
    if "factor" in factors:
        factor = np.asarray(factors["factor"])[0]
        share = 1 / factor if factor else np.float32(0)  # as Caffe, which multiplies by it
        return jax.tree.map(lambda value: value * share, statistics)
    return {name: _divided(statistics[name], factors[name]) for name in statistics}


def _turned(kernel: np.ndarray) -> np.ndarray:
    """The input channels of `[h, w, channels, features]` from BGR to RGB, or back."""
    return kernel[:, :, ::-1] if kernel.shape[2] == 3 else kernel
