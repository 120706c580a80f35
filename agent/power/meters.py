"""What is measured between two turns of the governor: means, joules, decisions, all over the same time.

Owns: the windows of these figures and how counts become rates. Must not know: files, boards, knobs; times are arguments.
"""

from collections import deque
from typing import NamedTuple

from agent.power.envelope import WINDOW_NS, EnergyMeter, RollingMean
from agent.power.progress import Progress
from agent.power.state import AHEAD_S, STEADY_NS

_IDLE_NS = 3_000_000_000
_IDLE_DECISIONS = 5
"""Nothing is decided where for so long, and for so many times a decision's length, none was."""


class Work(NamedTuple):
    """Decisions a second and mean seconds of one over the steady time, None where too little was seen, and idleness. Where
    none ended in that time the seconds are the last one's."""

    decisions_per_s: float | None
    latency_s: float | None
    idle: bool


class PowerMeters:
    """Figures of module power. Where it isn't known there is none to add, and the means end with the time unseen."""

    def __init__(self, energy_j: float = 0.0) -> None:
        self.energy = EnergyMeter(energy_j)
        self._second = RollingMean()
        self._steady = RollingMean(STEADY_NS)

    def add(self, mono_ns: int, module_w: float) -> None:
        """Take a sample, the mean since the one before."""
        self._second.add(mono_ns, module_w)
        self._steady.add(mono_ns, module_w)
        self.energy.add(mono_ns, module_w)

    def mean_w(self, mono_ns: int) -> float | None:
        """The 1 s mean."""
        return self._second.mean(mono_ns)

    def steady_w(self, mono_ns: int) -> float | None:
        """The mean over the steady time; None where not all of it was seen."""
        energy_j = self._steady.energy_j(mono_ns - STEADY_NS, mono_ns)
        return None if energy_j is None else energy_j * 1e9 / STEADY_NS

    def past_j(self, mono_ns: int) -> tuple[float, ...]:
        """Joules of what the seconds that end `AHEAD_S` from now have behind them; empty where not all was seen."""
        since = (mono_ns - WINDOW_NS + round(ahead_s * 1e9) for ahead_s in AHEAD_S)
        found = [self._second.energy_j(since_ns, mono_ns) for since_ns in since]
        return tuple(joules for joules in found if joules is not None) if None not in found else ()


class WorkMeter:
    """What the policy workers did."""

    def __init__(self, mono_ns: int) -> None:
        self._began_ns = self._decided_ns = mono_ns
        self._steps: deque[tuple[int, Progress]] = deque()
        self._latency_s = 0.0

    def add(self, mono_ns: int, progress: Progress) -> None:
        """Count what was done since the call before."""
        if progress.decisions > 0:
            self._decided_ns = mono_ns
            self._latency_s = progress.busy_ns / progress.decisions / 1e9
        self._steps.append((mono_ns, progress))
        while self._steps[0][0] <= mono_ns - STEADY_NS:
            self._steps.popleft()

    def past(self, mono_ns: int) -> tuple[int, ...]:
        """Decisions that ended in what the seconds that end `AHEAD_S` from now have behind them."""
        since = (mono_ns - WINDOW_NS + round(ahead_s * 1e9) for ahead_s in AHEAD_S)
        return tuple(
            sum(progress.decisions for at_ns, progress in self._steps if at_ns > since_ns)
            for since_ns in since
        )

    def work(self, mono_ns: int) -> Work:
        """The figures at `mono_ns`."""
        decisions = sum(progress.decisions for _, progress in self._steps)
        busy_ns = sum(progress.busy_ns for _, progress in self._steps)
        seen = mono_ns - self._began_ns >= STEADY_NS
        silent_ns = mono_ns - self._decided_ns
        return Work(
            decisions * 1e9 / STEADY_NS if seen else None,
            busy_ns / decisions / 1e9 if decisions else self._latency_s or None,
            silent_ns >= max(_IDLE_NS, _IDLE_DECISIONS * self._latency_s * 1e9),
        )
