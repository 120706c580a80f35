"""How soon a release that was refused may be fetched again: the pure core.

Owns: the pause after each refusal, and when it ends early. Whoever is at the broker can offer as often as he
likes; what is wrong with signed bytes does not change by asking, so only another order or time lifts the pause.
Must not know: why it was refused, clocks; monotonic times are arguments.
"""

from dataclasses import dataclass

_PAUSE_NS = 600 * 1_000_000_000
_PAUSE_MAX_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Refused:
    """The order that was refused last, how often in a row, and until when it is not fetched again."""

    order: str
    times: int
    until_ns: int


def refused(past: Refused | None, order: str, now_ns: int) -> Refused:
    """`order` was fetched and refused: ten minutes of peace, twice as long each time, a day at most."""
    times = past.times + 1 if past is not None and past.order == order else 1
    pause_ns = min(_PAUSE_MAX_NS, _PAUSE_NS << min(times - 1, 16))
    return Refused(order, times, now_ns + pause_ns)


def still_ordered(past: Refused | None, order: str | None) -> Refused | None:
    """What is left of `past` when the Director orders `order` (None: nothing new): another order lifts it."""
    return past if past is not None and past.order == order else None


def may_fetch(past: Refused | None, order: str, now_ns: int) -> bool:
    """Whether `order` may be fetched now."""
    return past is None or past.order != order or now_ns >= past.until_ns
