"""What is measured between two turns of the governor: means, joules, decisions, all over the same time.

Owns: the windows of these figures and how counts become rates. Must not know: files, boards, knobs; times are arguments.
"""

import math
from collections import deque
from typing import NamedTuple

from agent.power.busy import BusyTime
from agent.power.envelope import WINDOW_NS, EnergyMeter, RollingMean
from agent.power.progress import Progress
from agent.power.rails import OF_MODULE
from agent.power.state import STEADY_NS, Second

_IDLE_NS = 3_000_000_000
_IDLE_DECISIONS = 5
"""Nothing is decided where for so long, and for so many times a decision's length, none was."""
DELAY_NS = 100_000_000
_SAMPLE_NS = 210_000_000
"""Monitors average over a tenth of a second, and are read a tenth later at most."""
_RISEN_S, _FALLEN_S = 60.0, 5.0
"""The usual of a rail follows what rises slowly, as others come and go, and what falls soon."""
_RIPPLE_W, _STEP_W = 3.0, 4.0
"""What decisions themselves do to the rail, twice of which is others' for certain, and from where on a rise is others' step."""


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
        self._inferred_ns = -STEADY_NS

    def add(self, mono_ns: int, module_w: float) -> None:
        """Take a sample, the mean since the one before."""
        self._second.add(mono_ns, module_w)
        self._steady.add(mono_ns, module_w)
        self.energy.add(mono_ns, module_w)

    def infer(self, mono_ns: int, module_w: float) -> None:
        """Take what stands in for a sample: seconds hold it, nothing is learned from it, and no energy is counted."""
        self._second.add(mono_ns, module_w)
        self._steady.add(mono_ns, module_w)
        self._inferred_ns = mono_ns

    def mean_w(self, mono_ns: int) -> float | None:
        """The 1 s mean."""
        return self._second.mean(mono_ns)

    def steady_w(self, mono_ns: int) -> float | None:
        """The mean over the steady time; None where not all of it was measured."""
        if mono_ns - self._inferred_ns < STEADY_NS:
            return None
        energy_j = self._steady.energy_j(mono_ns - STEADY_NS, mono_ns)
        return None if energy_j is None else energy_j * 1e9 / STEADY_NS

    def is_seen(self, mono_ns: int) -> bool:
        """Whether the last second was."""
        return self._second.energy_j(mono_ns - WINDOW_NS, mono_ns) is not None

    def taken_j(self, since_ns: int, mono_ns: int) -> float | None:
        """Joules from then until now; None where not all of it was seen."""
        return self._steady.energy_j(since_ns, mono_ns)


class WorkMeter:
    """What the policy workers did."""

    def __init__(self, mono_ns: int) -> None:
        self._began_ns = self._decided_ns = mono_ns
        self._steps: deque[tuple[int, Progress]] = deque()
        self._latency_s = 0.0
        self.busy = BusyTime(mono_ns)

    def add(self, mono_ns: int, progress: Progress) -> None:
        """Count what was done since the call before."""
        if progress.decisions > 0:
            self._decided_ns = mono_ns
            self._latency_s = progress.busy_ns / progress.decisions / 1e9
        self._steps.append((mono_ns, progress))
        while self._steps[0][0] <= mono_ns - STEADY_NS:
            self._steps.popleft()
        self.busy.add(mono_ns, progress)

    def ended(self, since_ns: int) -> int:
        """Decisions that ended since then, and those under way."""
        return (
            sum(progress.decisions for at_ns, progress in self._steps if at_ns > since_ns)
            + self.busy.under_way
        )

    def is_quiet(self, mono_ns: int) -> bool:
        """Whether nothing was decided in all that the newest sample may speak of."""
        return self.busy.seconds(mono_ns - _SAMPLE_NS) == 0

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


class OthersMeter:
    """What other programs take, by the rail of the processor cores: what it has beyond its usual."""

    def __init__(self) -> None:
        self._usual_w: float | None = None
        self._last_ns = 0
        self._seen_w = 0.0
        self._second, self._steady = RollingMean(), RollingMean(STEADY_NS)
        self._two_seconds = RollingMean(2 * WINDOW_NS)
        self.watts = 0.0
        """Now; a step is taken for twice of what the first sample shows of it, which is a mean of before and after."""

    def add(self, mono_ns: int, soc_w: float | None) -> None:
        """Take a sample of the rail; None where it cannot be read."""
        dt_s, self._last_ns = (mono_ns - self._last_ns) / 1e9, mono_ns
        before_w, self._seen_w = self._seen_w, self._beyond_usual_w(soc_w, dt_s)
        risen_w = self._seen_w - before_w
        self.watts = self._seen_w + (risen_w if risen_w >= _STEP_W else 0.0)
        self._second.add(mono_ns, self._seen_w)
        self._steady.add(mono_ns, self._seen_w)
        self._two_seconds.add(mono_ns, self._seen_w)

    def _beyond_usual_w(self, soc_w: float | None, dt_s: float) -> float:
        if soc_w is None or not math.isfinite(soc_w):
            return 0.0
        usual_w = soc_w if self._usual_w is None else self._usual_w
        slow_s = _RISEN_S if soc_w > usual_w else _FALLEN_S
        self._usual_w = soc_w + (usual_w - soc_w) * math.exp(-dt_s / slow_s)
        beyond_w = soc_w - self._usual_w
        return OF_MODULE * min(max(beyond_w, 0.0), max(0.0, 2 * (beyond_w - _RIPPLE_W)))

    def second_w(self, mono_ns: int) -> float:
        """The mean over a second."""
        return self._second.mean(mono_ns) or 0.0

    def rise_w(self, mono_ns: int) -> float:
        """How much more it was in the last second than in the one before."""
        return 2 * (self.second_w(mono_ns) - (self._two_seconds.mean(mono_ns) or 0.0))

    def steady_w(self, mono_ns: int) -> float:
        """The mean over the steady time."""
        return self._steady.mean(mono_ns) or 0.0


def seconds_ahead(power: PowerMeters, work: WorkMeter, mono_ns: int) -> tuple[Second, ...]:
    """The seconds that what begins soon has to fit in: each tenth, and where one ends just before a decision would leave it."""
    tenths = (mono_ns - WINDOW_NS + tenth * WINDOW_NS // 10 for tenth in range(1, 10))
    found = []
    for since_ns in sorted({*tenths, *work.busy.beginnings(mono_ns - WINDOW_NS)}):
        past_j = power.taken_j(since_ns, mono_ns)
        two_j = power.taken_j(since_ns - WINDOW_NS, mono_ns)
        delayed_j = power.taken_j(min(since_ns + DELAY_NS, mono_ns), mono_ns) or 0.0
        before_j = two_j - past_j if two_j is not None and past_j is not None else None
        ahead_s = (since_ns + WINDOW_NS - mono_ns) / 1e9
        found.append(
            Second(
                ahead_s, past_j or 0.0, work.busy.seconds(since_ns), work.ended(since_ns), delayed_j, before_j
            )
        )
    return tuple(found)
