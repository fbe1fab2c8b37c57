"""Small things to train, so that a test compiles and runs in seconds."""

from dataclasses import replace

import jax
import ml_collections
import numpy as np
import optax

from configs.defaults import defaults
from senet_jax import create_model
from train.augment import AugmentOptions
from train.parallel import Devices
from train.state import State, init_state
from train.step import Recipe

IMAGE_SHAPE = (8, 8, 1)
CLASSES = 10

# A run of the digits with one block, for the command line.
RUN = (
    "--config=configs/digits.py",
    "--config.model.options.stage_sizes=(1,)",
    "--config.data.batch_size=64",
    "--config.schedule.epochs=3",
    "--config.schedule.warmup_epochs=0.5",
    "--config.evaluation.every_epochs=1",
    "--config.log_every=7",
)


def config(**fields) -> ml_collections.ConfigDict:
    """The defaults with some fields changed: config(**{"schedule.epochs": 3})."""
    result = defaults()
    result.update_from_flattened_dict(fields)
    return result


def recipe(devices: Devices | None = None, **changes) -> Recipe:
    """SGD with momentum on two blocks: with its input as the shortcut, and with stride 2."""
    norm = {"axis_name": devices.axis_name} if devices else {}
    model = create_model("seresnet20", stage_sizes=(1, 1), num_classes=CLASSES)
    schedule = optax.constant_schedule(0.05)
    result = Recipe(
        model=model.clone(norm=model.norm.clone(**norm)),
        optimizer=optax.trace(0.9),
        schedule=schedule,
        augment=AugmentOptions(shift=1.0, rotate=10.0),
        mean=(0.3,),
        std=(0.4,),
        label_smoothing=0.1,
        ema_decay=0.9,
        axis_name=devices.axis_name if devices else None,
    )
    return replace(result, **changes)


def state_of(
    recipe: Recipe, seed: int = 0, image_shape: tuple[int, int, int] = IMAGE_SHAPE
) -> State:
    """Step 0."""
    ema = bool(recipe.ema_decay)
    return init_state(recipe.model, recipe.optimizer, image_shape, seed, ema=ema)


def keeps_gradients() -> optax.GradientTransformation:
    """Plain descent whose state is the gradient it was given."""
    return optax.GradientTransformation(
        init=lambda params: jax.tree.map(np.zeros_like, params),
        update=lambda gradients, _, params: (gradients, gradients),
    )


def batch(size: int = 32, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise that is the brighter, the higher the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, size)
    images = random.integers(0, 75, (size, *IMAGE_SHAPE)) + 20 * labels[:, None, None, None]
    return {
        "image": images.astype(np.uint8),
        "label": labels.astype(np.int32),
        "position": np.arange(size, dtype=np.int32),
    }


def leaves(tree) -> dict[str, np.ndarray]:
    """A tree's arrays by their path, on the host."""
    pairs = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in pairs}


def assert_same_bits(a, b) -> None:
    """Two trees are equal in structure and in every bit."""
    a, b = leaves(a), leaves(b)
    assert a.keys() == b.keys()
    differing = [path for path in a if a[path].tobytes() != b[path].tobytes()]
    assert not differing
