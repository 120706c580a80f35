"""The follower's ticks as it recorded them: how late each began, and which were missed.

Owns: reading them off the ring, beside whoever else reads it or alone. Must not know: what they are compared with.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agent.board.records import APPLIED, AppliedRecord
from agent.board.ring import RingReader

_MANY = 10_000


@dataclass
class Ticks:
    """The ticks of the follower whose ring is at `path`, from now on. `look` at least once a minute."""

    path: Path
    frees: bool = False
    """Whether nobody else reads the ring, so that its room has to be freed here."""
    seen: list[tuple[int, int, int]] = field(default_factory=list)
    """The number of each, when it was due, and when it began."""
    without_plan: int = 0
    """Those that followed nobody's plan: the loop stopped the vehicle, or held it."""

    def __post_init__(self) -> None:
        self._reader = RingReader(self.path)
        self.restart()

    def restart(self) -> None:
        """Forget what was so far."""
        self.look()
        self.seen.clear()
        self.without_plan = 0

    def look(self) -> None:
        """Take what came since the look before; whoever else frees the ring's room goes on as if nobody looked."""
        for _, raw in self._reader.take(_MANY):
            tick = AppliedRecord(*APPLIED.packer.unpack(raw))
            self.seen.append((tick.tick, tick.due_ns, tick.mono_ns))
            self.without_plan += tick.decision == 0
        if self.frees:
            self._reader.release(self._reader.taken)

    @property
    def count(self) -> int:
        """How many were recorded."""
        return len(self.seen)

    def late_us(self, share: float) -> float:
        """The lateness that `share` (0 to 1) of the ticks did not exceed."""
        late_ns = [began - due for _, due, began in self.seen]
        return float(np.quantile(late_ns, share, method="inverted_cdf")) / 1e3

    def missed(self, period_ns: int) -> int:
        """Deadlines between the first tick and the last that no tick was for."""
        if not self.seen:
            return 0
        (first, first_due_ns, _), (last, last_due_ns, _) = self.seen[0], self.seen[-1]
        return round((last_due_ns - first_due_ns) / period_ns) - (last - first)

    @property
    def unrecorded(self) -> int:
        """Ticks that there were, but no room to record them: whoever frees the ring's room came too late."""
        return self.seen[-1][0] - self.seen[0][0] + 1 - len(self.seen) if self.seen else 0

    def phase_us(self, period_us: int) -> int:
        """Where in a period, counted from CLOCK_MONOTONIC's zero, the latest tick was due."""
        return self.seen[-1][1] // 1000 % period_us

    def close(self) -> None:
        """Unmap the ring."""
        self._reader.close()
