"""One run of a sweep: `python -m train` that stops, and saves, when the sweep itself is gone.

The sweep holds the other end of its standard input, and a pipe is closed with the process that
holds it, however that ends.
"""

import os
import signal
import sys
import threading

from train.__main__ import main


def _stop_with_parent() -> None:
    os.read(0, 1)  # nothing is ever written there
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    sys.exit(main(sys.argv[1:]))
