"""The power process: samples rails, governs, writes `power.board`. It never reaches the network.

Owns: wiring and pacing of that process, and its end. Must not know: how the governor decides.
"""

import logging
import math
import signal
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.adapters.clock import MonotonicClock
from agent.adapters.jetson import Jetson
from agent.adapters.systemd import Notifier
from agent.board.layout import bytes_from_text
from agent.board.records import POWER, POWER_BOARD, PowerRecord
from agent.board.seqlock import BoardWriter
from agent.config import AgentConfig
from agent.errors import KnobError, SensorError
from agent.ports import Clock
from agent.power.device import HeatSample, PowerDevice, PowerSample
from agent.power.energy import energy_before
from agent.power.envelope import EnergyMeter, RollingMean
from agent.power.governor import GovernorState, Ladder, Readings, governed, ladder_for
from agent.power.limits import Limits
from agent.power.modes import NO_CAP
from agent.power.progress import WorkersMeter

_LOG = logging.getLogger("roskva.power")
_GOVERN_HZ = 5.0
_RECENT_NS = 300_000_000
_RATE_NS = 3_000_000_000
_MODE_NS = 60_000_000_000
_SENSORS_BYTES, _MODE_BYTES = 96, 16


@dataclass(slots=True)
class _Stop:
    """Set by a signal, read once a sample."""

    asked: bool = False

    def ask(self, *_: object) -> None:
        self.asked = True


def run(root: Path, config: AgentConfig) -> int:
    """Govern the device below `root` until SIGTERM or SIGINT; returns the exit status."""
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop.ask)
    signal.signal(signal.SIGINT, stop.ask)
    clock, notifier = MonotonicClock(), Notifier()
    directory = root / config.paths.run
    directory.mkdir(parents=True, exist_ok=True)
    loop = PowerLoop(Jetson(root, clock), config, directory, clock)
    notifier.ready()
    period_ns = round(1e9 / config.power.sample_hz)
    deadline_ns = clock.mono_ns()
    while not stop.asked:
        loop.sample()
        notifier.watchdog()
        deadline_ns = max(deadline_ns + period_ns, clock.mono_ns())
        clock.sleep_until(deadline_ns)
    notifier.stopping()
    loop.close()
    return 0


class DecisionRate:
    """Decisions a second over the last three seconds."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, int]] = deque()

    def add(self, mono_ns: int, decisions: int) -> None:
        """Count `decisions` as done now."""
        self._steps.append((mono_ns, decisions))
        while self._steps[0][0] <= mono_ns - _RATE_NS:
            self._steps.popleft()

    def per_s(self, mono_ns: int) -> float | None:
        """The rate; None until two seconds were seen."""
        if not self._steps or mono_ns - self._steps[0][0] < _RATE_NS * 2 // 3:
            return None
        counted = sum(decisions for _, decisions in list(self._steps)[1:])
        return counted * 1e9 / (mono_ns - self._steps[0][0])


@dataclass(slots=True)
class _Meters:
    """What is measured between two turns of the governor."""

    mean: RollingMean = field(default_factory=RollingMean)
    recent: RollingMean = field(default_factory=lambda: RollingMean(_RECENT_NS))
    energy: EnergyMeter = field(default_factory=EnergyMeter)
    rate: DecisionRate = field(default_factory=DecisionRate)
    over_current: int | None = None


class PowerLoop:
    """Call `sample` at the configured rate; every 0.2 s it governs and writes the board."""

    def __init__(self, device: PowerDevice, config: AgentConfig, run_directory: Path, clock: Clock) -> None:
        self._device, self._config, self._clock = device, config, clock
        self._board = BoardWriter(run_directory / POWER_BOARD, POWER)
        self._workers = WorkersMeter(run_directory)
        self._limits = Limits(run_directory, config.power.envelope_w)
        self._meters = _Meters()
        self._meters.energy.energy_j = energy_before(run_directory / POWER_BOARD, clock.mono_ns())
        self._governed_ns = self._mode_asked_ns = 0
        self._mode_name, self._mode_cap_hz = "unknown", NO_CAP
        self._knob_fault, self._said = "", ""
        self._ask_mode()
        self._ladder = self._ladder_now()
        self._limit = self._limits.limit(clock.mono_ns())
        self._state: GovernorState = self._ladder.start(self._limit.watts, clock.mono_ns())

    def sample(self) -> None:
        """Read the rails once; govern where it is time."""
        power = self._device.power()
        now = self._clock.mono_ns()
        if power.module_w is not None:
            self._meters.mean.add(now, power.module_w)
            self._meters.recent.add(now, power.module_w)
            self._meters.energy.add(now, power.module_w)
        self._meters.rate.add(now, self._workers.progress().decisions)
        if now - self._governed_ns >= 1e9 / _GOVERN_HZ - 1e7:
            self._governed_ns = now
            self._govern(now, power)

    def close(self) -> None:
        """Leave the cap where it is and the board to age: an ungoverned policy takes its frugal knobs."""
        self._board.close()
        self._limits.close()

    def _govern(self, now: int, power: PowerSample) -> None:
        heat = self._device.heat()
        if now - self._mode_asked_ns > _MODE_NS:
            self._follow_mode(now)
        readings = self._readings(now, power, heat)
        self._limit = self._limits.limit(now)
        allowed = replace(self._state.envelope, limit_w=self._limit.watts)
        self._state = governed(replace(self._state, envelope=allowed), readings, self._ladder)
        wanted_hz = self._ladder.settings[self._state.rung].gpu_max_freq_hz
        self._turn_clock(wanted_hz, readings.gpu_max_freq_hz)
        self._publish(now, readings, power, heat)

    def _readings(self, now: int, power: PowerSample, heat: HeatSample) -> Readings:
        meters = self._meters
        blind = power.module_w is None
        return Readings(
            mono_ns=now,
            module_w=None if blind else meters.mean.mean(now),
            recent_w=None if blind else meters.recent.mean(now),
            decisions_per_s=meters.rate.per_s(now),
            hottest_c=heat.hottest_c,
            gpu_max_freq_hz=self._clock_cap(),
            over_current=self._over_current(),
        )

    def _clock_cap(self) -> int | None:
        try:
            return self._device.gpu_max_freq_hz()
        except SensorError:
            return None

    def _over_current(self) -> int:
        """Events since the last turn; none where the counters cannot be read."""
        try:
            count = self._device.over_current_events()
        except SensorError:
            return 0
        before, self._meters.over_current = self._meters.over_current, count
        return 0 if before is None else max(0, count - before)

    def _turn_clock(self, wanted_hz: int, actual_hz: int | None) -> None:
        if wanted_hz in {0, actual_hz}:
            self._knob_fault = ""
            return
        try:
            self._device.set_gpu_max_freq_hz(wanted_hz)
            self._knob_fault = ""
        except KnobError as error:
            self._knob_fault = f"knob: {error}"

    def _publish(self, now: int, readings: Readings, power: PowerSample, heat: HeatSample) -> None:
        setting = self._ladder.settings[self._state.rung]
        said = self._sensors_text(power, heat)
        record = PowerRecord(
            envelope_w=self._limit.watts,
            module_w=_or_nan(readings.module_w),
            gpu_w=_or_nan(power.gpu_w),
            soc_w=_or_nan(power.soc_w),
            hottest_c=_or_nan(heat.hottest_c),
            energy_j=self._meters.energy.energy_j,
            gpu_max_freq_hz=self._clock_cap() or 0,
            decision_rate_hz=setting.decision_rate_hz,
            max_reasoning_tokens=setting.max_reasoning_tokens,
            flow_steps=setting.flow_steps,
            power_mode=bytes_from_text(self._mode_name, _MODE_BYTES),
            sensors=bytes_from_text(said, _SENSORS_BYTES),
        )
        self._board.write(record, now)

    def _sensors_text(self, power: PowerSample, heat: HeatSample) -> str:
        """`ok`, or what fails and what is assumed for it; said once in the log when it changes."""
        failing = (*power.failing, *heat.failing)
        parts = [f"failing: {' '.join(failing)}"] if failing else []
        parts += [part for part in (self._state.assumption, self._knob_fault) if part]
        said = "; ".join(parts) or "ok"
        if said != self._said:
            _LOG.log(logging.INFO if said == "ok" else logging.WARNING, "sensors: %s", said)
            self._said = said
        return said

    def _follow_mode(self, now: int) -> None:
        """Ask for the power mode again, and where it changed start over on its ladder."""
        before = self._mode_name
        self._ask_mode()
        if self._mode_name != before:
            self._ladder = self._ladder_now()
            self._state = self._ladder.start(self._limit.watts, now)

    def _ask_mode(self) -> None:
        """Ask for the mode in force; where nobody answers, the one known before stands, with its cap."""
        self._mode_asked_ns = self._clock.mono_ns()
        try:
            mode = self._device.power_modes().numbered(self._device.power_mode())
            self._mode_name, self._mode_cap_hz = mode.name, mode.gpu_max_hz
        except SensorError as error:
            _LOG.warning("power mode: %s", error)

    def _ladder_now(self) -> Ladder:
        """The ladder that the mode allows; without a readable clock table the clock is no knob."""
        try:
            clocks = self._device.gpu_frequencies_hz()
        except SensorError as error:
            _LOG.warning("%s", error)
            clocks = ()
        if self._mode_cap_hz != NO_CAP:
            clocks = tuple(hz for hz in clocks if hz <= self._mode_cap_hz)
        return ladder_for(self._config.control.decision_hz, clocks)


def _or_nan(figure: float | None) -> float:
    """What is unknown is no number: a 0 would pass for a cool device that takes nothing."""
    return math.nan if figure is None else figure
