"""A run from the first step to the test result; every verb has its own file."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from senet_jax.loading import Scores
from train import checkpoints as saved
from train.check import check
from train.checkpoints import Checkpoints
from train.data import Data
from train.data.identity import check_data
from train.disk import faults_told
from train.distributed import peers
from train.divergence import Watch, account
from train.errors import Diverged
from train.evaluate.counts import total
from train.gates import Gates, describe_gates
from train.interrupt import Interrupted, Interruption
from train.metrics import summarise
from train.parallel import Devices
from train.profile import Trace
from train.report import Report
from train.setup import Setup, describe, set_up
from train.state import State, Variables
from train.step import eval_step, images_seen, train_step
from train.summary import draw_attention, tell
from train.workdir import Result, check_workdir, claimed, read_result, write_result

CLAIM_TIMEOUT = 600  # s between processes: the first of them may have data to prepare


def run(config: ConfigDict, workdir: str | Path, profile: range = range(0)) -> Result:
    """Trains as the config says, or goes on where the run in `workdir` has stopped.

    Args:
      profile: steps that are traced into <workdir>/profile.

    Returns:
      {"steps", "step", the chosen one's, "validation", its scores, "test", its scores}.

    Raises:
      WrongInput: the config, the directory or the device count won't do; nothing was touched.
      SaveFailed: the disk is full, read-only or failing; the last checkpoint is as it was.
      Interrupted: SIGINT or SIGTERM came; all is saved.
    """
    workdir = Path(workdir).absolute()
    check(config)
    check_workdir(workdir, config)
    if (result := read_result(workdir)) is not None:
        tell(result, workdir, again=True)
        return result
    with Interruption() as interruption, faults_told(workdir):
        return _train(config, workdir, interruption, profile)


def _train(config: ConfigDict, workdir: Path, interruption: Interruption, profile: range) -> Result:
    setup = set_up(config)
    devices, data, recipe, steps = setup.devices, setup.data, setup.recipe, setup.steps
    every = config.evaluation.every_epochs * data.steps_per_epoch
    initial = setup.initial_variables()
    train = devices.compile(partial(train_step, recipe), donate=True)
    score = partial(evaluate, devices.compile(partial(eval_step, recipe)), devices, interruption)

    with claimed(workdir, config):
        if others := peers():  # nobody reads what is there before the first process has claimed it
            others.barrier("workdir", CLAIM_TIMEOUT)
        check_data(workdir, data)
        state = saved.restore(workdir, setup.like)
        if state is None:
            state = setup.first_state(initial)
        step = int(state.step)  # counted here from now on: asking the device would wait for it
        _introduce(setup, step)
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
                    trace.before(step + 1, state)
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


def _introduce(setup: Setup, step: int) -> None:
    if jax.process_index() != 0:
        return
    config, data = setup.config, setup.data
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(setup.like.params))
    print(
        f"{config.model.name}, {count:,} parameters, on {config.data.name}: {data.train_size:,}"
        f" images to train, {data.validation_size:,} to validate, {data.test_size:,} to test."
    )
    batch, devices = config.data.batch_size, setup.devices.describe()
    if others := peers():
        print(f"{others.count} processes:\n{others.table()}")
    print(f"{setup.steps} steps of {batch} images on {devices}.")
    if step:
        print(f"Going on from step {step}.", flush=True)
