"""A witness of the machine: a bare loop, on every core, that does no work and that nothing of ours can hold up.

Owns: when a loop that could not be simpler was held up, so that what the machine does to everyone is told apart
from what the software does to itself. Must not know: devices.

It wakes ten times as often as a follower, so that it brackets what holds one up, and a priority above it, so that
no follower's own work looks like the machine's.

`python -P -m fleet.demo.witness FILE CORE` adds a line to FILE at each late wake-up and once a second, until SIGTERM.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

PERIOD_NS = 1_000_000
LATE_NS = 1_000_000
"""From here on a late wake-up is told with its time."""
STALL_NS = 5_000_000
"""From here on it is counted as a stall."""
PRIORITY = 51
_REPORT_TICKS = 1000
_S = 1_000_000_000


class Wakeup(NamedTuple):
    """One wake-up on CLOCK_MONOTONIC, which all processes share; `ticks` counts those up to it."""

    ticks: int
    due_ns: int
    woke_ns: int

    @property
    def late_ns(self) -> int:
        """How late it was."""
        return self.woke_ns - self.due_ns


class Testimony(msgspec.Struct, frozen=True):
    """What the witnesses saw since their start, by core; `stalls` counts wake-ups that were late by 5 ms or more."""

    cores: tuple[tuple[Wakeup, ...], ...]

    @property
    def ticks(self) -> int:
        """All wake-ups of all cores."""
        return sum(told[-1].ticks for told in self.cores if told)

    @property
    def stalls(self) -> int:
        """Wake-ups of any core that were late by 5 ms or more."""
        return sum(wakeup.late_ns >= STALL_NS for told in self.cores for wakeup in told)

    @property
    def late_max_us(self) -> float:
        """The worst lateness on any core."""
        return max((wakeup.late_ns for told in self.cores for wakeup in told), default=0) / 1e3

    def held_up_ns(self, start_ns: int, end_ns: int) -> int:
        """How much of a span the worst core is not known to have run: from the wake-up before a late one up to it."""
        return max((_overlap_ns(told, start_ns, end_ns) for told in self.cores), default=0)


def _overlap_ns(told: Iterable[Wakeup], start_ns: int, end_ns: int) -> int:
    overlaps = (
        min(wakeup.woke_ns, end_ns) - max(wakeup.due_ns - PERIOD_NS, start_ns)
        for wakeup in told
        if wakeup.late_ns >= LATE_NS
    )
    return sum(max(0, overlap) for overlap in overlaps)


def testimony(files: Iterable[Path]) -> Testimony:
    """All witnesses together; a line that is being written is left for the next time."""
    return Testimony(tuple(_told(file.read_bytes()) for file in files if file.exists()))


def _told(lines: bytes) -> tuple[Wakeup, ...]:
    whole = lines[: lines.rfind(b"\n") + 1]
    return tuple(msgspec.json.decode(line, type=Wakeup) for line in whole.splitlines())


def main(file: Path, core: int) -> None:
    """Watch `core` until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    os.sched_setaffinity(0, {core})
    with suppress(PermissionError):  # then it is as real-time as the followers are here
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    ticks = 0
    due_ns = time.monotonic_ns() + PERIOD_NS
    with file.open("wb", buffering=0) as lines:
        while not stopping:
            time.sleep(max(0, due_ns - time.monotonic_ns()) / _S)
            woke_ns = time.monotonic_ns()
            ticks += 1
            if woke_ns - due_ns >= LATE_NS or ticks % _REPORT_TICKS == 0:
                lines.write(msgspec.json.encode(Wakeup(ticks, due_ns, woke_ns)) + b"\n")
            due_ns += ((woke_ns - due_ns) // PERIOD_NS + 1) * PERIOD_NS


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
