"""Fields that say something of single blocks: what pruning has left of them, see
`senet_jax.pruning`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn

Widths = tuple[tuple[int | None, ...], ...]
Kept = tuple[tuple[tuple[int, ...] | None, ...], ...]

# the fields, and what they are in a network that was not pruned
USUAL: Mapping[str, Any] = {
    "inner_widths": None,
    "kept_outputs": None,
    "middle_widths": None,
    "without_attention": (),
}


def per_block(field: str, value: Any, sizes: Sequence[int]) -> tuple[tuple[Any, ...], ...]:
    """A field's value for every block of every stage; None is None for all.

    Raises:
      ValueError: there is not one entry for each block.
    """
    if value is None:
        return tuple((None,) * size for size in sizes)
    found = [len(stage) if isinstance(stage, tuple) else stage for stage in value]
    if found != list(sizes):
        raise ValueError(
            f"{field} has stages of {found} blocks, expected a tuple for each stage with one entry"
            f" for each of its {list(sizes)} blocks."
        )
    return value


def widths_per_block(field: str, value: Widths | None, sizes: Sequence[int]) -> Widths:
    """`per_block` of numbers of channels.

    Raises:
      ValueError: also if one is not a positive whole number.
    """
    widths = per_block(field, value, sizes)
    for width in (width for stage in widths for width in stage):
        if width is not None and (not isinstance(width, int) or width < 1):
            raise ValueError(f"{field} has {width!r}, expected numbers of channels, at least 1.")
    return widths


def kept_per_block(field: str, value: Kept | None, sizes: Sequence[int], of: Sequence[int]) -> Kept:
    """`per_block` of the channels that a block keeps, `of` so many in each stage.

    Raises:
      ValueError: also if one is not there, or they are not in ascending order.
    """
    kept = per_block(field, value, sizes)
    for blocks, channels in zip(kept, of, strict=True):
        for each in blocks:
            if each is not None and (not each or not set(each) <= set(range(channels))):
                raise ValueError(
                    f"{field} has {each!r}, expected at least one channel, of 0 to {channels - 1}."
                )
            if each is not None and list(each) != sorted(set(each)):
                raise ValueError(f"{field} has {each!r}, expected channels in ascending order.")
    return kept


def attention_per_block(
    attentions: Sequence[Any], without: Sequence[str], sizes: Sequence[int]
) -> tuple[tuple[nn.Module | None, ...], ...]:
    """The stages' attentions for every block, None for those `without`: "stage2/block3", ...

    Raises:
      ValueError: there is no block of that name.
    """
    paths = [[f"stage{i + 1}/block{j + 1}" for j in range(size)] for i, size in enumerate(sizes)]
    known = {path for stage in paths for path in stage}
    if unknown := [path for path in without if path not in known]:
        raise ValueError(
            f"without_attention has {', '.join(map(repr, unknown))}, and there is no such block:"
            f" expected names like 'stage1/block1', in stages of {list(sizes)} blocks."
        )
    return tuple(
        tuple(None if path in without else attention for path in stage)
        for attention, stage in zip(attentions, paths, strict=True)
    )


def singly(
    block: Callable[..., nn.Module], own: Sequence[Mapping[str, Any]]
) -> Callable[..., nn.Module]:
    """A stage's `block`, which is called by name, with fields that each block has of its own."""
    by_name = {f"block{j + 1}": fields for j, fields in enumerate(own)}

    def make(*args: Any, name: str, **given: Any) -> nn.Module:
        return block(*args, name=name, **by_name[name], **given)

    return make
