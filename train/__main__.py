"""The command line: `python -m train --config=configs/digits.py --workdir=runs/digits`."""

import argparse
import shlex
import signal
import sys
import warnings

from train.config import read_config
from train.errors import WrongInput
from train.interrupt import Interrupted

WRONG_INPUT = 2  # as argparse's own


def main(arguments: list[str]) -> int:
    """Trains; returns the exit code."""
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    parser = argparse.ArgumentParser(
        prog="python -m train",
        description="Trains a network. The same command goes on with a run that was interrupted.",
        epilog="--config.<field>=<value> changes a field of the config, e.g. --config.seed=1;"
        " configs/defaults.py has them all.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE[:VARIANT]", help="e.g. configs/digits.py:plain"
    )
    parser.add_argument(
        "--workdir", required=True, help="where the run lives, and goes on from if it is there"
    )
    options, overrides = parser.parse_known_args(arguments)
    try:
        config = read_config(options.config, overrides)
        from train.loop import run  # slow: JAX and all that; what was mistyped is told at once

        run(config, options.workdir)
    except WrongInput as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    except Interrupted as stop:
        print(f"{stop.message} To resume:\n{shlex.join(sys.orig_argv)}", file=sys.stderr)
        return 128 + stop.signum
    except KeyboardInterrupt:  # before there was a state to save, or the second one
        print("Stopped without saving.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
