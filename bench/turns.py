"""Virtual time: events one after the other, and programs that sleep among them, as fast as they can be had.

Owns: whose turn it is, what time it is then, ends by force. Must not know: what is done in a turn.

Time stands still during a turn, and then is that of the next. What does its work in steps is called again and again; what
sleeps in the middle of its work, a policy worker, has a thread, which runs while everything else waits. Nothing depends on
the machine: what is random comes from seeds. A program can only be killed where it sleeps or waits.
"""

import heapq
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_SIGKILL = -9


class _KilledError(BaseException):
    """Raised in a program where it sleeps, to end it; no program may catch it."""


class Repeated:
    """A step that is taken again and again. It is a child as the supervisor knows them: `agent.control.seat.Child`."""

    pid = 0

    def __init__(self, time: "VirtualTime", due_ns: int, period_ns: int, step: Callable[[int], None]) -> None:
        self._time, self._period_ns, self._step = time, period_ns, step
        self._status: int | None = None
        time.at(due_ns, lambda: self._take(due_ns))

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._status

    def terminate(self) -> None:
        """No further step."""
        self._status = 0 if self._status is None else self._status

    def kill(self) -> None:
        """No further step."""
        self._status = _SIGKILL if self._status is None else self._status

    def wait(self) -> int:
        """Its exit status, once it was ended."""
        assert self._status is not None, "it would never end"
        return self._status

    def _take(self, due_ns: int) -> None:
        if self._status is None:
            self._step(due_ns)
            following_ns = due_ns + self._period_ns
            self._time.at(following_ns, lambda: self._take(following_ns))


class Program:
    """Something that sleeps on its way, on a thread of its own; a child as well."""

    def __init__(self, time: "VirtualTime", pid: int, body: Callable[["Program"], int]) -> None:
        self.pid = pid
        self.asked_to_end = False
        self.error: BaseException | None = None
        self.turn = 0
        """Which of its turns it waits for: what was arranged for an earlier one is void."""
        self._time, self._body = time, body
        self._status: int | None = None
        self._killed = False
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=f"program-{pid}", daemon=True)
        self._thread.start()

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._status

    def terminate(self) -> None:
        """Ask it to end, as SIGTERM does."""
        self.asked_to_end = True

    def kill(self) -> None:
        """End it now, wherever it sleeps, as SIGKILL does."""
        if self._status is None:
            self._killed = True
            self.resume()

    def wait(self) -> int:
        """Its exit status, once it was killed."""
        self._thread.join()
        return _SIGKILL if self._status is None else self._status

    def resume(self) -> None:
        """Let it run until it sleeps or ends; called by whoever's turn it is."""
        before, self._time.running = self._time.running, self
        self._go.release()
        self._back.acquire()
        self._time.running = before

    def pause(self) -> None:
        """Give the turn back until it is this program's again; called by itself."""
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise _KilledError

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._status = _SIGKILL if self._killed else self._body(self)
        except _KilledError:
            self._status = _SIGKILL
        except BaseException as error:  # noqa: BLE001 - told to whoever runs the time
            self.error, self._status = error, 1
        self._back.release()


class Bell:
    """Wakes the programs that wait for it."""

    def __init__(self, time: "VirtualTime") -> None:
        self._time = time
        self._waiting: list[tuple[Program, int]] = []

    def wait(self, until_ns: int) -> None:
        """Return when it rings, at `until_ns` at the latest."""
        running = self._time.running
        assert running is not None, "only a program can wait"
        self._waiting.append((running, running.turn + 1))
        self._time.sleep_until(until_ns)

    def ring(self) -> None:
        """Wake all who wait."""
        waiting, self._waiting = self._waiting, []
        for program, turn in waiting:
            self._time.go_on_at(self._time.mono_ns(), program, turn)


class VirtualTime:
    """The `Clock` of all, and their scheduler; a context manager that ends the programs that are left."""

    def __init__(self, mono_ns: int = 1_000_000_000_000, utc_ns: int = 1_800_000_000_000_000_000) -> None:
        self._mono_ns, self._utc_offset_ns = mono_ns, utc_ns - mono_ns
        self._programs: list[Program] = []
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._arranged = 0
        self.running: Program | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self._programs:
            program.kill()

    def mono_ns(self) -> int:
        """Now."""
        return self._mono_ns

    def utc_ns(self) -> int:
        """Now, for people."""
        return self._mono_ns + self._utc_offset_ns

    def sleep_until(self, mono_ns: int) -> None:
        """Let others have their turns until it is `mono_ns`; called by a program."""
        running = self.running
        assert running is not None, "only a program can sleep"
        running.turn += 1
        self.go_on_at(mono_ns, running, running.turn)
        running.pause()

    def at(self, mono_ns: int, action: Callable[[], None]) -> None:
        """Have `action` done at `mono_ns`, or now; of two at one time the one that was arranged first."""
        self._arranged += 1
        heapq.heappush(self._due, (max(mono_ns, self._mono_ns), self._arranged, action))

    def every(self, period_ns: int, step: Callable[[int], None], first_ns: int | None = None) -> Repeated:
        """Have `step` taken every `period_ns`, from now on or from `first_ns`; it is told when it was due."""
        return Repeated(self, self._mono_ns if first_ns is None else first_ns, period_ns, step)

    def start(self, body: Callable[[Program], int]) -> Program:
        """A program that begins now, after what is arranged for now already."""
        program = Program(self, len(self._programs) + 1, body)
        self._programs.append(program)
        self.go_on_at(self._mono_ns, program, program.turn)
        return program

    def go_on_at(self, mono_ns: int, program: Program, turn: int) -> None:
        """Have `program` go on at `mono_ns`, if it still waits for its `turn` then. An error of its own comes out here."""

        def go_on() -> None:
            if program.poll() is None and program.turn == turn:
                program.turn += 1
                program.resume()
                if program.error is not None:
                    raise program.error

        self.at(mono_ns, go_on)

    def run_until(self, mono_ns: int) -> None:
        """Let time pass. Raises what a step or a program raises."""
        while self._due and self._due[0][0] <= mono_ns:
            self._mono_ns, _, action = heapq.heappop(self._due)
            action()
        self._mono_ns = max(self._mono_ns, mono_ns)
