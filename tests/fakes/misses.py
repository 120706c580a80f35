"""A follower's board after missed ticks, and what a witness saw of the machine meanwhile.

Owns: both as they are written on a device. Must not know: what explains a miss.
"""

import time
from pathlib import Path

from agent.board.records import LOOP, LOOP_BOARD, bytes_from_spans
from agent.board.seqlock import BoardWriter
from fleet.demo.witness import PERIOD_NS as WITNESS_PERIOD_NS
from fleet.demo.witness import Testimony, Wakeup

MS = 1_000_000
PERIOD_NS = 10 * MS


def follower_that_missed(run: Path, ticks: int, spans: tuple[tuple[int, int], ...] = ()) -> None:
    """The loop's board says that so many `ticks` were missed, the latest in `spans` of monotonic nanoseconds."""
    blank = LOOP.record_from(LOOP.packer.unpack(bytes(LOOP.packer.size)))
    record = blank._replace(
        ticks_missed=ticks, tick_period_ns=PERIOD_NS, recent_misses=bytes_from_spans(spans)
    )
    with BoardWriter(run / LOOP_BOARD, LOOP) as board:
        board.write(record, time.monotonic_ns())


def standstill(start_ms: float, end_ms: float) -> Testimony:
    """One of two cores stood still from `start_ms` to `end_ms`."""
    due_ns = round(start_ms * MS) + WITNESS_PERIOD_NS
    return Testimony(((Wakeup(500, 0, 0),), (Wakeup(7, due_ns, round(end_ms * MS)),)))
