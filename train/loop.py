"""A run from the first step to the test result; every verb has its own file."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from senet_jax import create_model
from senet_jax.loading import Scores
from train import checkpoints as saved
from train.augment import AugmentOptions
from train.check import check
from train.checkpoints import Checkpoints
from train.config import as_json
from train.data import Data, make_data
from train.data.identity import check_data
from train.divergence import Watch, account
from train.errors import Diverged, WrongInput, refusals
from train.evaluate_counts import total
from train.freezing import check_frozen
from train.gates import Gates, describe_gates
from train.initial import initial_variables
from train.interrupt import Interrupted, Interruption
from train.losses import LOSSES
from train.metrics import summarise
from train.mixing import MixOptions
from train.optimizer import make_optimizer, make_rates, make_schedule
from train.parallel import Devices
from train.penalty import check_penalty, make_penalty
from train.profile import Trace
from train.report import Report
from train.state import State, Variables, init_state
from train.step import Recipe, eval_step, images_seen, train_step
from train.summary import draw_attention, tell
from train.versions import versions
from train.workdir import Result, check_workdir, claimed, read_result, write_result


def run(config: ConfigDict, workdir: str | Path, profile: range = range(0)) -> Result:
    """Trains as the config says, or goes on where the run in `workdir` has stopped.

    Args:
      profile: steps that are traced into <workdir>/profile.

    Returns:
      {"steps", "step", the chosen one's, "validation", its scores, "test", its scores}.

    Raises:
      WrongInput: the config, the directory or the device count won't do; nothing was touched.
      Interrupted: SIGINT or SIGTERM came; all is saved.
    """
    workdir = Path(workdir).absolute()
    check(config)
    check_workdir(workdir, config)
    if (result := read_result(workdir)) is not None:
        tell(result, workdir, again=True)
        return result
    with Interruption() as interruption:
        return _train(config, workdir, interruption, profile)


def _train(config: ConfigDict, workdir: Path, interruption: Interruption, profile: range) -> Result:
    with refusals():
        devices = Devices(config.parallel)
        data = make_data(config, jax.process_index(), jax.process_count())
        recipe = make_recipe(config, data, devices)
        init, seed = initialiser(config, data, recipe), np.uint32(config.seed)
        like = devices.abstract(init, seed)
        check_penalty(recipe.penalty, recipe.model, data.image_shape)
        check_frozen(recipe.frozen, like.params)
        initial = _initial_variables(config, data, like)
    steps = config.schedule.epochs * data.steps_per_epoch
    every = config.evaluation.every_epochs * data.steps_per_epoch
    train = devices.compile(partial(train_step, recipe), donate=True)
    score = partial(evaluate, devices.compile(partial(eval_step, recipe)), devices, interruption)

    with claimed(workdir, config):
        check_data(workdir, data)
        state = saved.restore(workdir, like)
        if state is None:
            state = devices.born(init, seed, initial)
        step = int(state.step)  # counted here from now on: asking the device would wait for it
        _introduce(config, data, devices, like, step, steps)
        with (
            Checkpoints(workdir, describe(config, data), config.evaluation.keep) as checkpoints,
            _report(config, workdir, data, step, steps) as report,
            closing(data.train(step)) as batches,
            Trace(workdir / "profile", profile) as trace,
        ):
            try:
                while True:
                    due = step > 0 and (step % every == 0 or step == steps)
                    if due and not checkpoints.has_scores(step):  # resumed runs may begin with it
                        scores, gates = _validate(state, score, data)
                        report.validation(step, scores, gates)
                        checkpoints.save(step, state, scores)
                    interruption.check()
                    if step == steps or (due and _is_stale(config, checkpoints, step, every)):
                        break
                    trace.before(step + 1)
                    batch = _next_batch(batches, report)
                    if step == 0:
                        report.images(images_seen(recipe, state, batch))
                    state, metrics = train(state, devices.put(batch))
                    step += 1
                    report.train(step, metrics)
                checkpoints.wait()
                chosen, validation, variables = saved.best(workdir)
                test, _ = score(devices.put_whole(variables), data.test())
                report.test(test)
            except Interrupted as stop:
                report.flush()  # before saving: lines that are missing then never come back
                checkpoints.save(step, state)
                stop.message = f"Stopped at step {step} of {steps}, saved in {workdir}."
                raise
            except Diverged as end:
                checkpoints.save(step, state)
                end.message = account(end, recipe, state, batch)
                raise
        result = {"steps": step, "step": chosen, "validation": validation, "test": test}
        write_result(workdir, result)
    draw_attention(workdir, recipe, data, variables)
    tell(result, workdir)
    return result


def _next_batch(batches: Iterator[tuple[int, dict[str, np.ndarray]]], report: Report):
    begun = time.perf_counter()
    _, batch = next(batches)
    report.waited(time.perf_counter() - begun)
    return batch


def _is_stale(config: ConfigDict, checkpoints: Checkpoints, step: int, every: int) -> bool:
    """Whether the last evaluations, as many as patience has, were not better than one before."""
    patience = config.evaluation.patience
    if not patience or step - checkpoints.best_step() < patience * every:
        return False
    print(f"No better evaluation since step {checkpoints.best_step()}: stopping at step {step}.")
    return True


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


def evaluate(
    eval_step: Callable[..., Any],
    devices: Devices,
    interruption: Interruption,
    variables: Variables,
    batches: Generator[dict[str, np.ndarray], None, None],
) -> tuple[Scores, Gates]:
    """Means over all examples of a split, {"loss", "accuracy"}; and what the gates did there.

    Raises:
      Interrupted: between two batches.
    """
    sums = total(eval_step, devices, variables, batches, interruption.check)
    return summarise(sums), describe_gates(sums["gates"], sums["count"])


def _validate(
    state: State, score: Callable[..., tuple[Scores, Gates]], data: Data
) -> tuple[Scores, Gates]:
    """Validation scores of the variables and, as "ema_loss", "ema_accuracy", of their averages; and
    what the gates did."""
    scores, gates = score(state.variables, data.validation())
    if state.ema:
        averaged, _ = score(state.ema, data.validation())
        scores |= {f"ema_{name}": value for name, value in averaged.items()}
    return scores, gates


def initialiser(config: ConfigDict, data: Data, recipe: Recipe) -> Callable[..., State]:
    return partial(
        init_state, recipe.model, recipe.optimizer, data.image_shape, ema=bool(config.ema_decay)
    )


def _initial_variables(config: ConfigDict, data: Data, like: State) -> Variables | None:
    """What the run starts from, None for random variables."""
    model = config.model
    if not model.init_from:
        return None
    options = _options(config, data)
    return initial_variables(model.init_from, model.name, options, data.image_shape[-1], like)


def _report(config: ConfigDict, workdir: Path, data: Data, step: int, steps: int) -> Report:
    return Report(
        workdir,
        total_steps=steps,
        steps_per_epoch=data.steps_per_epoch,
        start_step=step,
        batch_size=config.data.batch_size,
        log_every=config.log_every,
        watch=Watch(config.max_skipped).see,
    )


def _model(config: ConfigDict, data: Data, devices: Devices) -> nn.Module:
    model = create_model(config.model.name, **_options(config, data))
    together, shares = config.ghost_batch, config.accumulate
    if devices.axis_name is not None:  # a device sees its own share, else all do
        shares *= len(devices)
    if together:
        groups = config.data.batch_size // shares // together
        return model.clone(norm=model.norm.clone(groups=groups))
    return model.clone(norm=model.norm.clone(axis_name=devices.axis_name))


def _options(config: ConfigDict, data: Data) -> dict[str, Any]:
    options = as_json(config.model.options)
    if options.setdefault("num_classes", data.num_classes) != data.num_classes:
        raise WrongInput(
            f"config.model.options.num_classes is {options['num_classes']}, but the data set"
            f" {config.data.name!r} has {data.num_classes} classes: leave it out."
        )
    return options | {"dtype": config.model.dtype}


def _introduce(
    config: ConfigDict, data: Data, devices: Devices, like: State, step: int, steps: int
) -> None:
    if jax.process_index() != 0:
        return
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(like.params))
    print(
        f"{config.model.name}, {count:,} parameters, on {config.data.name}: {data.train_size:,}"
        f" images to train, {data.validation_size:,} to validate, {data.test_size:,} to test."
    )
    print(f"{steps} steps of {config.data.batch_size} images on {devices.describe()}.")
    if step:
        print(f"Going on from step {step}.", flush=True)
