"""A witness of the machine: a bare loop of the follower's class and priority, on every core, that does no work.

Owns: how often a loop that could not be simpler was held up, so that what the machine does to everyone is told apart
from what the software does to itself. Must not know: devices.

It wakes five times as often as a follower, since a follower that misses a tick was held up for 10 ms or more, and a
loop of its own rate could by chance have slept through most of that.

`python -P -m fleet.demo.witness FILE CORE` writes a `Testimony` to FILE at every stall and once a second until SIGTERM.
"""

import json
import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import msgspec

PERIOD_NS = 2_000_000
STALL_NS = 5_000_000
PRIORITY = 50
_REPORT_TICKS = 500
_ENDS_KEPT = 256
_S = 1_000_000_000


class Testimony(msgspec.Struct, frozen=True):
    """What one witness saw since its start: `stalls` counts wake-ups that were late by 5 ms or more.

    `stalled_mono_ns` are the ends of the latest of them, on CLOCK_MONOTONIC, which all processes share.
    """

    ticks: int
    stalls: int
    late_max_us: float
    stalled_mono_ns: tuple[int, ...]


def testimony(files: list[Path]) -> Testimony:
    """All witnesses together: the ticks and stalls of all, the worst lateness of any."""
    seen = [msgspec.json.decode(file.read_bytes(), type=Testimony) for file in files if file.exists()]
    worst = max((one.late_max_us for one in seen), default=0.0)
    ends = sorted(end for one in seen for end in one.stalled_mono_ns)
    return Testimony(sum(one.ticks for one in seen), sum(one.stalls for one in seen), worst, tuple(ends))


def main(file: Path, core: int) -> None:
    """Watch `core` until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    os.sched_setaffinity(0, {core})
    with suppress(PermissionError):  # then it is as real-time as the followers are here
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    ticks, stalls, late_max_ns = 0, 0, 0
    ends: deque[int] = deque(maxlen=_ENDS_KEPT)
    due_ns = time.monotonic_ns() + PERIOD_NS
    while not stopping:
        time.sleep(max(0, due_ns - time.monotonic_ns()) / _S)
        late_ns = time.monotonic_ns() - due_ns
        stalled = late_ns >= STALL_NS
        ticks, stalls, late_max_ns = ticks + 1, stalls + stalled, max(late_max_ns, late_ns)
        if stalled:
            ends.append(due_ns + late_ns)
        due_ns += (late_ns // PERIOD_NS + 1) * PERIOD_NS
        if stalled or ticks % _REPORT_TICKS == 0:
            _write(file, Testimony(ticks, stalls, round(late_max_ns / 1e3, 1), tuple(ends)))


def _write(file: Path, seen: Testimony) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(msgspec.to_builtins(seen)))
    fresh.replace(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
