"""Which chunk to ask for next, what to ask for again, and when to give up: the pure core of a fetch.

Owns: the window of requests in flight, their deadlines, retries with full jitter, the rate limit, the check of
each chunk's digest. Time is an argument, monotonic nanoseconds.
Must not know: how requests travel, where chunks are stored.
"""

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from models.digest import Digest, digest_of
from models.errors import DigestMismatchError, TransferError
from models.wire.messages import Refusal, RefusalCode

_BAD_MAX = 3
"""A chunk that came this often with other bytes than signed for ends the fetch: somebody lies."""
_REFUSALS_MAX = 4
_REMEMBERED_MAX = 1024
"""Requests whose late answer still counts; a depot that answers one a minute makes us ask for ever."""
_JITTER_BASE_S = 0.25
_JITTER_CAP_S = 15.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of one file: chunk `index` of file number `file`; `content` names the whole file."""

    file: int
    index: int
    offset_bytes: int
    length_bytes: int
    digest: Digest
    content: Digest


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Requests in flight, the deadline of each, the rate (0: none), and how long nothing may arrive."""

    window: int = 16
    timeout_ns: int = 5_000_000_000
    max_bytes_per_s: int = 0
    stall_ns: int = 60_000_000_000


class _Bucket:
    """A token bucket that holds one second's bytes, and starts empty but for one chunk."""

    def __init__(self, bytes_per_s: int, now_ns: int) -> None:
        self._rate, self._level, self._at_ns = bytes_per_s, 0.0, now_ns

    def wait_ns(self, now_ns: int) -> int:
        """Nanoseconds until there is something to spend."""
        self._fill(now_ns)
        return 0 if not self._rate or self._level >= 0 else int(-self._level / self._rate * 1e9) + 1

    def spend(self, size_bytes: int) -> None:
        """Spend, into debt where needed: a chunk larger than a second's bytes must pass too."""
        self._level -= size_bytes if self._rate else 0

    def _fill(self, now_ns: int) -> None:
        gained = (now_ns - self._at_ns) / 1e9 * self._rate
        self._level, self._at_ns = min(self._level + gained, float(self._rate)), now_ns


class FetchWindow:
    """The state of one fetch. Each chunk is missing, in flight, waiting for another try, or done."""

    def __init__(
        self, missing: Iterable[Chunk], limits: FetchLimits, draw: random.Random, now_ns: int
    ) -> None:
        self._missing = deque(missing)
        self._limits, self._draw = limits, draw
        self._bucket = _Bucket(limits.max_bytes_per_s, now_ns)
        self._asked: dict[str, Chunk] = {}
        self._flights: dict[Chunk, int] = {}
        self._waiting: dict[Chunk, int] = {}
        self._attempts: dict[Chunk, int] = {}
        self._bad: dict[Chunk, int] = {}
        self._refusals: dict[Chunk, int] = {}
        self._progress_ns = now_ns

    @property
    def done(self) -> bool:
        """Whether every chunk has arrived."""
        return not (self._missing or self._flights or self._waiting)

    @property
    def in_flight(self) -> int:
        """Requests whose answer is awaited."""
        return len(self._flights)

    @property
    def remembered(self) -> int:
        """Requests whose answer would still count, late ones included."""
        return len(self._asked)

    def take(self, now_ns: int) -> Chunk | None:
        """The next chunk to ask for, or None while the window is full, the rate is spent, or all is asked."""
        if len(self._flights) >= self._limits.window or self._bucket.wait_ns(now_ns):
            return None
        due = next((chunk for chunk, at_ns in self._waiting.items() if at_ns <= now_ns), None)
        if due is not None:
            del self._waiting[due]
            return due
        return self._missing.popleft() if self._missing else None

    def sent(self, request: str, chunk: Chunk, now_ns: int) -> None:
        """`chunk`, as taken, was asked for under this id."""
        self._asked[request] = chunk
        if len(self._asked) > _REMEMBERED_MAX:
            del self._asked[next(iter(self._asked))]
        self._flights[chunk] = now_ns + self._limits.timeout_ns
        self._bucket.spend(chunk.length_bytes)

    def unsent(self, chunk: Chunk) -> None:
        """`chunk`, as taken, could not be asked for; it is the next one again."""
        self._missing.appendleft(chunk)

    def arrived(self, request: str, content: bytes, now_ns: int) -> Chunk | None:
        """The chunk that `content` completes; None where it was not awaited, came twice or is not genuine.

        An answer after its deadline still counts. Raises `DigestMismatchError` at the third false answer.
        """
        chunk = self._asked.pop(request, None)
        if chunk is None or not self._awaited(chunk):
            return None
        if len(content) != chunk.length_bytes or digest_of(content) != chunk.digest:
            self._count_bad(chunk)
            self._again(chunk, now_ns)
            return None
        for place in (self._flights, self._waiting, self._attempts):
            place.pop(chunk, None)
        self._progress_ns = now_ns
        return chunk

    def refused(self, request: str, refusal: Refusal, now_ns: int) -> None:
        """The depot has no bytes for this request; where it is only busy it is asked again for as long as it takes."""
        chunk = self._asked.pop(request, None)
        if chunk is None or not self._awaited(chunk):
            return
        if refusal.code is not RefusalCode.BUSY:
            self._refusals[chunk] = self._refusals.get(chunk, 0) + 1
            if self._refusals[chunk] >= _REFUSALS_MAX:
                raise TransferError(
                    f"the depot refuses {chunk.content}: {refusal.code} {refusal.detail[:120]}"
                )
        self._again(chunk, now_ns)

    def expire(self, now_ns: int) -> None:
        """Take requests past their deadline out of flight. Raises `TransferError` where nothing has arrived for long."""
        if now_ns - self._progress_ns > self._limits.stall_ns:
            raise TransferError(f"nothing has arrived for {self._limits.stall_ns / 1e9:.0f} s")
        for chunk in [chunk for chunk, deadline_ns in self._flights.items() if deadline_ns <= now_ns]:
            self._again(chunk, now_ns)

    def wait_ns(self, now_ns: int) -> int:
        """How long nothing but an answer can change anything."""
        moments = [*self._flights.values()]
        if len(self._flights) < self._limits.window:
            moments += self._waiting.values()
            if self._missing or self._waiting:
                moments.append(now_ns + max(self._bucket.wait_ns(now_ns), 1_000_000))
        return max(0, min(moments, default=now_ns) - now_ns)

    def _awaited(self, chunk: Chunk) -> bool:
        return chunk in self._flights or chunk in self._waiting

    def _again(self, chunk: Chunk, now_ns: int) -> None:
        """Ask again after a pause with full jitter."""
        attempt = self._attempts[chunk] = self._attempts.get(chunk, 0) + 1
        self._flights.pop(chunk, None)
        bound_s = min(_JITTER_CAP_S, _JITTER_BASE_S * 2.0 ** min(attempt, 10))
        self._waiting[chunk] = now_ns + int(self._draw.uniform(0, bound_s) * 1e9)

    def _count_bad(self, chunk: Chunk) -> None:
        self._bad[chunk] = self._bad.get(chunk, 0) + 1
        if self._bad[chunk] >= _BAD_MAX:
            raise DigestMismatchError(
                f"chunk {chunk.index} of {chunk.content} came {_BAD_MAX} times with other bytes than were signed for"
            )
