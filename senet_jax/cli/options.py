"""What several commands share."""

import argparse
import sys

WRONG_INPUT = 2  # as argparse's own


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        required=True,
        metavar="SOURCE",
        help="a training run's directory, a file (.safetensors, .pth), an exported folder, or"
        " timm's tag of published weights, e.g. seresnet50.a1_in1k",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="of the network, for a file of weights, e.g. seresnet50"
    )


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count, expected 1 or more")
    return int(text)


def complain(error: Exception) -> None:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
