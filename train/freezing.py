"""Parts of a network that fine-tuning leaves as they are, or moves more slowly."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax

from senet_jax import BatchNorm
from train.errors import WrongInput

Path = tuple[str, ...]


def is_frozen(path: Path, frozen: Sequence[str]) -> bool:
    """Whether a variable or module lies in one of these: "stem", "stage1/block2", ..."""
    return any(path[: len(part.split("/"))] == tuple(part.split("/")) for part in frozen)


def check_frozen(frozen: Sequence[str], params: Any) -> None:
    """Refuses names of parts that the network does not have.

    Raises:
      WrongInput: with the names of those that it has.
    """
    paths = [names(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for part in frozen:
        if not any(is_frozen(path, (part,)) for path in paths):
            known = sorted({path[0] for path in paths})
            raise WrongInput(
                f"config.optimizer.frozen has '{part}', and the network has no such part: expected"
                f" names like {', '.join(known)}, or of blocks in them, 'stage1/block1'."
            )
    if frozen and all(is_frozen(path, frozen) for path in paths):
        raise WrongInput("config.optimizer.frozen leaves nothing to train: take 'head' out of it.")


def rates(params: Any, frozen: Sequence[str], layer_decay: float, head_rate: float) -> Any:
    """Factors of the learning rate, a tree like `params`.

    0 for what is frozen; `head_rate` for the head; and from there down to the stem, block by block,
    `layer_decay` times the factor of the block above, beginning with 1 (arXiv 2003.10555).
    """
    tree = jax.tree_util.tree_map_with_path(lambda path, _: names(path), params)
    parts = sorted({_part(path) for path in jax.tree.leaves(tree, is_leaf=_is_path)}, key=_depth)
    below_head = [part for part in parts if part[0] != "head"]
    by_part = {part: layer_decay**i for i, part in enumerate(reversed(below_head))}

    def rate(path: Path) -> float:
        if is_frozen(path, frozen):
            return 0.0
        return head_rate if path[0] == "head" else by_part[_part(path)]

    return jax.tree.map(rate, tree, is_leaf=_is_path)


def names(path: Sequence[Any]) -> Path:
    """A variable's path in a tree of dicts."""
    return tuple(part.key for part in path)


@contextmanager
def frozen_norms(frozen: Sequence[str]) -> Iterator[None]:
    """While open, batch norms of frozen parts use their running statistics, and leave them so."""

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if context.method_name == "__call__" and isinstance(module, BatchNorm):
            kwargs = kwargs | {"use_running_average": is_frozen(module.path, frozen) or None}
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        yield


def _is_path(node: Any) -> bool:
    return isinstance(node, tuple) and all(isinstance(part, str) for part in node)


def _part(path: Path) -> Path:
    """The block that a variable is in, or what else is at the top: ("stage1", "block2")."""
    return path[:2] if len(path) > 1 and re.fullmatch(r"block\d+", path[1]) else path[:1]


def _depth(part: Path) -> tuple[bool, list[int], Path]:
    """Sorts stems first, then stages and blocks as they are numbered, and what else there is."""
    numbers = [int(n) for name in part for n in re.findall(r"\d+", name)]
    return not part[0].startswith("stem"), numbers or [10**6], part
