"""One step of training and one of evaluation: pure functions, the same under jit and under pmap."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from train.augment import AugmentOptions, augment, normalise, to_unit
from train.freezing import frozen_norms, is_frozen, names
from train.gates import gate_sums
from train.losses import Loss, cross_entropy, targets_of
from train.mixing import MixOptions, mix
from train.penalty import Penalty, gate_penalty, scale_penalty, shrunk_scales
from train.state import State, Variables

Batch = Mapping[str, Any]  # arrays, of JAX or of NumPy
Metrics = dict[str, jax.Array]
MIXING = 1000  # a stream of random numbers beyond those of `augment`


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a step needs to know beside state and batch.

    Attributes:
      optimizer: from gradients to updates, before the learning rate.
      schedule: step -> learning rate.
      rates: params -> factors of the rate, a tree like them; None: 1 everywhere.
      mean, std: per channel, of values 0..1.
      loss: of logits and targets [b, classes].
      mix: None for whole images.
      accumulate: parts of the batch that are computed one after the other.
      frozen: parts of the network that stay as they are, "stem", "stage1/block2", ...
      ema_decay: 0 for no averages.
      axis_name: of the devices under pmap; None under jit, where a batch is one array.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    schedule: Callable[[jax.Array], jax.Array]
    augment: AugmentOptions
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rates: Callable[[Any], Any] | None = None
    loss: Loss = cross_entropy
    label_smoothing: float = 0.0
    mix: MixOptions | None = None
    accumulate: int = 1
    frozen: tuple[str, ...] = ()
    ema_decay: float = 0.0
    penalty: Penalty | None = None
    axis_name: str | None = None


def train_step(recipe: Recipe, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One optimizer step. Where loss or gradient are not finite, only the steps are counted on.

    Args:
      batch: {"image": uint8 [b, H, W, C], "label": int32 [b], "position": int32 [b], the place in
        the global batch}.

    Returns:
      The next state, and {"loss", "correct", "count"}: sums over the global batch, with "loss" that
      of smoothed and mixed targets; the step's "learning_rate" and "gradient_norm"; "skipped", 1
      where the step was not taken; and with a penalty what it adds to the loss, "penalty", and of
      gates their mean, "mean_gate".
    """
    gradients, batch_stats, sums, told = accumulated_gradients(recipe, state, batch)
    rate = recipe.schedule(state.step)
    updates, opt_state = recipe.optimizer.update(gradients, state.opt_state, state.params)
    if recipe.rates is not None:
        updates = jax.tree.map(jnp.multiply, updates, recipe.rates(updates))
    params = optax.apply_updates(state.params, optax.tree.scale(-rate, updates))
    if recipe.penalty and recipe.penalty.name == "slimming_proximal":
        by = rate * recipe.penalty.weight_at(state.step)
        params = _unless_frozen(recipe, shrunk_scales(params, batch_stats, by), params)
    following = state.replace(params=params, batch_stats=batch_stats, opt_state=opt_state)
    if recipe.ema_decay:
        ema = moved_average(state.ema, following.variables, state.step, recipe.ema_decay)
        following = following.replace(ema=ema)
    norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(norm) & jnp.isfinite(sums["loss"])
    following = jax.tree.map(lambda new, old: jnp.where(finite, new, old), following, state)
    told |= {"learning_rate": rate, "gradient_norm": norm, "skipped": 1.0 - finite}
    return following.replace(step=state.step + 1), {**sums, **told}


def accumulated_gradients(
    recipe: Recipe, state: State, batch: Batch
) -> tuple[Variables, Variables, Metrics, Metrics]:
    """Gradients and running statistics after the batch, its sums, and what is told of the penalty.

    In parts, one after the other, it is the whole batch with ghost statistics: each part is
    normalised by its own, and the running ones take one step, to the mean over the parts.
    """
    work = partial(gradients_of, recipe, state)
    if recipe.accumulate == 1:
        gradients, batch_stats, sums, told = work(batch, 0)
    else:
        parts = jax.tree.map(partial(_dealt, count=recipe.accumulate), batch)
        gradients, batch_stats, sums, told = _summed(work, parts, recipe.accumulate)
        gradients, batch_stats, told = jax.tree.map(
            lambda x: x / recipe.accumulate, (gradients, batch_stats, told)
        )
    if recipe.axis_name is not None:  # equal shares, so the mean of the devices' means is the mean
        gradients, batch_stats = jax.lax.pmean((gradients, batch_stats), recipe.axis_name)
        sums = jax.lax.psum(sums, recipe.axis_name)
    return gradients, batch_stats, sums, told


def gradients_of(
    recipe: Recipe, state: State, batch: Batch, part: ArrayLike
) -> tuple[Variables, Variables, Metrics, Metrics]:
    """`accumulated_gradients` of one part, of this device's images alone."""
    images, targets, dropout_key = training_examples(recipe, state, batch)
    dropout_key = jax.random.fold_in(dropout_key, part)

    def loss_of(params):
        logits, updates = forward(recipe, params, state.batch_stats, images, dropout_key)
        losses = recipe.loss(logits, targets)
        free = _unless_frozen(recipe, params, jax.lax.stop_gradient(params))
        loss, told = _penalised(recipe, state, free, updates, jnp.mean(losses))
        return loss, (logits, losses, updates.get("batch_stats", {}), told)

    gradients, (logits, losses, batch_stats, told) = jax.grad(loss_of, has_aux=True)(state.params)
    sums = _sums(logits, losses, jnp.argmax(targets, axis=-1), jnp.ones_like(losses))
    return gradients, batch_stats, sums, told


def training_examples(
    recipe: Recipe, state: State, batch: Batch
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Augmented inputs, targets, and the key for dropout: functions of (seed, step) and an
    example's place.

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
    targets = _targets(recipe, batch["label"])
    if recipe.mix is not None:
        of_mixing = jax.vmap(jax.random.fold_in, (0, None))(keys, MIXING)
        images, targets = mix(images, targets, of_mixing, state.step, recipe.mix)
    return normalise(images, recipe.mean, recipe.std), targets, dropout_key


def images_seen(recipe: Recipe, state: State, batch: Batch, most: int = 16) -> Any:
    """The first images of a batch as the step augments them, float [n, H, W, C] in 0..1."""

    alone = replace(recipe, axis_name=None)
    first = State(jnp.int32(0), jax.device_get(state.seed), {}, {}, {}, {})
    few = {name: x[:most] for name, x in batch.items()}
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    show = jax.jit(partial(training_examples, alone), compiler_options=quick)
    images = np.asarray(show(first, few)[0])
    return np.clip(images * np.array(recipe.std) + np.array(recipe.mean), 0, 1)


def forward(
    recipe: Recipe,
    params: Variables,
    batch_stats: Variables,
    images: jax.Array,
    dropout_key: jax.Array,
) -> tuple[jax.Array, Mapping[str, Any]]:
    """Logits in training, and the collections that it has changed."""
    asked = ["intermediates"] if recipe.penalty and recipe.penalty.of_gates else []
    with frozen_norms(recipe.frozen):
        return recipe.model.apply(
            {
                "params": _unless_frozen(recipe, params, jax.lax.stop_gradient(params)),
                "batch_stats": batch_stats,
            },
            images,
            train=True,
            mutable=["batch_stats", *asked],
            rngs={"dropout": dropout_key},
        )


def eval_step(recipe: Recipe, variables: Variables, batch: Batch) -> Metrics:
    """{"loss", "correct", "count"}: sums over the examples that the mask leaves; and "gates", those
    of `gate_sums`.

    Args:
      batch: {"image": uint8 [b, H, W, C], "label": int32 [b], "mask": float32 [b], 0 for padding}.
    """
    images = model_inputs(batch["image"], recipe.mean, recipe.std)
    logits, sown = recipe.model.apply(variables, images, train=False, mutable=["intermediates"])
    # With smoothing, as in training: the two losses compare, and late in a run, when accuracies are
    # equal, it still tells better from worse, where the one without only tells how sure a model is.
    losses = recipe.loss(logits, _targets(recipe, batch["label"]))
    sums: dict[str, Any] = _sums(logits, losses, batch["label"], batch["mask"])
    sums["gates"] = gate_sums(sown.get("intermediates", {}), batch["mask"])
    return sums if recipe.axis_name is None else jax.lax.psum(sums, recipe.axis_name)


def model_inputs(images: ArrayLike, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """What the model sees of uint8 images [b, H, W, C] when nothing is changed at random."""
    return normalise(to_unit(jnp.asarray(images)), mean, std)


def moved_average(
    average: Variables, values: Variables, step: jax.Array, decay: float
) -> Variables:
    """Exponential moving average after `step` earlier ones, float leaf by leaf.

    The decay warms up, min(decay, (1 + step) / (10 + step)), as TensorFlow's
    ExponentialMovingAverage does: else the first values weigh on it for 1 / (1 - decay) steps.
    """
    decay_now = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda a, x: a + (1 - decay_now) * (x - a), average, values)


def _targets(recipe: Recipe, labels: jax.Array) -> jax.Array:
    return targets_of(labels, recipe.model.num_classes, recipe.label_smoothing)


def _unless_frozen(recipe: Recipe, params: Any, still: Any) -> Any:
    """`params`, and where they are frozen what is in `still`."""
    if not recipe.frozen:
        return params
    return jax.tree_util.tree_map_with_path(
        lambda path, p, q: q if is_frozen(names(path), recipe.frozen) else p, params, still
    )


def _dealt(x: jax.Array, count: int) -> jax.Array:
    """[b, ...] -> [count, b / count, ...], neighbours to one part: whatever devices an array is
    split over, each keeps its images, if they are a multiple of 2 count."""
    pairs = x.reshape(-1, count, 2, *x.shape[1:])
    return jnp.moveaxis(pairs, 1, 0).reshape(count, -1, *x.shape[1:])


def _summed(work: Callable[[Any, Any], Any], parts: Any, count: int) -> Any:
    """The sum of work(part, 0), work(part, 1), ..., with one in memory at a time."""

    def add(total, numbered):
        return jax.tree.map(jnp.add, total, work(*numbered)), None

    first = jax.tree.map(lambda x: x[0], parts)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(work, first, 0))
    return jax.lax.scan(add, zeros, (parts, jnp.arange(count)))[0]


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
