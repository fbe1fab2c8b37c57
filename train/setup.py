"""All that a run needs, from its config: network, data, optimizer, devices."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from senet_jax import create_model
from train.augment import AugmentOptions
from train.config import as_json
from train.data import Data, make_data
from train.errors import WrongInput, refusals
from train.freezing import check_frozen
from train.initial import initial_variables
from train.losses import LOSSES
from train.mixing import MixOptions
from train.optimizer import make_optimizer, make_rates, make_schedule
from train.parallel import Devices
from train.penalty import check_penalty, make_penalty
from train.state import State, Variables, init_state
from train.step import Recipe
from train.versions import versions


@dataclass(frozen=True, eq=False)
class Setup:
    """What a config comes to.

    Attributes:
      like: shapes, dtypes and places of the state.
    """

    config: ConfigDict
    devices: Devices
    data: Data
    recipe: Recipe
    like: State

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.config.schedule.epochs * self.data.steps_per_epoch

    def initial_variables(self) -> Variables | None:
        """What the run starts from, None for random variables.

        Raises:
          WrongInput: what config.model.init_from names does not fit.
        """
        model = self.config.model
        if not model.init_from:
            return None
        options, channels = _options(self.config, self.data), self.data.image_shape[-1]
        with refusals():
            return initial_variables(model.init_from, model.name, options, channels, self.like)

    def first_state(self, initial: Variables | None = None) -> State:
        """The state of step 0, on the devices."""
        init = initialiser(self.config, self.data, self.recipe)
        return self.devices.born(init, np.uint32(self.config.seed), initial)


def set_up(config: ConfigDict) -> Setup:
    """Data read or prepared, network and optimizer made, nothing computed yet.

    Raises:
      WrongInput: what does not go together.
    """
    with refusals():
        devices = Devices(config.parallel)
        data = make_data(config, jax.process_index(), jax.process_count())
        recipe = make_recipe(config, data, devices)
        like = devices.abstract(initialiser(config, data, recipe), np.uint32(config.seed))
        check_penalty(recipe.penalty, recipe.model, data.image_shape)
        check_frozen(recipe.frozen, like.params)
    return Setup(config, devices, data, recipe, like)


def make_recipe(config: ConfigDict, data: Data, devices: Devices) -> Recipe:
    """What the steps need, from what a person chose and what follows from the data and the devices.

    Raises:
      ValueError: the number of classes is not the data's; the library's refusals.
    """
    steps = config.schedule.epochs * data.steps_per_epoch
    return Recipe(
        model=_model(config, data, devices),
        optimizer=make_optimizer(config),
        schedule=make_schedule(config, data.steps_per_epoch),
        rates=make_rates(config),
        augment=AugmentOptions.from_config(config.data.augment, data.image_shape[:2]),
        mean=data.mean,
        std=data.std,
        loss=LOSSES[config.loss],
        label_smoothing=config.label_smoothing,
        mix=MixOptions.from_config(config.data.mix, steps, data.steps_per_epoch),
        accumulate=config.accumulate,
        frozen=tuple(config.optimizer.frozen),
        ema_decay=config.ema_decay,
        penalty=make_penalty(config, data.steps_per_epoch),
        axis_name=devices.axis_name,
    )


def describe(config: ConfigDict, data: Data) -> dict[str, Any]:
    """What `senet_jax.load` must know of a run, and what a person may want to."""
    return {
        "model": {"name": config.model.name, "options": _options(config, data)},
        "class_names": list(data.class_names),
        "mean": list(data.mean),
        "std": list(data.std),
        "image_shape": list(data.image_shape),
        "config": as_json(config),
        "versions": versions(),
    }


def initialiser(config: ConfigDict, data: Data, recipe: Recipe) -> Callable[..., State]:
    return partial(
        init_state, recipe.model, recipe.optimizer, data.image_shape, ema=bool(config.ema_decay)
    )


def _model(config: ConfigDict, data: Data, devices: Devices) -> nn.Module:
    model = create_model(config.model.name, **_options(config, data))
    if config.ghost_batch:
        # Under jit a step sees all of its batch, under pmap a device its share.
        shares = 1 if devices.axis_name is None else len(devices)
        seen = config.data.batch_size // config.accumulate // shares
        return model.clone(norm=model.norm.clone(groups=seen // config.ghost_batch))
    if devices.axis_name is None:
        return model
    # Batch statistics over all devices, as under jit, where the batch is one array.
    return model.clone(norm=model.norm.clone(axis_name=devices.axis_name))


def _options(config: ConfigDict, data: Data) -> dict[str, Any]:
    options = as_json(config.model.options)
    if options.setdefault("num_classes", data.num_classes) != data.num_classes:
        raise WrongInput(
            f"config.model.options.num_classes is {options['num_classes']}, but the data set"
            f" {config.data.name!r} has {data.num_classes} classes: leave it out."
        )
    return options | {"dtype": config.model.dtype}
