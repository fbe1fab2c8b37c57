"""The command line: `python -m senet_jax models|predict|export|attention|bench|doctor`."""

import sys

from senet_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
