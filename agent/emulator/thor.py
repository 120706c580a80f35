"""One emulated Thor: decisions in, power and heat out, and the files that say so. Its watts and degrees are emulated.

Owns: the closed loop from clocks to stages, to power, to heat, to cooling and back to clocks; when each is looked at.
Must not know: who decides, or what drives time, which is an argument everywhere.

Power is integrated from edge to edge. Every 50 ms the power mode, the faults and what others take are looked at, the
clock cap then and whenever the GPU's time is taken, for as long as it is. Every 100 ms, at times of their own, the power
monitors have a new mean and heat moves. Without a root there are no files: the mode is fixed, only `cap_hz` moves the clock,
and others are looked at every 100 ms.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.emulator.faults import Fault, FaultsInForce, ReadOnlyCap
from agent.emulator.heat import AMBIENT_C, Heat, warmed
from agent.emulator.modes import ModeInForce
from agent.emulator.physics import Chip, Decision, Rails, Stage, cpu_rails, gpu_rails, idle_rails, part_of
from agent.emulator.profile import (
    GPU_MAX_HZ,
    GPU_MIN_HZ,
    Profile,
    gpu_frequencies_hz,
)
from agent.emulator.sensors import Sensors
from agent.emulator.truth import PowerTrace

_S = 1_000_000_000
TICK_NS = _S // 20
MEAN_NS = _S // 10
"""ASSUMED: the power monitors average over 0.1 s."""
IDLE_W = (23.0, 29.0)
"""Published range of idle modules; each seed has its own."""
OVER_CURRENT_W, _OVER_CURRENT_NS = 100.0, 20_000_000
"""Event OC3: VDD_GPU above about 5 A at 19.9 V (published), for 20 ms (ASSUMED)."""
_SLOWED_NS, _SLOWED_RATIO = 50_000_000, 0.5
"""ASSUMED: what such an event does to the GPU's clock, and for how long."""
_BURST_EVERY_NS, _BURST_W = 2 * _S, 110.0
_COARSE_CLOCKS = 20
"""Under the fault of rounding the driver takes only every so many of the clocks that it lists."""


class Background(NamedTuple):
    """What others than the policy take, on the rails of the cores and of the GPU."""

    cpu_w: float = 0.0
    gpu_w: float = 0.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """A decision in time: its stages, one after the other from `start_ns` on."""

    start_ns: int
    end_ns: int
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Activity:
    """What was decided in a span of time; `cpu_busy` is the share of all cores that it kept, 0 to 1."""

    pulses: tuple[Pulse, ...] = ()
    cpu_busy: float = 0.0


class _Span(NamedTuple):
    from_ns: int
    until_ns: int
    stage: Stage


_NOBODY = Background()


def _nothing(_: int) -> Background:
    return _NOBODY


class EmulatedThor:
    """Let time pass with `advance`; the files below `root` follow.

    `background_w` says what others take from a time on; it is asked every 50 ms, or every 100 without a root. `ambient_c` may
    be set at any time, and so may `cap_hz` where there is no file for it. `trace` is the exact power of the module in W,
    `own_trace` that without what others take. `mode` is for a Thor without a root; a tree says its own.
    """

    def __init__(
        self,
        root: Path | None,
        seed: int,
        *,
        profile: Profile | None = None,
        mode: int | None = None,
        start_ns: int = 0,
        ambient_c: float = AMBIENT_C,
        background_w: Callable[[int], Background] = _nothing,
        keep_trace: bool = True,
    ) -> None:
        self.ambient_c, self._background_w = ambient_c, background_w
        self._rng = np.random.default_rng([seed, 23])
        self._idle_w = float(self._rng.uniform(*IDLE_W))
        self._mode = ModeInForce(root, profile, mode)
        self._faults = FaultsInForce(root)
        self._read_only = ReadOnlyCap(root) if root else None
        self._sensors = Sensors(root, self._rng) if root else None
        self.cap_hz = min(self._mode.gpu_max_hz, GPU_MAX_HZ)
        self.trace: PowerTrace | None = PowerTrace() if keep_trace else None
        self.own_trace: PowerTrace | None = PowerTrace() if keep_trace else None
        self.heat = Heat()
        self.over_current_events = 0
        self._every_ns = TICK_NS if root else MEAN_NS
        self._now_ns = self._tick_ns = self._start_ns = start_ns
        self._mean_from_ns = start_ns
        self._mean_ns = start_ns + int(self._rng.integers(MEAN_NS // 100, MEAN_NS))
        self._free_ns = self._slowed_until_ns = start_ns
        self._spans: deque[_Span] = deque()
        self._cpu_busy = 0.0
        self._over_ns = self._busy_ns = 0
        self._taken = [0.0, 0.0, 0.0, 0.0]
        self._clocks = (0, 0, 0)
        self._settle()

    @property
    def now_ns(self) -> int:
        """Until when time has passed."""
        return self._now_ns

    @property
    def free_ns(self) -> int:
        """From when on the GPU has nothing to decide."""
        return self._free_ns

    @property
    def rails(self) -> Rails:
        """What is taken now."""
        now_ns = self._now_ns
        span = next((span for span in self._spans if span.until_ns > now_ns), None)
        busy = span is not None and span.from_ns <= now_ns and not self.off
        return self._base.plus(span.stage.rails) if span is not None and busy else self._base

    @property
    def off(self) -> bool:
        """Whether it was critically hot; it takes nothing and decides nothing from then on."""
        return self.heat.critical

    @property
    def throttled(self) -> bool:
        """Whether heat lowers the GPU's clock."""
        return self.heat.gpu_state > 0

    def chip(self, at_ns: int) -> Chip:
        """The clocks that a decision begins with at `at_ns`."""
        if at_ns >= self._slowed_until_ns:
            return self._chip
        return replace(self._chip, gpu_hz=max(round(self._chip.gpu_hz * _SLOWED_RATIO), GPU_MIN_HZ))

    def place(
        self, decision: Decision, at_ns: int, most_s: float = math.inf
    ) -> tuple[Pulse, Decision | None]:
        """Take the GPU's time for `decision`, at `at_ns` or when it is free, `most_s` of it at most.

        Hand the pulse to `advance`; what is left of the decision is None for nothing.
        """
        self._obey()
        start_ns = max(at_ns, self._free_ns)
        stages, left = part_of(decision, self.chip(start_ns), most_s)
        end_ns = start_ns + sum(round(stage.duration_s * _S) for stage in stages)
        self._free_ns = end_ns
        return Pulse(start_ns, end_ns, stages), left

    def advance(self, until_ns: int, activity: Activity = Activity()) -> None:
        """Let time pass until `until_ns`, with the pulses that begin before it."""
        self._obey()
        self._take(activity)
        while self._now_ns < until_ns:
            if self._now_ns >= self._tick_ns:
                self._tick()
            self._integrate(min(until_ns, self._tick_ns, self._mean_ns))
            if self._now_ns >= self._mean_ns:
                self._measure()

    def _take(self, activity: Activity) -> None:
        for pulse in sorted(activity.pulses, key=lambda pulse: pulse.start_ns):
            at_ns = pulse.start_ns
            for stage in pulse.stages:
                end_ns = at_ns + round(stage.duration_s * _S)
                self._spans.append(_Span(at_ns, end_ns, stage))
                at_ns = end_ns
        if activity.cpu_busy != self._cpu_busy:
            self._cpu_busy = activity.cpu_busy
            self._settle()

    def _integrate(self, until_ns: int) -> None:
        """From edge to edge; power is constant between two."""
        now_ns, spans = self._now_ns, self._spans
        while now_ns < until_ns:
            while spans and spans[0].until_ns <= now_ns:
                spans.popleft()
            if spans and spans[0].from_ns <= now_ns and not self.heat.critical:
                edge_ns = min(until_ns, spans[0].until_ns)
                self._spend(now_ns, edge_ns, spans[0].stage)
            else:
                edge_ns = min(until_ns, spans[0].from_ns) if spans and spans[0].from_ns > now_ns else until_ns
                self._spend(now_ns, edge_ns, None)
            now_ns = edge_ns
        self._now_ns = now_ns

    def _spend(self, from_ns: int, until_ns: int, stage: Stage | None) -> None:
        base, dt_ns, taken = self._base, until_ns - from_ns, self._taken
        gpu_w, module_w = base.gpu_w, base.module_w
        if stage is not None:
            gpu_w, module_w = gpu_w + stage.rails.gpu_w, module_w + stage.rails.module_w
            taken[1] += dt_ns * stage.rails.soc_w
            taken[2] += dt_ns * stage.rails.system_w
            self._busy_ns += dt_ns if stage.on_gpu else 0
        taken[0] += dt_ns * gpu_w
        taken[1] += dt_ns * base.soc_w
        taken[2] += dt_ns * base.system_w
        taken[3] += dt_ns * module_w
        if self.trace is not None and self.own_trace is not None:
            self.trace.add(from_ns, until_ns, module_w)
            self.own_trace.add(from_ns, until_ns, module_w - self._others_w)
        self._protect(gpu_w, until_ns, dt_ns)

    def _protect(self, gpu_w: float, until_ns: int, dt_ns: int) -> None:
        """Count over-current events; each slows the GPU's next decisions for a moment."""
        if gpu_w <= OVER_CURRENT_W:
            self._over_ns = 0
            return
        events, self._over_ns = divmod(self._over_ns + dt_ns, _OVER_CURRENT_NS)
        if events:
            self.over_current_events += events
            self._slowed_until_ns = until_ns + _SLOWED_NS

    def _tick(self) -> None:
        """What anyone asked for meanwhile."""
        self._tick_ns += self._every_ns
        self._faults.look()
        if self._read_only is not None:
            self._read_only.hold(Fault.READ_ONLY_SYSFS in self._faults)
        self._mode.look()
        self._take_cap()
        self._settle()

    def _obey(self) -> None:
        """Take a cap that was written since the last look."""
        before_hz = self.cap_hz
        self._take_cap()
        if self.cap_hz != before_hz:
            self._settle()

    def _take_cap(self) -> None:
        """Obey `max_freq`, rounded down to what the driver takes without a word, as the real one does."""
        coarse = Fault.FREQUENCY_ROUNDING in self._faults
        asked = self._sensors.gpu_max_hz() if self._sensors is not None else self.cap_hz
        if asked is None or (asked == self.cap_hz and not coarse):
            return
        table = gpu_frequencies_hz()[:: _COARSE_CLOCKS if coarse else 1]
        self.cap_hz = max((hz for hz in table if hz <= asked), default=GPU_MIN_HZ)
        if self._sensors is not None and self.cap_hz != asked:
            self._sensors.round_gpu_max(self.cap_hz)

    def _settle(self) -> None:
        """What is so until the next tick: clocks, and power without decisions."""
        table = gpu_frequencies_hz()
        hz = min(self.cap_hz, self._mode.gpu_max_hz, table[len(table) - 1 - self.heat.gpu_state])
        clocks = (max(hz, GPU_MIN_HZ), self._mode.cpu_khz, self._mode.tpcs)
        if clocks != self._clocks:
            self._clocks = clocks
            self._chip = Chip(gpu_hz=clocks[0], cpu_khz=clocks[1], tpcs=clocks[2], idle_w=self._idle_w)
        if self.heat.critical:
            self._base, self._others_w = Rails(), 0.0
            return
        self._base = idle_rails(self._chip, self.heat.temperatures, self._cpu_busy)
        others = self._others()
        self._others_w = 0.0
        if others != _NOBODY:
            theirs = cpu_rails(others.cpu_w).plus(gpu_rails(others.gpu_w))
            self._base, self._others_w = self._base.plus(theirs), theirs.module_w

    def _others(self) -> Background:
        others = self._background_w(self._now_ns)
        if Fault.OVER_CURRENT_BURSTS in self._faults:
            into_ns = (self._now_ns - self._start_ns) % _BURST_EVERY_NS
            burst_w = self._faults.value(Fault.OVER_CURRENT_BURSTS, _BURST_W) if into_ns < TICK_NS else 0.0
            return others._replace(gpu_w=others.gpu_w + burst_w)
        return others

    def _measure(self) -> None:
        """The monitors' new means, heat under them, and the files."""
        span_ns = self._mean_ns - self._mean_from_ns
        mean = Rails(*(joules / span_ns for joules in self._taken))
        fan_works = Fault.FAN_FAILURE not in self._faults
        ambient_c = self._faults.value(Fault.HOT_AMBIENT, self.ambient_c)
        self.heat = warmed(self.heat, mean, ambient_c, span_ns / _S, fan_works=fan_works)
        if self._sensors is not None:
            self._sensors.write_rails(mean, self.over_current_events)
            self._sensors.write_heat(self.heat, fan_works=fan_works)
            busy = self._busy_ns / span_ns
            self._sensors.write_clocks(self._chip, gpu_busy=busy, cpu_busy=self._cpu_busy)
        self._taken = [0.0, 0.0, 0.0, 0.0]
        self._busy_ns = 0
        self._mean_from_ns, self._mean_ns = self._mean_ns, self._mean_ns + MEAN_NS
