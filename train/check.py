"""Everything that can be refused before a run begins, in one place and all at once."""

import math
from collections.abc import Iterable, Iterator

import jax
from ml_collections import ConfigDict

from senet_jax import create_model
from train.data import check_name
from train.errors import WrongInput, unknown
from train.losses import LOSSES
from train.optimizer import OPTIMIZERS, SCHEDULES
from train.parallel import MODES
from train.penalty import NONE, PENALTIES

DTYPES = ("float32", "bfloat16")


def check(config: ConfigDict) -> None:
    """Raises `WrongInput` with all that is wrong with the values of a config."""
    problems = [
        *_names(config),
        *_numbers(config),
        *_penalty(config),
        *_folder(config),
        *_batches(config),
        *_model(config),
    ]
    if problems:
        raise WrongInput(problems)


def _names(config: ConfigDict) -> Iterator[str]:
    choices: dict[str, tuple[str, Iterable[str]]] = {
        "optimizer": ("optimizer", OPTIMIZERS),
        "schedule": ("schedule", SCHEDULES),
        "penalty": ("penalty", PENALTIES),
    }
    try:
        check_name(config.data.name)
    except WrongInput as refusal:
        yield f"{refusal} (--config.data.name)"
    for group, (kind, names) in choices.items():
        if config[group].name not in names:
            yield f"{unknown(kind, config[group].name, names)} (--config.{group}.name)"
    if config.loss not in LOSSES:
        yield f"{unknown('loss', config.loss, LOSSES)} (--config.loss)"
    if config.parallel not in MODES:
        yield f"{unknown('way to run in parallel', config.parallel, MODES)} (--config.parallel)"
    if config.model.dtype not in DTYPES:
        yield f"{unknown('dtype', config.model.dtype, DTYPES)} (--config.model.dtype)"


def _numbers(config: ConfigDict) -> Iterator[str]:
    at_least_one = 1, math.inf, "1 or more"
    not_negative = 0, math.inf, "0 or more"
    fraction = 0, math.nextafter(1, 0), "at least 0 and less than 1"
    positive = math.nextafter(0, 1), math.inf, "more than 0"
    limits = {
        "accumulate": at_least_one,
        "max_skipped": at_least_one,
        "data.mix.mixup": not_negative,
        "data.mix.cutmix": not_negative,
        "data.mix.probability": (0, 1, "0 to 1"),
        "data.mix.off_epochs": not_negative,
        "ghost_batch": not_negative,
        "seed": (0, 2**32 - 1, "0 to 4,294,967,295"),
        "log_every": at_least_one,
        "data.batch_size": at_least_one,
        "data.repeats": at_least_one,
        "data.workers": not_negative,
        "data.image_size": at_least_one,
        "data.stored_size": not_negative,
        "data.validation_fraction": fraction,
        "data.test_fraction": fraction,
        "optimizer.weight_decay": not_negative,
        "optimizer.momentum": fraction,
        "optimizer.beta1": fraction,
        "optimizer.beta2": fraction,
        "optimizer.epsilon": positive,
        "optimizer.clip_norm": not_negative,
        "optimizer.clip_adaptive": not_negative,
        "optimizer.layer_decay": (math.nextafter(0, 1), 1, "more than 0 and up to 1"),
        "optimizer.head_rate": not_negative,
        "schedule.epochs": at_least_one,
        "schedule.learning_rate": positive,
        "schedule.warmup_epochs": not_negative,
        "schedule.factor": positive,
        "penalty.weight": not_negative,
        "penalty.rate": (0, 1, "a mean gate, 0 to 1"),
        "penalty.polarisation": not_negative,
        "penalty.warmup_epochs": not_negative,
        "label_smoothing": fraction,
        "ema_decay": fraction,
        "evaluation.every_epochs": at_least_one,
        "evaluation.batch_size": at_least_one,
        "evaluation.patience": not_negative,
        "evaluation.keep": (2, math.inf, "2 or more: the newest may be damaged by a crash"),
    }
    for field, (least, most, expected) in limits.items():
        value = _field(config, field)
        if not least <= value <= most:  # false for nan, too
            yield f"config.{field} is {value}, expected {expected}."
    if 1 <= config.schedule.epochs <= config.schedule.warmup_epochs:
        yield (
            f"config.schedule.warmup_epochs is {config.schedule.warmup_epochs}, expected less than"
            f" the {config.schedule.epochs} epochs of the run."
        )


def _penalty(config: ConfigDict) -> Iterator[str]:
    name, weight = config.penalty.name, config.penalty.weight
    if name == NONE and weight:
        yield (
            f"config.penalty.weight is {weight}, but there is no penalty: name one"
            " (--config.penalty.name=hinge), or take its weight away (--config.penalty.weight=0)."
        )
    if name in PENALTIES and name != NONE and not weight:
        yield (
            f"config.penalty.name is '{name}', but its weight is 0, so it does nothing: give it one"
            " (--config.penalty.weight=1)."
        )


def _folder(config: ConfigDict) -> Iterator[str]:
    data = config.data
    if data.name == "folder" and not data.folder:
        yield (
            "config.data.folder is not set: say where your images are"
            " (--config.data.folder=/path/to/photos)."
        )
    if data.stored_size and not data.image_size <= data.stored_size <= 2 * data.image_size:
        # The device takes the four pixels around a place: beyond 2, some would not be seen.
        yield (
            f"config.data.stored_size is {data.stored_size}, expected config.data.image_size,"
            f" {data.image_size}, to twice that, or 0 to leave it to the trainer."
        )


def batch_unit(config: ConfigDict) -> int:
    """What a batch must be a multiple of: each device has its share of each part, in mixing and
    between parts neighbours stay together, and so do images with common statistics."""
    mix, shares = config.data.mix, jax.device_count() * max(config.accumulate, 1)
    in_pairs = config.accumulate > 1 or bool(mix.mixup or mix.cutmix)
    together = max(config.ghost_batch, 1)
    return math.lcm(shares * (1 + in_pairs), shares * together, max(config.data.repeats, 1))


def _batches(config: ConfigDict) -> Iterator[str]:
    devices = jax.device_count()
    over, unit = f"{devices} devices", batch_unit(config)
    if unit > devices:
        over += f", in {max(config.accumulate, 1)} parts of whole pairs on each"
    yield from _division(config, "data.batch_size", unit, over)
    yield from _division(config, "evaluation.batch_size", devices, f"{devices} devices")
    if config.data.repeats > 1 and config.data.batch_size % config.data.repeats:
        yield (
            f"config.data.repeats is {config.data.repeats}, expected a divisor of the batch of"
            f" {config.data.batch_size} images."
        )
    share = config.data.batch_size // (devices * max(config.accumulate, 1))
    if config.ghost_batch > 0 and share % config.ghost_batch:
        yield (
            f"config.ghost_batch is {config.ghost_batch}, expected a divisor of {share}, the images"
            " of a batch that a device computes at a time; or 0."
        )


def _division(config: ConfigDict, field: str, count: int, over: str) -> Iterator[str]:
    size = _field(config, field)
    if size >= 1 and size % count:
        below, above = size // count * count, -(-size // count) * count
        fits = f"{below} and {above} can" if below else f"{above} can"
        yield (
            f"A batch of {size} cannot be split over {over}; {fits}"
            f" (--config.{field}={below or above})."
        )


def _model(config: ConfigDict) -> Iterator[str]:
    try:
        create_model(config.model.name, **config.model.options.to_dict())
    except ValueError as error:
        yield f"{error} (--config.model)"


def _field(config: ConfigDict, field: str):
    value = config
    for part in field.split("."):
        value = value[part]
    return value
