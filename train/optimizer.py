"""Optimizers and learning rates, by Optax, from explicit tables."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

ATTENTION = re.compile(r"se(\d+|_\w+)?")
Schedule = Callable[[Any], jax.Array]  # step -> learning rate


def make_schedule(config: ConfigDict, steps_per_epoch: int) -> Schedule:
    """The learning rate as a function of the step, a number or an array.

    The peak is config.schedule.learning_rate * batch size / 256 (arXiv 1706.02677). During the
    warm-up the rate grows linearly, (step + 1) / steps of the peak, so that step 0 learns too.
    """
    schedule = config.schedule
    peak = schedule.learning_rate * config.data.batch_size / 256
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    shape = SCHEDULES[schedule.name](config, steps_per_epoch, warmup)

    def learning_rate(step):
        return peak * jnp.minimum(1.0, (step + 1) / max(warmup, 1)) * shape(step)

    return learning_rate


def make_optimizer(config: ConfigDict, schedule: Schedule) -> optax.GradientTransformation:
    """From the gradient to the update, learning rate and weight decay included."""
    return OPTIMIZERS[config.optimizer.name](config.optimizer, schedule)


def decayed(params: Any, attention: bool = True) -> Any:
    """True for the kernels of convolutions and dense layers; False for biases and norms' scales.

    A tree like `params`. Both the name and the rank must say so: a kernel is called "kernel" in
    Flax, and has two axes or more.

    Args:
      attention: False leaves out the kernels of modules called `se`, which is what blocks call
        their attention, of whatever kind (`se_pre` and the like where there are several).
    """

    def is_decayed(path, p):
        within = attention or not any(ATTENTION.fullmatch(part.key) for part in path)
        return path[-1].key == "kernel" and p.ndim > 1 and within

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def _cosine(config: ConfigDict, steps_per_epoch: int, warmup: int) -> Schedule:
    total = config.schedule.epochs * steps_per_epoch

    def shape(step):
        progress = jnp.clip((step - warmup) / (total - warmup), 0.0, 1.0)
        return 0.5 * (1 + jnp.cos(jnp.pi * progress))

    return shape


def _step(config: ConfigDict, steps_per_epoch: int, warmup: int) -> Schedule:
    milestones = [round(epoch * steps_per_epoch) for epoch in config.schedule.milestones]
    return lambda step: (
        config.schedule.factor ** sum(jnp.asarray(step >= m, jnp.float32) for m in milestones)
    )


def _sgd(options: ConfigDict, schedule: Schedule) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(options.weight_decay, mask=_mask(options)),
        optax.sgd(schedule, momentum=options.momentum or None, nesterov=options.nesterov),
    )


def _adamw(options: ConfigDict, schedule: Schedule) -> optax.GradientTransformation:
    return optax.adamw(
        schedule,
        b1=options.beta1,
        b2=options.beta2,
        eps=options.epsilon,
        weight_decay=options.weight_decay,
        mask=_mask(options),
    )


def _mask(options: ConfigDict) -> Callable[[Any], Any]:
    return partial(decayed, attention=options.decay_attention)


# By config.schedule.name: the rate's shape over the steps, between 0 and 1, without the warm-up.
SCHEDULES: dict[str, Callable[[ConfigDict, int, int], Schedule]] = {
    "cosine": _cosine,
    "step": _step,
}
# By config.optimizer.name.
OPTIMIZERS: dict[str, Callable[[ConfigDict, Schedule], optax.GradientTransformation]] = {
    "adamw": _adamw,
    "sgd": _sgd,
}
