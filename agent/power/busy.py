"""When the policy workers were deciding, to the nanosecond, as far as they say.

Owns: the spans of their decisions, the one under way among them. Must not know: watts, boards; times are arguments.
"""

from collections import deque
from typing import NamedTuple

from agent.power.progress import Progress, Turn

_KEPT_NS = 2_000_000_000
_HUNG_NS, _HUNG_LATENCIES = 2_000_000_000, 3


class _Span(NamedTuple):
    """Of its time, `share` was spent on decisions."""

    from_ns: int
    until_ns: int
    share: float


class BusyTime:
    """Both workers' decisions, of the last two seconds."""

    def __init__(self, mono_ns: int) -> None:
        self._spans: deque[_Span] = deque()
        self._under_way: tuple[_Span, ...] = ()
        self._looked_ns = mono_ns

    def add(self, mono_ns: int, progress: Progress) -> None:
        """Take where the workers are."""
        for turn in progress.turns:
            self._spans.extend(_spans(turn, self._looked_ns))
        self._under_way = tuple(
            _Span(turn.since_ns, mono_ns, 1.0) for turn in progress.turns if _is_under_way(turn, mono_ns)
        )
        self._looked_ns = mono_ns
        while self._spans and self._spans[0].until_ns <= mono_ns - _KEPT_NS:
            self._spans.popleft()

    def seconds(self, since_ns: int) -> float:
        """Spent on decisions from then until the latest look, both workers' counted."""
        spans = (*self._spans, *self._under_way)
        return sum(max(0, span.until_ns - max(span.from_ns, since_ns)) * span.share for span in spans) / 1e9

    def beginnings(self, since_ns: int) -> list[int]:
        """When the decisions began that began since then."""
        spans = (*self._spans, *self._under_way)
        return [span.from_ns for span in spans if span.from_ns > since_ns]

    @property
    def under_way(self) -> int:
        """How many decisions are under way."""
        return len(self._under_way)

    @property
    def under_way_s(self) -> float:
        """For how long the one that is under way longest has been."""
        return max((span.until_ns - span.from_ns for span in self._under_way), default=0) / 1e9


def _is_under_way(turn: Turn, mono_ns: int) -> bool:
    """A worker that was killed while it decided says so until another one takes its place."""
    longest_ns = _HUNG_NS + _HUNG_LATENCIES * max(0, turn.latency_ns)
    return 0 < turn.since_ns < mono_ns < turn.since_ns + longest_ns


def _spans(turn: Turn, looked_ns: int) -> list[_Span]:
    """The latest decision as it was; several since the last look, of which only that one is known, as if evenly before it."""
    if turn.decisions <= 0:
        return []
    began_ns = turn.decided_ns - max(0, turn.latency_ns)
    others_ns = turn.busy_ns - turn.latency_ns
    spans = [_Span(began_ns, turn.decided_ns, 1.0)]
    if turn.decisions > 1 and others_ns > 0 and began_ns > looked_ns:
        spans.insert(0, _Span(looked_ns, began_ns, min(1.0, others_ns / (began_ns - looked_ns))))
    return spans
