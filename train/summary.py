"""What is said and drawn when a run is over."""

from pathlib import Path

import jax

from senet_jax import loading
from senet_jax.attention import class_statistics
from senet_jax.plotting import plot_attention_by_class
from train.data import Data
from train.state import Variables
from train.step import Recipe, model_inputs
from train.workdir import Result

PICTURE = "attention.png"


def tell(result: Result, workdir: Path, *, again: bool = False) -> None:
    """Prints the outcome; the last line is `test accuracy: 99.44 %`."""
    if jax.process_index() != 0:
        return
    if again:
        print("This run is finished; to train anew, give another --workdir.")
    averaged = "ema_accuracy" in result["validation"]
    accuracy = result["validation"]["ema_accuracy" if averaged else "accuracy"]
    weights = "averaged weights" if averaged else "weights"
    print(
        f"validation accuracy: {100 * accuracy:.2f} % with the {weights} of step {result['step']}"
    )
    print(f"checkpoints: {loading.checkpoint_directory(workdir)}")
    if (workdir / PICTURE).exists():
        print(f"attention by block and class: {workdir / PICTURE}")
    print(f"test accuracy: {100 * result['test']['accuracy']:.2f} %", flush=True)


def draw_attention(workdir: Path, recipe: Recipe, data: Data, variables: Variables) -> None:
    """Draws what the gates do for each class of the validation images, as <workdir>/attention.png.

    Nothing for a plain network, or where matplotlib is not installed.
    """
    if jax.process_index() != 0:
        return
    batches = (
        (model_inputs(batch["image"], recipe.mean, recipe.std), batch["label"], batch["mask"])
        for batch in data.validation()
    )
    statistics = class_statistics(recipe.model, variables, batches, data.num_classes)
    if not statistics:
        return
    means = {path: block.known_mean for path, block in statistics.items()}
    try:
        plot_attention_by_class(means, data.class_names).savefig(workdir / PICTURE, dpi=150)
    except ImportError:
        print("No picture of the attention: matplotlib is not installed.")
