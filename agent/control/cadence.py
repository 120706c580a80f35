"""When a worker's next decision is due, by when the observations of the last ones were made.

Owns: the pace of decisions. Must not know: clocks, boards, who decides, whether decisions are allowed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cadence:
    """The next observation is due at `due_ns`, 0 for at once; the last one was made at `decided_ns`."""

    due_ns: int = 0
    decided_ns: int = 0

    def earliest_ns(self, period_ns: int) -> int:
        """From when on an observation is decided on: a tenth of the period is their jitter, not earliness. What is late is
        caught up, but never by two in a row: the governor looks at what one of them took before it lets the next begin."""
        earliest_ns = self.due_ns - period_ns // 10
        return max(earliest_ns, self.decided_ns + period_ns * 6 // 10) if self.due_ns else earliest_ns

    def after(self, observation_ns: int, period_ns: int) -> "Cadence":
        """The cadence once an observation of `observation_ns` is decided on. It keeps its phase where that is late by less than
        a period: so the rate is held in the mean, whatever the cameras' is."""
        in_phase = self.due_ns and observation_ns - self.due_ns < period_ns
        return Cadence((self.due_ns if in_phase else observation_ns) + period_ns, observation_ns)
