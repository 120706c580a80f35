"""Things that happened once, on their way to the spool.

Owns: a bounded queue that any thread may put events into, and the flood limit: of events of one kind, a few
each second are kept and the rest is counted in the next one kept.
Must not know: who reports, batches, the spool.
"""

import threading
from collections import deque

from agent.ports import Clock
from models.wire.messages import EventRecord

_QUEUE_MAX = 512
_PER_SECOND = 4
_DETAIL_MAX = 500


class EventLog:
    """Thread-safe; the newest events are dropped where nobody drains it, and counted."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._events: deque[EventRecord] = deque()
        self._spent: dict[str, tuple[int, int, int]] = {}
        self.dropped = 0

    def record(self, kind: str, detail: str = "", release_digest: str = "") -> None:
        """Something happened. `kind` is stable; `detail` is for people and is cut at 500 characters."""
        with self._lock:
            silenced = self._allow(kind)
            if silenced is None or len(self._events) >= _QUEUE_MAX:
                self.dropped += 1
                return
            said = f"{detail[:_DETAIL_MAX]} ({silenced} more of these were dropped)" if silenced else detail
            self._events.append(EventRecord(self._clock.utc_ns(), kind, release_digest, said[:_DETAIL_MAX]))

    def drain(self, limit: int = 64) -> tuple[EventRecord, ...]:
        """Take up to `limit` events, oldest first."""
        with self._lock:
            return tuple(self._events.popleft() for _ in range(min(limit, len(self._events))))

    def _allow(self, kind: str) -> int | None:
        """None where this kind floods; otherwise how many were silenced before this one."""
        second = self._clock.mono_ns() // 1_000_000_000
        then, count, silenced = self._spent.get(kind, (second, 0, 0))
        if then != second:
            then, count = second, 0
        if count >= _PER_SECOND:
            self._spent[kind] = (then, count, silenced + 1)
            return None
        self._spent[kind] = (then, count + 1, 0)
        return silenced
