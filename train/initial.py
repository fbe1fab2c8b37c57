"""Variables that a run starts from instead of random ones: `config.model.init_from`."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import traverse_util

from senet_jax import loading
from train.errors import WrongInput
from train.state import State, Variables


def initial_variables(
    source: str, name: str, options: Mapping[str, Any], channels: int, like: State
) -> Variables:
    """What `senet_jax.load` reads from a source, on the host.

    With another number of classes than the weights' the head is new, and for other channels the
    first convolution is adapted, as `load` does.

    Args:
      source: a run's directory (of its averages, if it kept any), a file of weights, a tag.
      name, options: of the model.
      channels: of its images.
      like: shapes that the variables must have.

    Raises:
      WrongInput: they are another network's.
      ValueError, FileNotFoundError: as `load`.
    """
    _, variables = loading.load(source, name, in_chans=channels, **options)
    have, want = _shapes(variables), _shapes(like.variables)
    if misfits := [path for path in want | have if have.get(path) != want.get(path)]:
        first = misfits[0]
        raise WrongInput(
            f"{source} holds another network than config.model: {first} is"
            f" {have.get(first, 'not there')}, expected {want.get(first, 'nothing of that name')}"
            f" ({len(misfits)} such). Give the options of the network that it holds, as its"
            " config.json has them."
        )
    wanted = {key: variables.get(key, {}) for key in ("params", "batch_stats")}
    return jax.device_get(wanted)


def _shapes(variables: Any) -> dict[str, tuple[int, ...]]:
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    return {path: tuple(leaf.shape) for path, leaf in flat.items()}
