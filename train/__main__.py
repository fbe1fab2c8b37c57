"""The command line: `python -m train --config=configs/digits.py --workdir=runs/digits`."""

import argparse
import sys

from train.command import exit_code
from train.config import read_config


def main(arguments: list[str]) -> int:
    """Trains; returns the exit code."""
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

    def work() -> int:
        config = read_config(options.config, overrides)
        from train.loop import run  # slow: JAX and all that; what was mistyped is told at once

        run(config, options.workdir)
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
