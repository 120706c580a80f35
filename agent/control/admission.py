"""Latency admission: whether a candidate is as fast as its release promises, before it may drive.

Owns: how many decisions in shadow are looked at, and how many of them may take longer than promised.
Must not know: workers, clocks, what follows from a refusal.

A release promises that 99 decisions of 100 take at most `decision_p99_ms`. Where that is just true, the number of longer ones
among n is binomial(n, 0.01), and P(3 or more of 19) = 1 - 0.99¹⁹ - 19·0.01·0.99¹⁸ - C(19, 2)·0.01²·0.99¹⁷ = 8.6·10⁻⁴: the
third longer one refuses the candidate. Eight without a longer one are enough, which ends most admissions sooner and can only
lower the chance to refuse wrongly. One whose every second decision is too long passes in 1 of 240 cases, one whose every
decision is in none; what is seldom too long is seen in the trial, which goes on counting.
"""

from dataclasses import dataclass
from enum import Enum, auto

from models.runtime.policy import Knobs

LEAST, MOST = 8, 19
LONGER_MAX = 2
_WAIT_NS = 90_000_000_000
_WAIT_DECISIONS = MOST + 1


class Standing(Enum):
    """How the admission stands."""

    OPEN = auto()
    ADMITTED = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Admission:
    """What was seen at `knobs`: of `decisions`, so many took `longer` than `promised_ns`."""

    promised_ns: int
    knobs: Knobs | None = None
    decisions: int = 0
    longer: int = 0

    def after(self, latency_ns: int, knobs: Knobs) -> "Admission":
        """With one more decision; at other knobs than before, the first one."""
        seen = (self.decisions, self.longer) if knobs == self.knobs else (0, 0)
        return Admission(self.promised_ns, knobs, seen[0] + 1, seen[1] + (latency_ns > self.promised_ns))

    @property
    def standing(self) -> Standing:
        """Refused at the third longer one; admitted after 8 without any, or 19 with two at most."""
        if self.longer > LONGER_MAX:
            return Standing.REFUSED
        enough = MOST if self.longer else LEAST
        return Standing.ADMITTED if self.decisions >= enough else Standing.OPEN

    @property
    def patience_ns(self) -> int:
        """How long may be waited for the decisions: 90 s, and what twenty are promised to take."""
        return _WAIT_NS + _WAIT_DECISIONS * self.promised_ns

    def __str__(self) -> str:
        return f"{self.longer} of {self.decisions} decisions took longer than the promised {self.promised_ns / 1e6:g} ms"
