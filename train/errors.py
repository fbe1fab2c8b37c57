"""What is told to the person at the terminal in one sentence instead of a traceback."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class WrongInput(ValueError):
    """Something that was asked for cannot be done; raised before anything is trained or written.

    Attributes:
      problems: one sentence each: what was wrong, what was expected, what to do.
    """

    def __init__(self, problems: str | Iterable[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        if len(self.problems) == 1:
            super().__init__(self.problems[0])
        else:
            lines = "".join(f"\n  - {problem}" for problem in self.problems)
            super().__init__(f"{len(self.problems)} things are wrong:{lines}")


class Diverged(Exception):
    """So many steps in a row were skipped that the run was stopped; it has saved.

    Attributes:
      message: which steps, and what is not finite, for the person at the terminal.
    """

    def __init__(self, first: int, last: int):
        super().__init__(f"steps {first} to {last}")
        self.first, self.last = first, last
        self.message = ""


class SaveFailed(Exception):
    """The run could not write what it has; the message says why, and which checkpoint is left."""


class PeerFailed(Exception):
    """Another process of this run has failed or is missing; the message says which."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turns the refusals of the library and of the data into `WrongInput`."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise error if isinstance(error, WrongInput) else WrongInput(str(error)) from error


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """`Unknown optimizer 'sdg'. Did you mean 'sgd'? There are: adamw, sgd.`"""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"Unknown {kind} '{name}'.{hint} There are: {', '.join(names)}."
