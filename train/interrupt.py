"""Ctrl-C and SIGTERM: noted when they come, acted upon at the next step."""

import os
import signal
import threading
from types import FrameType
from typing import Any

from train.distributed import peers


class Interrupted(Exception):
    """The run was asked to stop and has saved.

    Attributes:
      signum: the signal; the exit code is 128 + signum by convention.
      message: where it stopped and what is saved, for the person at the terminal.
    """

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.message = "Stopped, saved."


class Interruption:
    """While open, SIGINT and SIGTERM set `signum`; only the same signal again ends the process.

    Python runs a handler when control is back from a compilation or a step: nothing is cut in two.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def check(self) -> None:
        """Raises `Interrupted` if a signal has come; of several processes, in all at once."""
        others = peers()
        signum = others.agreed(self.signum) if others else self.signum
        if signum is not None:
            raise Interrupted(signum)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        signal.signal(signum, self._before[signum])
        name = signal.Signals(signum).name
        text = f"\n{name}: stopping after this step; once more to stop without saving.\n"
        os.write(2, text.encode())  # print could be in the middle of a line of its own
