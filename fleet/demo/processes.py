"""The demo's child processes: started with a log each, stopped by their process id.

Owns: starting, watching and stopping, also where a signal ends the demo. Must not know: what the processes are for.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self

from models.errors import NotNowError, RoskvaError
from models.threads import single_threaded

STOP_S = 8.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOPBACK = "127.0.0.1"
_Handler = Callable[[int, FrameType | None], object] | int | None


class ChildDiedError(RoskvaError):
    """A process of the demo ended before it was told to; its log says why."""

    code = "child-died"


@dataclass(slots=True)
class Child:
    """One running process."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def tail(self, lines: int = 12) -> str:
        """The end of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


class Processes:
    """All children; a context manager that stops them, last started first."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._children: dict[str, Child] = {}
        self._volatile: list[Path] = []

    def start(self, name: str, argv: list[str]) -> Child:
        """Start `argv` as `name`, its output going to a log of that name.

        It is out of the terminal's reach: Ctrl-C asks the demo, which then stops its children in their order.
        """
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                env=single_threaded(os.environ),
            )
        self._children[name] = Child(name, process, log)
        return self._children[name]

    def volatile_folder(self) -> Path:
        """A new folder in memory, removed when all is stopped: what `/run` is on hardware.

        Boards on a disk would be written back, and a write to a page that is being written back waits.
        """
        memory = Path("/dev/shm")  # noqa: S108 - Linux's own tmpfs
        folder = Path(tempfile.mkdtemp(prefix="roskva-run-", dir=memory if memory.is_dir() else None))
        self._volatile.append(folder)
        return folder

    def check(self) -> None:
        """Raise `ChildDiedError`, with the end of its log, where a child has ended."""
        for child in self._children.values():
            if child.process.poll() is not None:
                raise ChildDiedError(
                    f"{child.name} ended with {child.process.returncode}; its log ends:\n{child.tail()}"
                )

    def kill(self, name: str) -> None:
        """SIGKILL one child and forget it."""
        child = self._children.pop(name)
        child.process.kill()
        child.process.wait()

    def stop(self, name: str) -> int:
        """SIGTERM one child, wait, and return its exit status."""
        child = self._children.pop(name)
        child.process.send_signal(signal.SIGTERM)
        return _wait(child, time.monotonic() + STOP_S)

    def stop_all(self, *, keep_memory: bool = False) -> dict[str, int]:
        """SIGTERM all, wait for all, SIGKILL what is left; exit statuses by name. Folders in memory go too, or are kept."""
        children = list(reversed(self._children.values()))
        self._children.clear()
        for child in children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        ended = {child.name: _wait(child, deadline_s) for child in children}
        while self._volatile and not keep_memory:
            shutil.rmtree(self._volatile.pop(), ignore_errors=True)
        return ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with undisturbed():
            self.stop_all()


@contextmanager
def endable() -> Iterator[list[int]]:
    """The first SIGINT, SIGTERM or SIGHUP raises `KeyboardInterrupt` and is put in the list; later ones are dropped."""
    ended: list[int] = []

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        _set_all(dict.fromkeys(ENDING, signal.SIG_IGN))
        ended.append(number)
        raise KeyboardInterrupt(number)

    before = {number: signal.getsignal(number) for number in ENDING}
    _set_all(dict.fromkeys(ENDING, end))
    try:
        yield ended
    finally:
        _set_all(before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """No such signal breaks off what is done here."""
    before = {number: signal.getsignal(number) for number in ENDING}
    _set_all(dict.fromkeys(ENDING, signal.SIG_IGN))
    try:
        yield
    finally:
        _set_all(before)


def _set_all(handlers: Mapping[signal.Signals, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _wait(child: Child, deadline_s: float) -> int:
    try:
        return child.process.wait(max(0.1, deadline_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        child.process.kill()
        return child.process.wait()


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def await_port(port: int, processes: Processes, timeout_s: float = 20.0) -> None:
    """Return once something listens on `port`. Raises `NotNowError` at the deadline."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        processes.check()
        try:
            with socket.create_connection((_LOOPBACK, port), timeout=0.5):
                return
        except OSError:
            pause(0.05)
    raise NotNowError(f"nothing listens on port {port} after {timeout_s:.0f} s")


def pause(seconds: float) -> None:
    """Let the other processes work; the demo is a spectator and polls."""
    time.sleep(seconds)


def program(name: str) -> str:
    """The path of one of Roskva's own commands, as installed beside this interpreter."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise NotNowError(f"{name} is not installed: run pip install 'roskva[agent,fleet]'")
    return found


def mosquitto() -> str | None:
    """Mosquitto's path where it is installed; Debian keeps it out of an ordinary user's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class BrokerKind(StrEnum):
    """Which broker to run."""

    AUTO = "auto"
    """Mosquitto where it is installed, else the embedded one."""
    MOSQUITTO = "mosquitto"
    EMBEDDED = "embedded"


def start_broker(processes: Processes, state: Path, port: int, kind: BrokerKind) -> str:
    """Start a broker on `port`; returns its name. Raises `NotNowError` where Mosquitto is asked for and absent."""
    path = None if kind is BrokerKind.EMBEDDED else mosquitto()
    if path is None and kind is BrokerKind.MOSQUITTO:
        raise NotNowError("Mosquitto is not installed: on Debian and Ubuntu, apt-get install mosquitto")
    if path is None:
        processes.start("broker", [program("roskva-fleet"), "broker", "--port", str(port)])
        await_port(port, processes)
        return "embedded (amqtt)"
    state.mkdir(parents=True, exist_ok=True)
    configuration = state / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} {_LOOPBACK}\nallow_anonymous true\nset_tcp_nodelay true\n"
        "max_packet_size 2000000\nmax_inflight_messages 64\nmax_queued_messages 1000\npersistence false\n"
    )
    processes.start("broker", [path, "-c", str(configuration)])
    await_port(port, processes)
    return "Mosquitto"
