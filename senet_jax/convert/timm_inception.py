"""timm's names for Inception-v3, v4 and Inception-ResNet-v2.

SE blocks have none: timm has none in these networks.
"""

from collections.abc import Iterator
from string import ascii_lowercase
from typing import Any

from senet_jax.convert.tables import BIASED_CONV, CONV, DENSE, NORM, ConversionError, Row, Table
from senet_jax.models.inception import Branch, Mixed, Pool
from senet_jax.models.inception_variants import INCEPTION_RESNET_V2, INCEPTION_V3, INCEPTION_V4

Stages = tuple[tuple[Mixed, ...], ...]

# of what has no place here: Inception-v3's second classifier, which helps in training alone
DROPPED = ("AuxLogits.",)

V3_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
V3_BRANCHES = (  # of a stage's first module, and of the others
    (("branch1x1", "branch5x5", "branch3x3dbl", "branch_pool"),) * 2,
    (("branch3x3", "branch3x3dbl"), ("branch1x1", "branch7x7", "branch7x7dbl", "branch_pool")),
    (("branch3x3", "branch7x7x3"), ("branch1x1", "branch3x3", "branch3x3dbl", "branch_pool")),
)
RESNET_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")
RESNET_STAGES = (("mixed_5b", "repeat"), ("mixed_6a", "repeat_1"), ("mixed_7a", "repeat_2"))


def table(model: Any) -> Table:
    """The names that timm gives to an Inception's modules; it may have fewer of them, or more.

    Raises:
      ConversionError: timm has none of such modules.
    """
    for options, rows in (
        (INCEPTION_V3, _v3),
        (INCEPTION_V4, _v4),
        (INCEPTION_RESNET_V2, _resnet_v2),
    ):
        if _is_made_of(options, model):
            return tuple(rows(model.stages))
    raise ConversionError(
        "timm has no Inception of such modules: expected those of inception_v3, inception_v4 or"
        " inception_resnet_v2."
    )


def _is_made_of(options: dict[str, Any], model: Any) -> bool:
    """Whether a network has this stem, and in its stages no modules but these."""
    same = (options["stem"], "convolutions", 0)
    if (model.stem, model.normalised, model.margin) != same:
        return False
    known = [set(stage) for stage in options["stages"]]
    return len(model.stages) == len(known) and all(map(set.issuperset, known, model.stages))


def _v3(stages: Stages) -> Iterator[Row]:
    yield from _stem(V3_STEM)
    for s, b, ours, module in _modules(stages):
        grid, letter = s + 4, ascii_lowercase[b if s == 1 else b - 1]  # the first is Mixed_5b
        named = zip(V3_BRANCHES[s - 1][b > 1], module.branches, strict=False)  # a lone pool is last
        for i, (name, branch) in enumerate(named, 1):
            numbers = [number for number, _ in _convolutions(branch)]
            for number in numbers:
                theirs = f"{name}_{number}" if len(numbers) > 1 else name
                yield from _unit(f"{ours}/branch{i}", number, f"Mixed_{grid}{letter}.{theirs}")
    yield Row("head/fc", "fc", DENSE)


def _v4(stages: Stages) -> Iterator[Row]:
    yield from _stem(("features.0", "features.1", "features.2"))
    yield from _unit("stem/block1/branch2", "1", "features.3.conv")
    yield from _sequences("stem/block2", "features.4", INCEPTION_V4["stem"][2][0])
    yield from _unit("stem/block3/branch1", "1", "features.5.conv")
    for n, (*_, ours, module) in enumerate(_modules(stages), 6):
        yield from _sequences(ours, f"features.{n}", module)
    yield Row("head/fc", "last_linear", DENSE)


def _resnet_v2(stages: Stages) -> Iterator[Row]:
    yield from _stem(RESNET_STEM)
    for s, b, ours, module in _modules(stages):
        first, others = RESNET_STAGES[s - 1]
        after = len(stages[s - 1]) - b if s == 3 else 2
        if after == 0:
            yield from _unit(f"{ours}/branch1", "1", "conv2d_7b")
            continue
        theirs = first if b == 1 else "block8" if after == 1 else f"{others}.{b - 2}"
        yield from _sequences(ours, theirs, module)
        yield Row(f"{ours}/project_conv", f"{theirs}.conv2d", BIASED_CONV)
    yield Row("head/fc", "classif", DENSE)


def _modules(stages: Stages) -> Iterator[tuple[int, int, str, Mixed]]:
    """Every module: the numbers of its stage and in it, its name here, and its row."""
    for s, stage in enumerate(stages, 1):
        for b, module in enumerate(stage, 1):
            yield s, b, f"stage{s}/block{b}", module


def _stem(names: tuple[str, ...]) -> Iterator[Row]:
    for i, theirs in enumerate(names, 1):
        yield from _unit("stem", str(i), theirs)


def _sequences(ours: str, theirs: str, module: Mixed) -> Iterator[Row]:
    """A module whose branches are sequences there, but for those of one layer, and forked ones."""
    for i, branch in enumerate(module.branches):
        forked = any(isinstance(layer, tuple) for layer in branch)
        for number, place in _convolutions(branch):
            inside = f"_{place}" if forked else f".{place}" if len(branch) > 1 else ""
            yield from _unit(f"{ours}/branch{i + 1}", number, f"{theirs}.branch{i}{inside}")


def _unit(ours: str, number: str, theirs: str) -> Iterator[Row]:
    """A convolution and its norm."""
    yield Row(f"{ours}/conv{number}", f"{theirs}.conv", CONV)
    yield Row(f"{ours}/bn{number}", f"{theirs}.bn", NORM)


def _convolutions(branch: Branch) -> Iterator[tuple[str, str]]:
    """Of each convolution: its number here, and its place there, from 0 and with pools counted."""
    number = 0
    for place, layer in enumerate(branch):
        if isinstance(layer, Pool):
            continue
        number += 1
        for letter in ascii_lowercase[: len(layer)] if isinstance(layer, tuple) else ("",):
            yield f"{number}{letter}", f"{place}{letter}"
