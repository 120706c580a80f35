"""A drive of an emulated Thor in emulated time: governed by the real power process's loop, or in a fixed power mode.

Owns: stepping the parts together, and what is measured of a drive: the exact truth, never what the governor saw.
Must not know: which drives are compared.
"""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.adapters.jetson import Jetson
from agent.app.power import PowerLoop
from agent.board.layout import text_from
from agent.board.records import (
    ENVELOPE,
    LOCAL_ENVELOPE_BOARD,
    POWER,
    POWER_BOARD,
    EnvelopeRecord,
    PowerRecord,
)
from agent.board.seqlock import BoardReader, BoardWriter
from agent.config import AgentConfig, ControlSection, DeviceSection, PowerSection
from agent.emulator.faults import clear, inject
from agent.emulator.nvpmodel import main as nvpmodel
from agent.emulator.profile import Profile
from agent.emulator.pulses import Pace, StagedPolicy
from agent.emulator.stepped import AtOnce, SteppedClock
from agent.emulator.thor import Activity, Background, EmulatedThor
from agent.emulator.tree import create_tree
from agent.emulator.truth import PowerTrace
from agent.power.envelope import Terms
from bench.power_script import FaultSpan, Order, Script, burst_w_for

_S = 1_000_000_000
_STEP_NS = _S // 10
_WANTED_HZ = 10.0
_MAXN = "0"
_SETTLED_S = 1.5
"""Once the ramp has reached a lower envelope, the mean over a second needs one more."""
TOLERATED = 1.02


@dataclass(frozen=True, slots=True)
class Driven:
    """What a drive was: module power's largest 1 s mean over the limit of its time, ramps while nobody else's load moved,
    decisions, joules. `said_after_s`: from the first fault until the governor's board named anything, None where never."""

    over_envelope: float
    up_w_per_s: float
    down_w_per_s: float
    decisions_per_s: float
    joules_per_decision: float
    hold_s: float
    throttled_s: float
    hottest_c: float
    said_after_s: float | None
    clock_mhz: float

    @property
    def is_inside(self) -> bool:
        """Whether it stayed inside, by the tolerance of the promise."""
        return self.over_envelope <= TOLERATED


def governed(envelope_w: float, profile: Profile, script: Script, seed: int) -> Driven:
    """Drive it with the governor, in the mode without caps."""
    with tempfile.TemporaryDirectory(dir=_memory()) as directory:
        drive = _GovernedDrive(Path(directory), envelope_w, profile, script, seed)
        return drive.driven()


def fixed(
    envelope_w: float, profile: Profile, script: Script, seed: int, *, mode: int, rate_hz: float = _WANTED_HZ
) -> Driven:
    """Drive it in a power mode of the vendor's, at a fixed rate of decisions, with nobody governing."""
    thor = EmulatedThor(None, seed, profile=profile, mode=mode, background_w=script.background)
    policy = StagedPolicy(None, thor, seed, pace=Pace(wanted_hz=rate_hz))
    tally = _Tally()
    for now_ns in range(_STEP_NS, round(script.seconds * _S) + 1, _STEP_NS):
        thor.ambient_c = script.ambient_c(now_ns / _S)
        thor.advance(now_ns, Activity(policy.advance(now_ns)))
        tally.look(thor)
    return tally.driven(thor, policy, script, envelope_w, 0)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class _Tally:
    """What is counted as the drive goes on."""

    def __init__(self) -> None:
        self.hottest_c, self.steps, self.throttled, self.held = 0.0, 0, 0, 0
        self.clock_hz, self.said_ns = 0, 0

    def look(self, thor: EmulatedThor, power: PowerRecord | None = None) -> None:
        self.steps += 1
        self.hottest_c = max(self.hottest_c, thor.heat.temperatures.hottest_c)
        self.throttled += thor.throttled
        self.clock_hz += thor.chip(thor.now_ns).gpu_hz
        self.held += power is not None and power.decision_rate_hz == 0

    def driven(
        self, thor: EmulatedThor, policy: StagedPolicy, script: Script, envelope_w: float, start_ns: int
    ) -> Driven:
        trace = thor.trace or PowerTrace()
        up_w, down_w = ramps(trace, script, start_ns)
        decisions, step_s = policy.count.decisions, _STEP_NS / _S
        fault_s = min((span.from_s for span in script.faults), default=0.0)
        return Driven(
            over_envelope=over_envelope(trace, script, envelope_w, start_ns),
            up_w_per_s=up_w,
            down_w_per_s=down_w,
            decisions_per_s=decisions / script.seconds,
            joules_per_decision=trace.energy_j / max(decisions, 1),
            hold_s=self.held * step_s,
            throttled_s=self.throttled * step_s,
            hottest_c=self.hottest_c,
            said_after_s=self.said_ns / _S - fault_s if self.said_ns else None,
            clock_mhz=self.clock_hz / self.steps / 1e6,
        )


class _GovernedDrive:
    """The real sensors' adapter and the real loop over an emulated tree, stepped together."""

    def __init__(self, root: Path, envelope_w: float, profile: Profile, script: Script, seed: int) -> None:
        create_tree(root, profile, seed)
        nvpmodel([str(root), "-m", _MAXN])
        run = root / "run/roskva"
        run.mkdir(parents=True)
        self._root, self._envelope_w, self._script = root, envelope_w, script
        self.clock = SteppedClock(_S)
        self._thor = EmulatedThor(root, seed, start_ns=_S, background_w=self._background)
        self._policy = StagedPolicy(run, self._thor, seed, pace=Pace(wanted_hz=_WANTED_HZ))
        self._loop = PowerLoop(Jetson(root, self.clock), _config(envelope_w), run, self.clock, AtOnce())
        self._power = BoardReader(run / POWER_BOARD, POWER)
        self._local = BoardWriter(run / LOCAL_ENVELOPE_BOARD, ENVELOPE)

    def driven(self) -> Driven:
        """Drive all of it."""
        tally, todo = _Tally(), sorted(_happenings(self._script), key=lambda happening: happening[0])
        for step in range(1, round(self._script.seconds * _S / _STEP_NS) + 1):
            now_ns = step * _STEP_NS
            while todo and todo[0][0] <= now_ns / _S:
                self._happen(todo.pop(0)[1])
            self._thor.ambient_c = self._script.ambient_c(now_ns / _S)
            self.clock.step(_STEP_NS)
            at_ns = self.clock.mono_ns()
            self._thor.advance(at_ns, Activity(self._policy.advance(at_ns)))
            self._loop.sample()
            self._look(tally, now_ns)
        for close in (self._loop.close, self._policy.close, self._power.close, self._local.close):
            close()
        return tally.driven(self._thor, self._policy, self._script, self._envelope_w, _S)

    def _look(self, tally: _Tally, now_ns: int) -> None:
        stamped = self._power.read()
        power = stamped.record if stamped else None
        tally.look(self._thor, power)
        first_s = min((span.from_s for span in self._script.faults), default=0.0)
        if power and not tally.said_ns and now_ns / _S > first_s and text_from(power.sensors) != "ok":
            tally.said_ns = now_ns

    def _happen(self, what: FaultSpan | Order | tuple[FaultSpan, bool]) -> None:
        if isinstance(what, Order):
            watts = float("nan") if what.watts is None else what.watts
            self._local.write(EnvelopeRecord(watts, 0), self.clock.mono_ns())
        elif isinstance(what, FaultSpan):
            inject(self._root, what.fault, sensor=what.sensor)
        else:
            clear(self._root, what[0].fault)

    def _background(self, now_ns: int) -> Background:
        return self._script.background(now_ns - _S)


def _happenings(script: Script) -> Iterator[tuple[float, FaultSpan | Order | tuple[FaultSpan, bool]]]:
    for order in script.orders:
        yield order.at_s, order
    for span in script.faults:
        yield span.from_s, span
        yield span.until_s, (span, False)


def over_envelope(trace: PowerTrace, script: Script, envelope_w: float, start_ns: int) -> float:
    """The largest mean over a second, over the limit of its time; seconds in which a lower one was being reached are judged by
    the limit before. Between two extremes means change linearly, so that those at a change of the limit are exact too."""
    means = trace.means()
    if not means.watts.size:
        return 0.0
    worst, since_ns, limit_w = 0.0, int(means.until_ns[0]), envelope_w
    for at_s, watts in (*_limits(script, envelope_w), (script.seconds + 1.0, envelope_w)):
        until_ns = start_ns + round(at_s * _S)
        inside = (means.until_ns >= since_ns) & (means.until_ns <= until_ns)
        ends = np.interp([since_ns, until_ns], means.until_ns, means.watts)
        worst = max(worst, float(means.watts[inside].max(initial=0.0)) / limit_w, float(ends.max()) / limit_w)
        since_ns, limit_w = until_ns, watts
    return worst


def _limits(script: Script, envelope_w: float) -> list[tuple[float, float]]:
    """From when on which limit counts: a lower one once it had time to be reached."""
    due = [
        (order.at_s, envelope_w)
        if order.watts is None
        else (order.at_s + followed_s(envelope_w - order.watts), order.watts)
        for order in script.orders
    ]
    following_s = (*(order.at_s for order in script.orders[1:]), math.inf)
    return [(at_s, watts) for (at_s, watts), until_s in zip(due, following_s, strict=False) if at_s < until_s]


def followed_s(lowered_w: float) -> float:
    """How long after an order that lowers the envelope by so much a mean over a second is inside."""
    return lowered_w / Terms().down_w_per_s + _SETTLED_S


def ramps(trace: PowerTrace, script: Script, start_ns: int) -> tuple[float, float]:
    """The largest rise and fall from one second's mean to the next one's, where nobody else's load moved in either."""
    means = trace.means()
    up_w = down_w = 0.0
    for since_s, until_s in script.quiet_s():
        inside = (means.until_ns >= start_ns + (since_s + 2.0) * _S) & (
            means.until_ns <= start_ns + until_s * _S
        )
        until_ns = means.until_ns[inside]
        if until_ns.size:
            before = np.interp(until_ns - _S, means.until_ns, means.watts)
            change = means.watts[inside] - before
            up_w, down_w = max(up_w, float(change.max())), max(down_w, float(-change.min()))
    return up_w, down_w


def _config(envelope_w: float) -> AgentConfig:
    power = PowerSection(envelope_w=envelope_w, burst_w=burst_w_for(envelope_w))
    return AgentConfig(
        device=DeviceSection(id="bench", fleet="bench"),
        power=power,
        control=ControlSection(decision_hz=_WANTED_HZ),
    )
