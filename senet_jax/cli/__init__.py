"""The command line of the library.

python -m senet_jax models 'se*50*'
python -m senet_jax predict cat.jpg holiday/ --weights seresnet50.a1_in1k --out found.csv
python -m senet_jax export --timm exported --weights runs/mine
python -m senet_jax attention --weights runs/mine --images photos --out report
python -m senet_jax bench --model seresnet50
python -m senet_jax doctor
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence

from senet_jax import bench, doctor
from senet_jax.adapting import image_channels
from senet_jax.cli import attention, predict
from senet_jax.cli.options import WRONG_INPUT, add_weights, complain, count
from senet_jax.convert import export_timm
from senet_jax.loading import class_names_for, load, model_name_for
from senet_jax.models import list_models
from senet_jax.preprocessing import preprocess_for
from senet_jax.summary import write_table


def main(arguments: Sequence[str]) -> int:
    """Runs a command; returns the exit code."""
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, ImportError) as error:
        complain(error)
        return WRONG_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m senet_jax", allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            run.__name__.strip("_"), help=text, description=text, allow_abbrev=False
        )
        added.set_defaults(run=run)
        return added

    models = command(_models, "Prints the models with their sizes and published accuracies.")
    models.add_argument("pattern", nargs="?", default="*", help="with * and ?, e.g. 'se*50*'")
    models.add_argument(
        "--pretrained", action="store_true", help="only those with published weights"
    )

    saying = command(predict.predict, "Says what is in images.")
    saying.add_argument("paths", nargs="+", metavar="PATH", help="an image, or a folder of them")
    add_weights(saying)
    saying.add_argument("--top", type=count, default=5, metavar="N", help="classes (5)")
    saying.add_argument(
        "--out", type=predict.table_file, metavar="FILE", help="write them, too: .csv or .json"
    )

    export = command(_export, "Writes trained weights for other libraries.")
    export.add_argument(
        "--timm", required=True, metavar="DIR", help="the folder, which timm opens as local-dir:DIR"
    )
    add_weights(export)

    look = command(attention.attention, "Writes a report on what the channel attention does.")
    add_weights(look)
    look.add_argument(
        "--images", required=True, metavar="DIR", help="images, or a folder of them for each class"
    )
    look.add_argument("--out", required=True, metavar="DIR", help="a new folder for the report")
    look.add_argument(
        "--classes", type=attention.names, metavar="A,B,...", help="drawn against all, up to six"
    )

    measure = command(_bench, "Measures images per second, with attention and without.")
    measure.add_argument("--model", default="seresnet50", metavar="NAME", help="(seresnet50)")
    measure.add_argument("--batch", type=count, default=8, metavar="N", help="images (8)")
    measure.add_argument("--size", type=count, default=224, metavar="PIXELS", help="(224)")

    command(_doctor, "Prints what to know about this machine: a page to paste into an issue.")
    return parser


def _models(options: argparse.Namespace) -> int:
    names = list_models(options.pattern, pretrained=options.pretrained)
    if not names:
        raise ValueError(f"No model is called {options.pattern!r}: try 'se*' or leave it out.")
    for piece in write_table(names):
        print(piece, end="", flush=True)
    return 0


def _export(options: argparse.Namespace) -> int:
    source = options.weights, options.model
    model, variables = load(*source)
    preprocess = preprocess_for(*source, in_chans=image_channels(variables))
    height, width = preprocess.size
    if height != width:
        raise ValueError(
            f"{options.weights} takes images of {height} x {width} pixels, and timm's configuration"
            " says squares alone."
        )
    directory = export_timm(
        model,
        model_name_for(*source),
        variables,
        options.timm,
        image_size=height,
        mean=preprocess.mean,
        std=preprocess.std,
        crop_pct=preprocess.crop,
        crop_mode=preprocess.crop_mode,
        interpolation=preprocess.interpolation,
        class_names=class_names_for(*source),
    )
    print(f"Wrote {directory}: timm.create_model('local-dir:{directory}', pretrained=True)")
    return 0


def _bench(options: argparse.Namespace) -> int:
    for line in bench.report(options.model, options.batch, options.size):
        print(line, flush=True)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    for line in doctor.report():
        print(line, flush=True)
    return 0
