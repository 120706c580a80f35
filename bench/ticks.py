"""The follower's ticks as it recorded them: how late each began, and which were missed.

Owns: reading them off the ring, beside whoever else reads it or alone, and what the kernel granted them. Must not know: what they are compared with.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agent.board.feed import Feed
from agent.board.layout import text_from
from agent.board.records import APPLIED, AppliedRecord, LoopRecord
from agent.board.ring import RingReader

_MANY = 10_000


def realtime_in(loop: Feed[LoopRecord]) -> str:
    """What the kernel granted the loop, by its board; `none` where it has not spoken."""
    return text_from(loop.latest.record.realtime) if loop.latest else "none"


@dataclass
class Ticks:
    """The ticks of the follower whose ring is at `path`, from now on. `look` at least once a minute."""

    path: Path
    frees: bool = False
    """Whether nobody else reads the ring, so that its room has to be freed here."""
    seen: list[AppliedRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = RingReader(self.path)
        self.restart()

    def restart(self) -> None:
        """Forget what was so far."""
        self.look()
        self.seen.clear()

    def look(self) -> None:
        """Take what came since the look before; whoever else frees the ring's room goes on as if nobody looked."""
        self.seen += [AppliedRecord(*APPLIED.packer.unpack(raw)) for _, raw in self._reader.take(_MANY)]
        if self.frees:
            self._reader.release(self._reader.taken)

    @property
    def count(self) -> int:
        """How many were recorded."""
        return len(self.seen)

    @property
    def without_plan(self) -> int:
        """Those that followed nobody's plan: the loop stopped the vehicle, or held it."""
        return sum(tick.decision == 0 for tick in self.seen)

    def late_us(self, share: float) -> float:
        """The lateness that `share` (0 to 1) of the ticks did not exceed."""
        late_ns = [tick.mono_ns - tick.due_ns for tick in self.seen]
        return float(np.quantile(late_ns, share, method="inverted_cdf")) / 1e3

    def missed(self, period_ns: int) -> int:
        """Deadlines between the first tick and the last that no tick was for."""
        if not self.seen:
            return 0
        first, last = self.seen[0], self.seen[-1]
        return round((last.due_ns - first.due_ns) / period_ns) - (last.tick - first.tick)

    @property
    def unrecorded(self) -> int:
        """Ticks that there were, but no room to record them: whoever frees the ring's room came too late."""
        return self.seen[-1].tick - self.seen[0].tick + 1 - len(self.seen) if self.seen else 0

    def phase_us(self, period_us: int) -> int:
        """Where in a period, counted from CLOCK_MONOTONIC's zero, the latest tick was due."""
        return self.seen[-1].due_ns // 1000 % period_us

    def close(self) -> None:
        """Unmap the ring."""
        self._reader.close()
