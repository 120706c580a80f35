"""Pacing: absolute deadlines, whole periods skipped, and what the deadlines really were.

Owns: the next deadline, the count of missed ticks, the histograms of lateness and period.
Must not know: what a tick does.
"""

from array import array
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from agent.ports import Clock

_SUB_BITS = 3
_SUBS = 1 << _SUB_BITS
_BUCKETS = 40 * _SUBS
"""Up to 2^42 ns, over an hour; each bucket is at most an eighth of its value wide."""
_SPREAD = (0.5, 0.99, 0.999)


class Spread(NamedTuple):
    """Quantiles of some durations, and the longest."""

    p50_ns: int = 0
    p99_ns: int = 0
    p999_ns: int = 0
    max_ns: int = 0


class Histogram:
    """Durations in nanoseconds, in buckets made once; adding one allocates nothing that stays."""

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * _BUCKETS))
        self.total = 0
        self.max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration; below zero counts as zero."""
        duration_ns = max(duration_ns, 0)
        self._counts[_bucket(duration_ns)] += 1
        self.total += 1
        if duration_ns > self.max_ns:
            self.max_ns = duration_ns

    def quantiles(self, shares: Sequence[float]) -> tuple[int, ...]:
        """For each share (ascending, 0..1) the upper edge of the bucket that holds it, never above the maximum."""
        found: list[int] = []
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            while count and len(found) < len(shares) and seen >= shares[len(found)] * self.total:
                found.append(min(_upper_ns(bucket), self.max_ns))
        return (*found, *[self.max_ns] * (len(shares) - len(found)))

    @property
    def spread(self) -> Spread:
        """Zeros where nothing was added."""
        p50_ns, p99_ns, p999_ns = self.quantiles(_SPREAD)
        return Spread(p50_ns, p99_ns, p999_ns, self.max_ns)


def _bucket(duration_ns: int) -> int:
    shift = max(duration_ns.bit_length() - _SUB_BITS - 1, 0)
    return min(shift * _SUBS + (duration_ns >> shift), _BUCKETS - 1)


def _upper_ns(bucket: int) -> int:
    if bucket < 2 * _SUBS:
        return bucket
    shift = bucket // _SUBS - 1
    return ((bucket - shift * _SUBS + 1) << shift) - 1


class Wake(NamedTuple):
    """One wake-up: the deadline, how long after it, and how many whole periods were skipped before it."""

    deadline_ns: int
    lateness_ns: int
    missed: int


class Miss(NamedTuple):
    """When the loop was away: it was due at `due_ns`, and at `back_ns` at least one later deadline had passed."""

    due_ns: int
    back_ns: int


MISSES_KEPT = 8


class Pacer:
    """Deadlines `period_ns` apart, from the first `wait` on. A tick that runs over loses whole periods, never phase.

    Where a loop goes on for another, whose last tick was at `last_ns` and which had `missed` some, the deadlines since are
    this one's too, and those that passed meanwhile are missed.
    """

    def __init__(self, clock: Clock, period_ns: int, last_ns: int | None = None, missed: int = 0) -> None:
        self._clock, self.period_ns = clock, period_ns
        self._next_ns = None if last_ns is None else last_ns + period_ns
        self._woke_ns: int | None = None
        self.missed = missed
        self.misses: deque[Miss] = deque(maxlen=MISSES_KEPT)
        self.lateness, self.period = Histogram(), Histogram()

    def wait(self) -> Wake:
        """Sleep until the next deadline that has not passed."""
        now_ns = self._clock.mono_ns()
        next_ns = self._next_ns or now_ns + self.period_ns
        late_ns = now_ns - next_ns
        missed = -(-late_ns // self.period_ns) if late_ns > 0 else 0
        if missed:
            self.misses.append(Miss(next_ns - self.period_ns, now_ns))
        deadline_ns = next_ns + missed * self.period_ns
        self._clock.sleep_until(deadline_ns)
        woke_ns = self._clock.mono_ns()
        self.lateness.add(woke_ns - deadline_ns)
        if self._woke_ns is not None:
            self.period.add(woke_ns - self._woke_ns)
        self.missed += missed
        self._woke_ns, self._next_ns = woke_ns, deadline_ns + self.period_ns
        return Wake(deadline_ns, woke_ns - deadline_ns, missed)
