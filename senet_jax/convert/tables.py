"""What a tensor is called elsewhere, and how its axes lie there: one table for both directions.

A row names a module here and there, and what kind of module it is:

    Row("stage{s}/block{b}/conv{i}", "layer{s}.{b-1}.conv{i}", CONV)

Letters in braces stand for numbers; `{b-1}` counts from 0 what we count from 1. The kind says which
tensors the module has. The network itself says which modules there are and what shapes they have,
so that every tensor is checked: each is used once, none is missing and none is left over.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from senet_jax.layers import SEBlock
from senet_jax.models.spec import any_images

Variables = dict[str, Any]
Path = tuple[str, ...]  # ("params", "stage1", "block1", "conv1", "kernel")


class Axes(NamedTuple):
    """The order of a tensor's axes: two functions, each the other's inverse."""

    there: Callable[[np.ndarray], np.ndarray]
    here: Callable[[np.ndarray], np.ndarray]


SAME = Axes(lambda v: v, lambda v: v)
OIHW = Axes(lambda k: k.transpose(3, 2, 0, 1), lambda w: w.transpose(2, 3, 1, 0))  # ours is HWIO
OI = Axes(lambda k: k.T, lambda w: w.T)  # ours is [inputs, outputs]
OI11 = Axes(lambda k: k.T[:, :, None, None], lambda w: w[:, :, 0, 0].T)

Kind = Mapping[tuple[str, str], tuple[str, Axes]]

CONV: Kind = {("params", "kernel"): ("weight", OIHW)}
BIASED_CONV: Kind = {**CONV, ("params", "bias"): ("bias", SAME)}
DENSE: Kind = {("params", "kernel"): ("weight", OI), ("params", "bias"): ("bias", SAME)}
DENSE_AS_CONV: Kind = {**DENSE, ("params", "kernel"): ("weight", OI11)}
NORM: Kind = {
    ("params", "scale"): ("weight", SAME),
    ("params", "bias"): ("bias", SAME),
    ("batch_stats", "mean"): ("running_mean", SAME),
    ("batch_stats", "var"): ("running_var", SAME),
}
# torch counts a norm's steps, for an averaging that no public (SE-)ResNet uses: no place for it
COUNTER = "num_batches_tracked"


class Row(NamedTuple):
    """A module's name here and there, and what it is."""

    ours: str
    theirs: str
    kind: Kind


Table = tuple[Row, ...]


class Tensor(NamedTuple):
    """A tensor of a network: where it is here, how its axes lie there, and what it is here."""

    path: Path
    axes: Axes
    shape: tuple[int, ...]
    dtype: Any

    @property
    def shape_there(self) -> tuple[int, ...]:
        return self.axes.there(np.broadcast_to(np.float32(0), self.shape)).shape


class ConversionError(ValueError):
    """Weights that do not fit a network.

    Attributes:
      missing: names of tensors that the network has and the weights have not.
      unexpected: names that the network has no place for.
      wrong: names of tensors of another shape or type, with what is wrong.
    """

    def __init__(
        self,
        message: str,
        missing: tuple[str, ...] = (),
        unexpected: tuple[str, ...] = (),
        wrong: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.missing, self.unexpected, self.wrong = missing, unexpected, dict(wrong or {})


def tensors_of(model: nn.Module, table: Table, channels: int) -> dict[str, Tensor]:
    """Every tensor of a network by its name there, for images with so many channels.

    Raises:
      ConversionError: the table has no name for one.
    """
    images = any_images(channels)
    tree = jax.eval_shape(model.init, jax.random.key(0), images)
    tensors = {}
    for path, value in sorted(traverse_util.flatten_dict(tree).items(), key=_reading_order):
        collection, *parents, leaf = path
        module, kind = module_there("/".join(parents), table)
        suffix, axes = kind[collection, leaf]
        name = f"{module}.{suffix}"
        assert name not in tensors, f"two tensors are called {name}"
        tensors[name] = Tensor(path, axes, value.shape, value.dtype)
    return tensors


def counters_of(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the step counters that torch keeps beside running statistics."""
    return [
        name.removesuffix("running_mean") + COUNTER
        for name in tensors
        if name.endswith("running_mean")
    ]


def read(
    weights: Mapping[str, Any], tensors: Mapping[str, Tensor], subject: str, hint: str = ""
) -> Variables:
    """Variables from weights with the names of elsewhere; `num_batches_tracked` is dropped.

    Raises:
      ConversionError: names all tensors that are missing, left over, or of a wrong shape or type,
        and ends with `hint`.
    """
    counters = set(counters_of(tensors))
    found = {name: np.asarray(v) for name, v in weights.items() if name not in counters}
    expected = {name: tensor.shape_there for name, tensor in tensors.items()}
    _check("weights", found, expected, subject, hint)
    return traverse_util.unflatten_dict(
        {t.path: jnp.asarray(t.axes.here(found[name]), t.dtype) for name, t in tensors.items()}
    )


def write(
    variables: Mapping[str, Any], tensors: Mapping[str, Tensor], subject: str
) -> dict[str, np.ndarray]:
    """The inverse of `read`: weights with the names of elsewhere, every counter 0.

    Raises:
      ConversionError: names all variables that are missing, left over, or of a wrong shape or type.
    """
    found = {
        path: np.asarray(v)
        for path, v in traverse_util.flatten_dict(dict(variables)).items()
        if path[0] in ("params", "batch_stats")
    }
    expected = {"/".join(tensor.path): tensor.shape for tensor in tensors.values()}
    _check("variables", {"/".join(path): v for path, v in found.items()}, expected, subject)
    # safetensors writes memory as it lies, so a transposed view would come out as another tensor
    weights = {
        name: np.array(t.axes.there(found[t.path]), order="C") for name, t in tensors.items()
    }
    return weights | {name: np.zeros((), np.int64) for name in counters_of(tensors)}


def module_there(module: str, table: Table) -> tuple[str, Kind]:
    """The name of a module there, and its kind: "stem/conv1" -> "conv1.0", CONV.

    Raises:
      ConversionError: the table has none.
    """
    for row in table:
        match = _pattern(row.ours).fullmatch(module)
        if match:
            return _fill(row.theirs, match.groupdict()), row.kind
    raise ConversionError(
        f"{module} has no name in that layout: its networks have no such layer (see the model's"
        " attention and placement)."
    )


def strange_options(model: Any, expected: Mapping[str, Any]) -> list[str]:
    """The options of a network that are others than where the names are from."""
    return [
        f"{option}={getattr(model, option)!r}"
        for option, value in expected.items()
        if getattr(model, option) != value
    ]


def strange_attention(attention: Any, **expected: Any) -> list[str]:
    """The same of its attention, which must be an `SEBlock` of which no gate starts at one."""
    if attention is None:
        return []
    if not isinstance(attention, SEBlock):
        return ["this attention"]
    options = strange_options(attention, dict(identity_start=False) | expected)
    return [f"SEBlock({', '.join(options)})"] if options else []


def refuse(strangers: list[str], source: str = "timm") -> None:
    """Raises a ConversionError if there are any."""
    if strangers:
        raise ConversionError(
            f"{source} has no such network with {', '.join(strangers)}: expected one that it has,"
            " perhaps the plain one, attention=None."
        )


def describe(model: nn.Module) -> str:
    """A network in few words, for messages."""
    told = ("stage_sizes", "depths", "num_classes")
    known = [f for f in told if hasattr(model, f)]
    return f"{type(model).__name__}({', '.join(f'{f}={getattr(model, f)}' for f in known)})"


@cache  # re keeps 512 alone, and some networks have more names
def _pattern(ours: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w)\}", r"(?P<\1>\\d+)", ours))


def _fill(theirs: str, numbers: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w)(-1)?\}", lambda m: str(int(numbers[m[1]]) - (1 if m[2] else 0)), theirs)


def _reading_order(item: tuple[Path, Any]) -> list[list[tuple[str, int]]]:
    """block2 before block10."""
    return [[(a, int(d or 0)) for a, d in re.findall(r"(\D*)(\d*)", part)] for part in item[0]]


def _check(
    what: str,
    found: Mapping[str, np.ndarray],
    expected: Mapping[str, tuple[int, ...]],
    subject: str,
    hint: str = "",
) -> None:
    missing = tuple(name for name in expected if name not in found)
    unexpected = tuple(name for name in found if name not in expected)
    wrong = {
        name: fault
        for name, shape in expected.items()
        if name in found and (fault := _fault(found[name], shape))
    }
    if not (missing or unexpected or wrong):
        return
    parts = [
        *_listed("missing ", missing, ", "),
        *_listed("unexpected ", unexpected, ", "),
        *_listed("", tuple(f"{name} {fault}" for name, fault in wrong.items()), "; "),
    ]
    message = f"The {what} do not fit {subject}: {'; '.join(parts)}."
    raise ConversionError(f"{message} {hint}".rstrip(), missing, unexpected, wrong)


def _fault(value: np.ndarray, shape: tuple[int, ...]) -> str:
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return f"holds {value.dtype}, expected floats"
    if value.shape == shape:
        return ""
    transposed = value.ndim == len(shape) and sorted(value.shape) == sorted(shape)
    return f"has shape {value.shape}, expected {shape}" + (" (transposed?)" if transposed else "")


LISTED = 30  # of each sort; the exception holds them all


def _listed(what: str, names: tuple[str, ...], separator: str) -> Iterator[str]:
    if names:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        yield what + separator.join(names[:LISTED]) + more
