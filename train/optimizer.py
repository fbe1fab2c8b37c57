"""Optimizers and learning rates, by Optax, from explicit tables."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from train.freezing import rates

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


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """From the gradient to the direction of the step, decay included: the step itself multiplies it
    by the learning rate, so that the rate follows the run's own count of steps."""
    options = config.optimizer
    parts = []
    if options.clip_adaptive:  # arXiv 2102.06171, section 4.1: not of the classifier
        clip = optax.adaptive_grad_clip(options.clip_adaptive)
        parts.append(optax.masked(clip, _outside_the_head))
    if options.clip_norm:
        parts.append(optax.clip_by_global_norm(options.clip_norm))
    return optax.chain(*parts, OPTIMIZERS[options.name](options))


def make_rates(config: ConfigDict) -> Callable[[Any], Any] | None:
    """Factors of the learning rate by variable; None where they are all 1."""
    options = config.optimizer
    if options.layer_decay == options.head_rate == 1 and not options.frozen:
        return None
    return partial(
        rates,
        frozen=tuple(options.frozen),
        layer_decay=options.layer_decay,
        head_rate=options.head_rate,
    )


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


def _sgd(options: ConfigDict) -> optax.GradientTransformation:
    if not options.momentum:
        return _decay(options)
    return optax.chain(_decay(options), optax.trace(options.momentum, nesterov=options.nesterov))


def _adamw(options: ConfigDict) -> optax.GradientTransformation:
    return optax.chain(_adam(options), _decay(options))


def _lamb(options: ConfigDict) -> optax.GradientTransformation:
    """arXiv 1904.00962: each variable's step is as long as the variable is large."""
    return optax.chain(_adam(options), _decay(options), optax.scale_by_trust_ratio())


def _adam(options: ConfigDict) -> optax.GradientTransformation:
    return optax.scale_by_adam(options.beta1, options.beta2, options.epsilon)


def _decay(options: ConfigDict) -> optax.GradientTransformation:
    mask = partial(decayed, attention=options.decay_attention)
    return optax.add_decayed_weights(options.weight_decay, mask=mask)


def _outside_the_head(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key != "head", params)


# By config.schedule.name: the rate's shape over the steps, between 0 and 1, without the warm-up.
SCHEDULES: dict[str, Callable[[ConfigDict, int, int], Schedule]] = {
    "cosine": _cosine,
    "step": _step,
}
# By config.optimizer.name.
OPTIMIZERS: dict[str, Callable[[ConfigDict], optax.GradientTransformation]] = {
    "adamw": _adamw,
    "lamb": _lamb,
    "sgd": _sgd,
}
