"""Several processes as one run: who belongs to it, and how one hears of the others.

JAX connects the processes and XLA exchanges the arrays. What is added here goes through the store
of keys that JAX's coordinator keeps: who is there, which process has failed and why, and at which
step all of them stop. A thread of each process looks into it, so that nothing costs a step time.
"""

import contextlib
import inspect
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from train.errors import PeerFailed, WrongInput

CHOICES = "auto, on, off or HOST:PORT,PROCESSES,NUMBER"
PEER_FAILED = 4  # exit code of a process that ends because another one did
START_TIMEOUT = 300  # s, for all processes to be there
HEARTBEAT_TIMEOUT = 60  # s, after which a process that says nothing counts as dead
PARTING = 10.0  # s in which a process that failed waits for the others to have heard of it
POLL = 0.25  # s
ROOT = "senet_jax"


@dataclass(frozen=True)
class Address:
    """Where process 0 listens, of how many this is which."""

    coordinator: str
    count: int
    index: int


def connect(choice: str = "auto", timeout: float = START_TIMEOUT) -> "Peers | None":
    """Makes this process one of several, where that is asked for or evident.

    To be called before JAX has a device. Where not all processes come within the time, this one
    says so and ends with PEER_FAILED: JAX would abort it.

    Args:
      choice: "auto", as the environment says (see `evident`); "on", by JAX's own detection of
        clusters; "off"; or "host:port,processes,number", numbers from 0.
      timeout: s, for all processes to be there.

    Returns:
      What connects them, also by `peers()` from now on; None for a process on its own.

    Raises:
      WrongInput: the choice is none, or there is no cluster to detect.
    """
    global _peers
    address = parse(choice)
    if choice == "off" or (choice == "auto" and not evident(os.environ)):
        return None
    import jax

    given: Any = (address.coordinator, address.count, address.index) if address else ()
    # JAX's own limit ends a process by an abort with a stack trace: ours comes first.
    options: dict[str, Any] = {"initialization_timeout": round(timeout) + 60}
    if "heartbeat_timeout_seconds" in inspect.signature(jax.distributed.initialize).parameters:
        options["heartbeat_timeout_seconds"] = HEARTBEAT_TIMEOUT
    limit = threading.Timer(timeout, _give_up, (choice, timeout))
    limit.daemon = True
    limit.start()
    try:
        jax.distributed.initialize(*given, **options)
    except ValueError as error:
        raise WrongInput(
            f"No cluster was found (JAX: {error}) Give --distributed=HOST:PORT,PROCESSES,NUMBER,"
            " or --distributed=off to train with this process alone."
        ) from error
    finally:
        limit.cancel()
    _peers = Peers() if jax.process_count() > 1 else None
    return _peers


def _give_up(choice: str, timeout: float) -> None:
    text = (
        f"error: Not all processes were there within {timeout:g} s (--distributed={choice}): each"
        " that was says this, so look for the one that does not. All must be started with the same"
        " HOST:PORT, which all must be able to reach.\n"
    )
    os.write(2, text.encode())
    os._exit(PEER_FAILED)


def parse(choice: str) -> Address | None:
    """The address in `choice`; None for a word.

    Raises:
      WrongInput: it is neither.
    """
    if choice in ("auto", "on", "off"):
        return None
    found = re.fullmatch(r"(.+:\d+),(\d+),(\d+)", choice)
    if not found or int(found[3]) >= int(found[2]):
        raise WrongInput(
            f"--distributed={choice}, expected {CHOICES}, for example"
            " --distributed=10.0.0.1:1234,2,0 for the first of two processes."
        )
    return Address(found[1], int(found[2]), int(found[3]))


def evident(environment: Mapping[str, str]) -> bool:
    """Whether a launcher says that it has started this process as one of several.

    Variables alone are no evidence for SLURM: they are inherited by shells, and copied. The step
    must have several tasks, and this host must be the node that the task was started on. The pods
    of a Kubernetes job may as well be runs of their own: there it must be asked for.
    """
    if environment.get("SLURMD_NODENAME", "").split(".")[0] == socket.gethostname().split(".")[0]:
        return _number(environment, "SLURM_STEP_NUM_TASKS") > 1
    return _number(environment, "OMPI_COMM_WORLD_SIZE") > 1 or "," in environment.get(
        "TPU_WORKER_HOSTNAMES", ""
    )


class Peers:
    """The processes of a run, as one of them sees the others."""

    def __init__(self) -> None:
        import jax
        from jax._src.distributed import global_state  # the store has no public name

        self._store: Any = global_state.client
        self.index, self.count = jax.process_index(), jax.process_count()
        self._lock = threading.Lock()
        self._checks = 0  # how often `agreed` was asked; the same in all processes in the end
        self._announced: int | None = None
        self._stop: tuple[int, int] | None = None  # the check at which all stop, and the signal
        self._decided = threading.Event()
        self._closed = threading.Event()
        self._put(f"host/{self.index}", f"{socket.gethostname()}, process {os.getpid()}")
        kinds = [d.device_kind for d in jax.local_devices()]
        self._put(f"devices/{self.index}", f"{len(kinds)} x {', '.join(sorted(set(kinds)))}")
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def barrier(self, name: str, timeout: float) -> None:
        """Waits until all processes are here; once for each name.

        Raises:
          PeerFailed: not all came within `timeout` seconds; the message names the missing ones.
        """
        self._put(f"barrier/{name}/{self.index}", "")
        self._wait_for_all(f"barrier/{name}", f"The processes did not meet at {name!r}", timeout)

    @contextlib.contextmanager
    def together(self, name: str, timeout: float) -> Iterator[None]:
        """What fails here in one process has failed in all of them; once for each name.

        For what each does for itself: who waits for another inside would wait for good.

        Raises:
          ValueError: it failed in another process; the message says in which, and why.
          PeerFailed: not all came to the end within `timeout` seconds.
        """
        fault: Exception | None = None
        try:
            yield
        except Exception as error:
            fault = error
        self._put(f"outcome/{name}/{self.index}", _in_words(fault) if fault else "")
        otherwise = f"The processes did not come to the end of {name!r}"
        outcomes = self._wait_for_all(f"outcome/{name}", otherwise, timeout)
        if fault:
            raise fault
        for index, said in sorted(outcomes.items()):
            if said:
                raise ValueError(f"in process {index}: {said}")

    def word_of_first(self, name: str, mine: str, timeout: float) -> str:
        """What process 0 says, in all processes; once for each name.

        Raises:
          PeerFailed: not all asked within `timeout` seconds.
        """
        self._put(f"word/{name}/{self.index}", mine)
        otherwise = f"The processes have not all asked for {name!r}"
        return self._wait_for_all(f"word/{name}", otherwise, timeout)[0]

    def table(self) -> str:
        """A line for each process: its number, host, and devices."""
        devices = self._wait_for_all("devices", "The processes have not told their devices", 60)
        return "\n".join(f"  {i}: {self._host(i)}, {devices[i]}" for i in range(self.count))

    def agreed(self, signum: int | None) -> int | None:
        """The signal at which all processes stop now, the same in all of them; None to go on.

        All processes must ask equally often, as they do between the same steps. Who was sent a
        signal tells the others; each promises to go on to the check it is about to make at least,
        and all stop at the latest check promised. So nobody waits for a step that another one
        does not take.
        """
        if signum is not None:
            self._put_once("stop", str(signum))
        with self._lock:
            self._checks += 1
            number, announced = self._checks, self._announced
        if announced is None or number < announced:
            return None
        self._decided.wait()
        assert self._stop is not None
        at, by = self._stop
        return by if number >= at else None

    def fail(self, message: str, code: int) -> NoReturn:
        """Ends this process, after the others have heard why, or have had the time to."""
        self._closed.set()  # its own end is not news
        where = f"Process {self.index} ({self._host(self.index)}) failed: {message}"
        self._put_once("failed", where)
        self._put(f"heard/{self.index}", "")
        until = time.monotonic() + PARTING
        while time.monotonic() < until and len(self._told("heard")) < self.count:
            time.sleep(POLL)
        _leave(code)  # not by way of JAX, which would wait for the others to say goodbye

    def _watch(self) -> None:
        while not self._closed.wait(POLL):
            try:
                news = self._told("news")
                if "failed" in news and not self._closed.is_set():
                    self._end(news["failed"])
                if "stop" in news and not self._decided.is_set():
                    self._decide(int(news["stop"]))
            except RuntimeError:  # the coordinator is gone, and JAX ends the process
                return

    def _decide(self, signum: int) -> None:
        with self._lock:
            if self._announced is None:
                self._announced = self._checks + 1
                self._put(f"promised/{self.index}", str(self._announced))
        promised = self._told("promised")
        if len(promised) == self.count:
            self._stop = (max(map(int, promised.values())), signum)
            self._decided.set()

    def _end(self, message: str) -> NoReturn:
        """A process in a collective cannot be interrupted, only ended."""
        self._put(f"heard/{self.index}", "")
        line = f"error: {message} The same command goes on from the last checkpoint.\n"
        os.write(2, line.encode())
        _leave(PEER_FAILED)

    def _wait_for_all(self, what: str, otherwise: str, timeout: float) -> dict[int, str]:
        until = time.monotonic() + timeout
        while len(there := self._told(what)) < self.count:
            if time.monotonic() > until:
                missing = [i for i in range(self.count) if str(i) not in there]
                names = ", ".join(f"process {i} ({self._host(i)})" for i in missing)
                raise PeerFailed(
                    f"{otherwise} within {timeout:g} s: {names} is missing. Look at its output;"
                    " the same command goes on from the last checkpoint."
                )
            time.sleep(0.02)
        return {int(i): value for i, value in there.items()}

    def _host(self, index: int) -> str:
        return self._told("host").get(str(index), "host unknown")

    def _told(self, what: str) -> dict[str, str]:
        """By the last part of their names, the values below a name in the store."""
        pairs = self._store.key_value_dir_get(f"{ROOT}/{what}/")
        return {key.rsplit("/", 1)[1]: value for key, value in pairs}

    def _put(self, name: str, value: str) -> None:
        self._store.key_value_set(f"{ROOT}/{name}", value, allow_overwrite=True)

    def _put_once(self, name: str, value: str) -> None:
        """News: the first to tell it is heard."""
        with contextlib.suppress(RuntimeError):  # another process was first
            self._store.key_value_set(f"{ROOT}/news/{name}", value)


def together(name: str, timeout: float) -> contextlib.AbstractContextManager[None]:
    """`Peers.together`; nothing for a process on its own."""
    return _peers.together(name, timeout) if _peers else contextlib.nullcontext()


_peers: Peers | None = None


def peers() -> Peers | None:
    """The other processes of this run; None for a process on its own."""
    return _peers


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdigit() else 0
