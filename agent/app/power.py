"""The power process: samples rails, governs, writes `power.board`. It never reaches the network.

Owns: wiring and pacing of that process, and its end. Must not know: how the governor decides.
"""

import logging
import math
import signal
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from agent.adapters.clock import MonotonicClock
from agent.adapters.jetson import Jetson
from agent.adapters.systemd import Notifier
from agent.app.power_mode import WishedMode
from agent.board.layout import bytes_from_text
from agent.board.records import POWER, POWER_BOARD, PowerRecord
from agent.board.seqlock import BoardWriter
from agent.config import AgentConfig, PowerSection
from agent.errors import KnobError, SensorError
from agent.ports import Clock
from agent.power.costs import KnobRange, knob_range
from agent.power.device import HeatSample, PowerDevice, PowerSample
from agent.power.energy import energy_before
from agent.power.envelope import Terms
from agent.power.governor import governed
from agent.power.limits import Limits
from agent.power.meters import DELAY_NS, OthersMeter, WorkMeter, seconds_ahead
from agent.power.modes import NO_CAP
from agent.power.module import ModulePower
from agent.power.progress import WorkersMeter
from agent.power.promise import Promise
from agent.power.state import GovernorState, Readings, moved, started

_LOG = logging.getLogger("roskva.power")
_S = 1_000_000_000
_HEAT_NS = _S // 2
_RETRY_NS = 5 * _S
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
    with ThreadPoolExecutor(1) as beside:
        loop = PowerLoop(Jetson(root, clock), config, directory, clock, beside)
        notifier.ready()
        period_ns = round(_S / config.power.sample_hz)
        deadline_ns = clock.mono_ns()
        while not stop.asked:
            loop.sample()
            notifier.watchdog()
            deadline_ns = max(deadline_ns + period_ns, clock.mono_ns())
            clock.sleep_until(deadline_ns)
        notifier.stopping()
        loop.close()
    return 0


class PowerLoop:
    """Call `sample` at the configured rate; each governs and writes the board. `beside` runs what may take a second."""

    def __init__(
        self, device: PowerDevice, config: AgentConfig, run_directory: Path, clock: Clock, beside: Executor
    ) -> None:
        self._device, self._config, self._clock = device, config, clock
        now = clock.mono_ns()
        board = run_directory / POWER_BOARD
        self._module = ModulePower(energy_before(board, now))
        self._board = BoardWriter(board, POWER)
        self._workers, self._work = WorkersMeter(run_directory), WorkMeter(now)
        self._limits, self._promise = Limits(run_directory, config.power.envelope_w), Promise(run_directory)
        self._limit = self._limits.limit(now)
        self._others = OthersMeter()
        self._heat, self._heat_ns = device.heat(), now
        self._mode = WishedMode(device, config.power.mode, run_directory, beside)
        self._clock_cap = _ClockCap(device, clock)
        self._over_current: int | None = None
        self._said = ""
        self._mode.settle(now)
        self._knobs = self._knobs_now()
        self._state: GovernorState = started(self._knobs, self._limit.watts, terms_of(config.power), now)

    def sample(self) -> None:
        """Read the sensors once, govern, and write the board."""
        power = self._device.power()
        now = self._clock.mono_ns()
        progress = self._workers.progress()
        self._module.add(power, now)
        self._work.add(now, progress)
        self._others.add(now, power.soc_w)
        if now - self._heat_ns >= _HEAT_NS:
            self._heat, self._heat_ns = self._device.heat(), now
        if self._mode.follow(now):
            self._knobs = self._knobs_now()
            self._state = moved(self._state, self._knobs, now)
        self._govern(now, power)

    def close(self) -> None:
        """Leave the cap where it is and the board to age: an ungoverned policy takes its frugal knobs."""
        self._board.close()
        self._limits.close()
        self._promise.close()
        self._mode.close()

    def _govern(self, now: int, power: PowerSample) -> None:
        self._limit = self._limits.limit(now)
        readings = self._readings(now)
        knobs = replace(self._knobs, plan_samples=self._promise.plan_samples(now))
        self._state = governed(self._state, readings, knobs)
        self._clock_cap.turn(self._state.setting.gpu_max_freq_hz, readings.gpu_max_freq_hz, now)
        self._publish(now, power)

    def _readings(self, now: int) -> Readings:
        module, work = self._module, self._work.work(now)
        return Readings(
            mono_ns=now,
            module_w=module.mean_w(),
            seconds=seconds_ahead(module.meters, self._work, now),
            is_seen=module.is_seen(),
            under_way_s=self._work.busy.under_way_s,
            latest_busy_s=self._work.busy.seconds(now - DELAY_NS),
            quiet_w=module.lesson_w() if self._work.is_quiet(now) else None,
            steady_w=module.steady_lesson_w(),
            decisions_per_s=work.decisions_per_s,
            latency_s=work.latency_s,
            idle=work.idle,
            hottest_c=self._heat.hottest_c,
            throttled=self._heat.throttled,
            gpu_max_freq_hz=self._clock_cap.now(),
            ordered_w=self._limit.watts,
            promised_p99_s=self._promise.p99_s(now),
            over_current=self._new_over_current(),
            others_w=self._others.watts,
            second_others_w=self._others.second_w(now),
            steady_others_w=self._others.steady_w(now),
            others_rise_w=self._others.rise_w(now),
        )

    def _new_over_current(self) -> int:
        """Events since the last turn; none where the counters cannot be read."""
        try:
            count = self._device.over_current_events()
        except SensorError:
            return 0
        before, self._over_current = self._over_current, count
        return 0 if before is None else max(0, count - before)

    def _publish(self, now: int, power: PowerSample) -> None:
        setting = self._knobs.hold() if self._mode.holds else self._state.setting
        record = PowerRecord(
            envelope_w=self._limit.watts,
            module_w=_or_nan(self._module.measured_mean_w()),
            gpu_w=_or_nan(power.gpu_w),
            soc_w=_or_nan(power.soc_w),
            hottest_c=_or_nan(self._heat.hottest_c),
            energy_j=self._module.meters.energy.energy_j,
            gpu_max_freq_hz=self._clock_cap.now() or 0,
            decision_rate_hz=0.0 if self._mode.holds else self._state.pace_hz,
            max_reasoning_tokens=setting.max_reasoning_tokens,
            flow_steps=setting.flow_steps,
            plan_samples=setting.plan_samples,
            held_until_ns=now + self._state.wait_ns if self._state.wait_ns else 0,
            power_mode=bytes_from_text(self._mode.name, _MODE_BYTES),
            sensors=bytes_from_text(self._sensors_text(power, self._heat), _SENSORS_BYTES),
        )
        self._board.write(record, now)

    def _sensors_text(self, power: PowerSample, heat: HeatSample) -> str:
        """`ok`, or what fails and what is assumed for it; said once in the log when it changes."""
        failing = (*power.failing, *heat.failing)
        parts = [f"failing: {' '.join(failing)}"] if failing else []
        parts += self._module.said
        parts += [part for part in (self._state.assumption, self._clock_cap.fault, self._mode.said) if part]
        said = "; ".join(parts) or "ok"
        if said != self._said:
            _LOG.log(logging.INFO if said == "ok" else logging.WARNING, "sensors: %s", said)
            self._said = said
        return said

    def _knobs_now(self) -> KnobRange:
        """What the mode allows; without a readable clock table the clock is no knob."""
        try:
            clocks = self._device.gpu_frequencies_hz()
        except SensorError as error:
            _LOG.warning("%s", error)
            clocks = ()
        if self._mode.cap_hz != NO_CAP:
            clocks = tuple(hz for hz in clocks if hz <= self._mode.cap_hz)
        return knob_range(self._config.control.decision_hz, clocks)


class _ClockCap:
    """The cap on the GPU's clock. A write that did not take is said, and tried again a while later."""

    def __init__(self, device: PowerDevice, clock: Clock) -> None:
        self._device, self._clock = device, clock
        self._refused_hz, self._refused_ns = 0, 0
        self.fault = ""

    def now(self) -> int | None:
        """The cap in force; None where it cannot be read."""
        try:
            return self._device.gpu_max_freq_hz()
        except SensorError:
            return None

    def turn(self, wanted_hz: int, actual_hz: int | None, mono_ns: int) -> None:
        """Write `wanted_hz`, unless it is in force, is no clock, or was refused just now."""
        if wanted_hz in {0, actual_hz}:
            self.fault, self._refused_hz = "", 0
            return
        if wanted_hz == self._refused_hz and mono_ns - self._refused_ns < _RETRY_NS:
            return
        try:
            self._device.set_gpu_max_freq_hz(wanted_hz)
            self.fault, self._refused_hz = "", 0
        except KnobError as error:
            self.fault = f"knob: {error}"
            self._refused_hz, self._refused_ns = wanted_hz, mono_ns


def terms_of(power: PowerSection) -> Terms:
    """What the configuration says of the supply."""
    return Terms(power.burst_w, power.up_w_per_s, power.down_w_per_s)


def _or_nan(figure: float | None) -> float:
    """What is unknown is no number: a 0 would pass for a cool device that takes nothing."""
    return math.nan if figure is None else figure
