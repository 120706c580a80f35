"""`roskva-agent control`: the process above the loop and the policy.

Owns: wiring of the supervisor: how children are started, where the live slot is read, signals, systemd.
Must not know: when what is started or switched (`agent.control.supervisor`).
"""

import fcntl
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.clock import MonotonicClock
from agent.adapters.files import FileDisk
from agent.adapters.systemd import Notifier
from agent.board.records import Worker
from agent.config import WORKER_NICE, AgentConfig
from agent.control.allowance import promote
from agent.control.seat import Child, Release
from agent.control.supervisor import CYCLE_NS, LiveSource, Spawner, Supervisor
from models.digest import digest_from_text
from models.errors import NotNowError
from models.threads import single_threaded

_LOG = logging.getLogger("roskva.control")
_STOP_S = 1.5
_WATCHDOG_CYCLES = 20
FOLLOWER = ("-P", "-m", "agent.app.follower")
WORKER = ("-P", "-m", "agent.app.worker")


@dataclass(frozen=True, slots=True)
class PythonSpawner:
    """Starts children with `interpreter`; `follower` and `worker` are the words that name the programs."""

    root: Path
    interpreter: str = sys.executable
    follower_program: tuple[str, ...] = FOLLOWER
    worker_program: tuple[str, ...] = WORKER

    def follower(self) -> Child:
        """A follower of this device."""
        return self._spawn(self.follower_program, ())

    def worker(self, place: Worker, release: Release, epoch: int, *, candidate: bool) -> Child:
        """A policy worker for `release` in `place`."""
        words = ("--place", place.letter, "--slot", release.slot, "--digest", release.digest)
        beside = ("--candidate",) if candidate else ()
        return self._spawn(self.worker_program, (*words, "--epoch", str(epoch), *beside))

    def promote(self, pid: int) -> None:
        """Let a worker take what the driver may."""
        if not promote(pid, WORKER_NICE):
            _LOG.warning(
                "worker %d drives as nice as a candidate: grant roskva-control LimitNICE=+5, or run it as root",
                pid,
            )

    def _spawn(self, program: tuple[str, ...], words: tuple[str, ...]) -> Child:
        common = ("--root", str(self.root), "--parent", str(os.getpid()))
        try:
            return subprocess.Popen(
                [self.interpreter, *program, *common, *words],
                stdin=subprocess.DEVNULL,
                env=single_threaded(os.environ),
            )
        except OSError as error:
            _LOG.error("%s cannot be started: %s", program[-1], error)
            return Stillborn()


class Stillborn:
    """A child that could not be started: to the supervisor one that died at once, and is tried again."""

    pid = 0

    def poll(self) -> int:
        """As a shell says it of a program that it cannot start."""
        return 126

    def terminate(self) -> None:
        """Nothing is there."""

    def kill(self) -> None:
        """Nothing is there."""

    def wait(self) -> int:
        """The same as `poll`."""
        return self.poll()


def live_source(root: Path, config: AgentConfig) -> LiveSource:
    """Reads the live release from the slots' pointer."""
    from agent.update.slots import read_pointer

    disk = FileDisk(root / config.paths.state)

    def live() -> Release | None:
        try:
            pointer = read_pointer(disk)
        except OSError as error:
            raise NotNowError(f"the slots' pointer cannot be read: {error}") from error
        if pointer.live is None:
            return None
        return Release(str(pointer.live), digest_from_text(pointer.live_digest))

    return live


def supervise(run_directory: Path, spawner: Spawner, live: LiveSource, notifier: Notifier) -> int:
    """Keep the control processes running until SIGTERM or SIGINT; returns the exit status.

    Raises `NotNowError` where another control process runs on this device.
    """
    with only_one(run_directory):
        return _supervise(run_directory, spawner, live, notifier)


@contextmanager
def only_one(run_directory: Path) -> Iterator[None]:
    """Hold the loop's lock: two loops must never drive one robot. Raises `NotNowError` where one does."""
    run_directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_directory / "control.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise NotNowError("another control process runs on this device") from error
    finally:
        os.close(descriptor)


def _supervise(run_directory: Path, spawner: Spawner, live: LiveSource, notifier: Notifier) -> int:
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: stopped.append(got))
    clock = MonotonicClock()
    supervisor = Supervisor(run_directory, clock, spawner, live)
    supervisor.start()
    notifier.ready()
    cycles, due_ns = 0, clock.mono_ns()
    try:
        while not stopped:
            supervisor.cycle()
            if cycles % _WATCHDOG_CYCLES == 0:
                notifier.watchdog()
            cycles += 1
            due_ns = max(due_ns + CYCLE_NS, clock.mono_ns())
            clock.sleep_until(due_ns)
    finally:
        notifier.stopping()
        supervisor.stop(_STOP_S)
    return 0


def run(root: Path, config: AgentConfig) -> int:
    """The control process of the device at `root`; returns the exit status."""
    return supervise(root / config.paths.run, PythonSpawner(root), live_source(root, config), Notifier())
