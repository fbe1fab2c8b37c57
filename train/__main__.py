"""The command line: `python -m train --config=configs/digits.py --workdir=runs/digits`."""

import argparse
import re
import sys
from pathlib import Path

from train.command import exit_code, make_deterministic
from train.config import read_config
from train.distributed import connect
from train.errors import WrongInput


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
    parser.add_argument(
        "--dry-run", action="store_true", help="tell what it would be and what fits; train nothing"
    )
    parser.add_argument(
        "--profile",
        metavar="FIRST:LAST",
        help="trace these steps into <workdir>/profile, for TensorBoard or Perfetto",
    )
    parser.add_argument(
        "--distributed",
        default="auto",
        metavar="HOST:PORT,PROCESSES,NUMBER",
        help="which of several processes this is; or auto: what the launcher says, where it is"
        " evident; on: by JAX's detection of clusters; off (docs/pods.md)",
    )
    options, overrides = parser.parse_known_args(arguments)

    def work() -> int:
        profile = steps_of(options.profile)
        config = read_config(options.config, overrides)
        make_deterministic(config)
        if not options.dry_run:
            from train.workdir import check_unused  # slow, as it imports JAX

            check_unused(Path(options.workdir))
        connect(options.distributed)
        if options.dry_run:
            from train.dry_run import dry_run

            dry_run(config)
            return 0
        from train.loop import run  # slow: JAX and all that; what was mistyped is told at once

        run(config, options.workdir, profile)
        return 0

    return exit_code(work)


def steps_of(text: str | None) -> range:
    """`100:109` as steps, of which there are none without a text.

    Raises:
      WrongInput: it is none.
    """
    if text is None:
        return range(0)
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise WrongInput(
            f"--profile={text}, expected the first and the last step, for example --profile=11:20."
        )
    return range(int(found[1]), int(found[2]) + 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
