"""Missed ticks, each held against what bare loops saw at the same instant.

Owns: which misses the machine explains. Must not know: what ran meanwhile.

A follower tells the span of each miss (`agent.board.records.LoopRecord`); a witness tells when its core stood still.
A miss is explained where the span without the standstill is less than a tick's period: but for the machine, the tick would
have been done before the next one was due.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from agent.board.feed import Feed
from agent.board.records import LOOP, LoopRecord, spans_from
from fleet.demo.witness import Testimony

Span = tuple[int, int]


class Misses:
    """The misses of several followers from now on. `look` often: a board keeps the latest eight."""

    def __init__(self, boards: Iterable[Path]) -> None:
        self._followers = [_Follower(path) for path in boards]

    def look(self) -> None:
        """Note what was missed since the look before."""
        for follower in self._followers:
            follower.look()

    @property
    def missed(self) -> int:
        """Ticks, over all followers."""
        return sum(follower.missed for follower in self._followers)

    def unexplained(self, machine: Testimony) -> int:
        """Those of `missed` that `machine` does not explain, or whose time is not known."""
        return sum(follower.unexplained(machine) for follower in self._followers)

    def told(self, machine: Testimony) -> str:
        """Each miss and how much of it the machine stood still, for people."""
        spans = [span for follower in self._followers for span in follower.spans]
        return "; ".join(
            f"away for {(end - start) / 1e6:.1f} ms, stood still {machine.held_up_ns(start, end) / 1e6:.1f} ms of it"
            for start, end in spans
        )


class _Follower:
    def __init__(self, board: Path) -> None:
        self._board = Feed(board, LOOP)
        record = self._record()
        self._last = record.ticks_missed if record else 0
        self._known = set(spans_from(record.recent_misses)) if record else set()
        self._seen: dict[Span, int] = {}
        self.missed = 0

    @property
    def spans(self) -> list[Span]:
        return sorted(self._seen)

    def look(self) -> None:
        record = self._record()
        if record is None:
            return
        restarted = record.ticks_missed < self._last
        self.missed += record.ticks_missed - (0 if restarted else self._last)
        self._last = record.ticks_missed
        for span in spans_from(record.recent_misses):
            if span not in self._known:
                self._seen[span] = record.tick_period_ns

    def unexplained(self, machine: Testimony) -> int:
        explained = sum(
            ticks_in(span, period_ns)
            for span, period_ns in self._seen.items()
            if is_explained(span, period_ns, machine)
        )
        return max(0, self.missed - explained)

    def _record(self) -> LoopRecord | None:
        self._board.news(time.monotonic_ns())
        return self._board.latest.record if self._board.latest else None


def ticks_in(span: Span, period_ns: int) -> int:
    """Deadlines that passed in a miss's span: all but the one that it begins with, and the one that it ends before."""
    return -(-(span[1] - span[0]) // period_ns) - 1


def is_explained(span: Span, period_ns: int, machine: Testimony) -> bool:
    """Whether the tick would have been done before the next one, had the machine not stood still."""
    start_ns, end_ns = span
    return end_ns - start_ns - machine.held_up_ns(start_ns, end_ns) < period_ns
