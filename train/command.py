"""How every command of the trainer ends: with a sentence and an exit code, never a traceback."""

import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable

from ml_collections import ConfigDict

from train.distributed import PEER_FAILED, peers
from train.errors import Diverged, PeerFailed, SaveFailed, WrongInput
from train.interrupt import Interrupted

WRONG_INPUT = 2  # as argparse's own
DIVERGED = 3  # 4 is distributed.PEER_FAILED
SAVE_FAILED = 5


def make_deterministic(config: ConfigDict) -> None:
    """Asks XLA for the same bits in every run, if the config does; before JAX has a device."""
    if config.deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def exit_code(work: Callable[[], int]) -> int:
    """Does the work and returns its exit code; 2 for wrong input, 3 for a run that diverged, 4
    where another process of the run is missing, 5 where the disk refused what was to be saved,
    128 + signal if it was stopped.

    Warnings are printed as sentences. One of several processes that fails ends the others, too.
    """
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    try:
        return work()
    except WrongInput as error:
        return _failed(str(error), WRONG_INPUT)
    except Diverged as end:
        return _failed(end.message, DIVERGED)
    except PeerFailed as error:
        return _failed(str(error), PEER_FAILED)
    except SaveFailed as error:
        return _failed(str(error), SAVE_FAILED)
    except Interrupted as stop:
        print(f"{stop.message} To resume:\n{shlex.join(sys.orig_argv)}", file=sys.stderr)
        return 128 + stop.signum
    except KeyboardInterrupt:  # nothing to save yet, or asked for twice
        print("Stopped without saving.", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:
        if others := peers():
            traceback.print_exc()
            others.fail(f"{type(error).__name__}: {' '.join(str(error).split())}", 1)
        raise


def _failed(sentence: str, code: int) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    if others := peers():
        others.fail(sentence, code)
    return code
