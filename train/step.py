"""One step of training and one of evaluation: pure functions, the same under jit and under pmap."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from train.augment import AugmentOptions, augment, normalise, to_unit
from train.penalty import Penalty, gate_penalty, scale_penalty, shrunk_scales
from train.state import State, Variables

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a step needs to know beside state and batch.

    Attributes:
      schedule: step -> learning rate; reported here, applied by `optimizer`.
      mean, std: per channel, of values 0..1.
      ema_decay: 0 for no averages.
      axis_name: of the devices under pmap; None under jit, where a batch is one array.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    schedule: Callable[[jax.Array], jax.Array]
    augment: AugmentOptions
    mean: tuple[float, ...]
    std: tuple[float, ...]
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    penalty: Penalty | None = None
    axis_name: str | None = None


def train_step(recipe: Recipe, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One optimizer step.

    Args:
      batch: {"image": uint8 [b, H, W, C], "label": int32 [b], "position": int32 [b], the place in
        the global batch}.

    Returns:
      The next state, and {"loss", "correct", "count"}: sums over the global batch, with "loss" the
      smoothed cross-entropy; and the step's "learning_rate" and "gradient_norm", and with a penalty
      what it adds to the loss, "penalty", and of gates their mean, "mean_gate".
    """
    images, dropout_key = _training_images(recipe, state, batch)
    asked = ["intermediates"] if recipe.penalty and recipe.penalty.of_gates else []

    def loss_of(params):
        logits, updates = recipe.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats", *asked],
            rngs={"dropout": dropout_key},
        )
        losses = cross_entropy(logits, batch["label"], recipe.label_smoothing)
        loss, told = _penalised(recipe, state, params, updates, jnp.mean(losses))
        return loss, (logits, losses, updates.get("batch_stats", {}), told)

    gradients, (logits, losses, batch_stats, told) = jax.grad(loss_of, has_aux=True)(state.params)
    sums = _sums(logits, losses, batch["label"], jnp.ones_like(losses))
    if recipe.axis_name is not None:  # equal shares, so the mean of the devices' means is the mean
        gradients = jax.lax.pmean(gradients, recipe.axis_name)
        sums = jax.lax.psum(sums, recipe.axis_name)
    updates, opt_state = recipe.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    if recipe.penalty and recipe.penalty.name == "slimming_proximal":
        by = recipe.schedule(state.step) * recipe.penalty.weight_at(state.step)
        params = shrunk_scales(params, batch_stats, by)
    ema = state.ema
    if recipe.ema_decay:
        variables = {"params": params, "batch_stats": batch_stats}
        ema = moved_average(ema, variables, state.step, recipe.ema_decay)
    metrics = {
        **sums,
        **told,
        "learning_rate": recipe.schedule(state.step),
        "gradient_norm": optax.tree.norm(gradients),
    }
    following = state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema=ema,
    )
    return following, metrics


def eval_step(recipe: Recipe, variables: Variables, batch: Batch) -> Metrics:
    """{"loss", "correct", "count"}: sums over the examples that the mask leaves.

    Args:
      batch: {"image": uint8 [b, H, W, C], "label": int32 [b], "mask": float32 [b], 0 for padding}.
    """
    images = model_inputs(batch["image"], recipe.mean, recipe.std)
    logits: Any = recipe.model.apply(variables, images, train=False)
    # With smoothing, as in training: the two losses compare, and late in a run, when accuracies are
    # equal, it still tells better from worse, where the one without only tells how sure a model is.
    losses = cross_entropy(logits, batch["label"], recipe.label_smoothing)
    sums = _sums(logits, losses, batch["label"], batch["mask"])
    return sums if recipe.axis_name is None else jax.lax.psum(sums, recipe.axis_name)


def model_inputs(images: ArrayLike, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """What the model sees of uint8 images [b, H, W, C] when nothing is changed at random."""
    return normalise(to_unit(jnp.asarray(images)), mean, std)


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy [b] of logits [b, classes]; a share `smoothing` is for all classes alike."""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def moved_average(
    average: Variables, values: Variables, step: jax.Array, decay: float
) -> Variables:
    """Exponential moving average after `step` earlier ones, float leaf by leaf.

    The decay warms up, min(decay, (1 + step) / (10 + step)), as TensorFlow's
    ExponentialMovingAverage does: else the first values weigh on it for 1 / (1 - decay) steps.
    """
    decay_now = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda a, x: a + (1 - decay_now) * (x - a), average, values)


def _training_images(recipe: Recipe, state: State, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Augmented inputs, and the key for dropout: functions of (seed, step) and an example's place.

    So a resumed run draws what the uninterrupted one would have drawn, and augmentation doesn't
    depend on the number of devices. (Dropout under pmap does: masks are drawn per device.)
    """
    augment_key, dropout_key = jax.random.split(
        jax.random.fold_in(jax.random.key(state.seed), state.step)
    )
    if recipe.axis_name is not None:
        dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(recipe.axis_name))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(augment_key, batch["position"])
    images = augment(batch["image"], keys, recipe.augment)
    return normalise(images, recipe.mean, recipe.std), dropout_key


def _penalised(
    recipe: Recipe, state: State, params: Variables, updates: Mapping[str, Any], loss: jax.Array
) -> tuple[jax.Array, Metrics]:
    """The loss with its penalty, and what is told of that."""
    penalty = recipe.penalty
    if penalty is None:
        return loss, {}
    weight = penalty.weight_at(state.step)
    if penalty.of_gates:
        value, mean_gate = gate_penalty(penalty, updates["intermediates"], recipe.axis_name)
        return loss + weight * value, {"penalty": weight * value, "mean_gate": mean_gate}
    value = weight * scale_penalty(params, state.batch_stats)
    return loss + value if penalty.name == "slimming" else loss, {"penalty": value}


def _sums(logits: jax.Array, losses: jax.Array, labels: jax.Array, mask: jax.Array) -> Metrics:
    return {
        "loss": jnp.sum(losses * mask),
        "correct": jnp.sum((jnp.argmax(logits, axis=-1) == labels) * mask),
        "count": jnp.sum(mask),
    }
