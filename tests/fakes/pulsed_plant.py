"""A device that works in pulses, of another hand than the emulated Thor, and the governor that holds it.

Owns: what such a device takes in every 10 ms, what its sensors say of it, how its policy obeys the knobs, and the largest
1 s mean that really was. Power stands still within a step, so that the largest mean is found exactly, over whole steps.
"""

import random
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from agent.power.costs import KnobSetting, knob_range
from agent.power.envelope import Terms
from agent.power.governor import governed
from agent.power.meters import DELAY_NS, PowerMeters, WorkMeter, seconds_ahead
from agent.power.progress import Progress, Turn
from agent.power.state import GovernorState, Readings, started

CLOCKS_HZ = tuple(range(315_000_000, 1_575_000_001, 45_000_000))
STEP_NS, SAMPLE_STEPS, SECOND_STEPS = 10_000_000, 10, 100
_FRAME_STEPS = 10
_FLOW_STEPS = 4


@dataclass(frozen=True, slots=True)
class PulsedPolicy:
    """A decision sees, thinks and moves: seeing slows down with the clock and takes fewer watts then, the rest waits for
    memory and takes the same at any clock. How much it thinks is random."""

    seeing_s: float = 0.045
    seeing_w: float = 125.0
    thinking_w: float = 78.0
    token_s: float = 0.0045
    flow_s: float = 0.0047
    tokens: float = 5.0
    spread: float = 0.9
    most_tokens: int = 48
    plan_samples: int = 1

    def decision(self, setting: KnobSetting, chance: random.Random) -> list[tuple[int, float]]:
        """Its stages: how many steps, and watts above idle."""
        clock = setting.gpu_max_freq_hz / CLOCKS_HZ[-1]
        tokens = max(1.0, self.tokens * chance.lognormvariate(0, self.spread))
        tokens = min(setting.max_reasoning_tokens, self.most_tokens, tokens)
        samples = min(setting.plan_samples, self.plan_samples)
        thinking_s = tokens * self.token_s + samples * min(setting.flow_steps, _FLOW_STEPS) * self.flow_s
        seeing_w = self.seeing_w * (0.08 + 0.92 * clock**1.3)
        return [
            (_steps(self.seeing_s * (0.1 + 0.9 / clock)), seeing_w),
            (_steps(thinking_s), self.thinking_w),
        ]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a device has to do with: idle watts, others' load that comes and goes in steps of up to `others_w`, spells in
    which module power cannot be read, and how many steps after a sample a frame comes."""

    idle_w: float = 26.0
    others_w: float = 0.0
    blind: bool = False
    frame_lag: int = 3
    policy: PulsedPolicy = PulsedPolicy()
    seed: int = 1


class PulsedPlant:
    """Call `drive`; the figures are of all that was driven."""

    def __init__(self, limit_w: float, terms: Terms, around: Surroundings, decision_hz: float = 10.0) -> None:
        self.ordered_w = limit_w
        self.states: list[GovernorState] = []
        self._around, self._chance = around, random.Random(around.seed)
        self._knobs = replace(knob_range(decision_hz, CLOCKS_HZ), plan_samples=around.policy.plan_samples)
        self.state = started(self._knobs, limit_w, terms, 0)
        self._meters, self._work = PowerMeters(), WorkMeter(0)
        self._watts = np.zeros(0)
        self._step = 0
        self._free_step, self._due_ns, self._seen_ns = 0, 0, -1
        self._held_until_ns, self._scarce_ns = 0, -SECOND_STEPS * STEP_NS
        self._ended: deque[tuple[int, int]] = deque()
        self._latest = (0, 0)
        self.decided_ns: list[int] = []

    def drive(self, seconds: int) -> None:
        """Drive on."""
        steps = seconds * SECOND_STEPS
        fresh = np.full(steps + SECOND_STEPS, self._around.idle_w)
        overhang = self._watts[self._step :]
        fresh[: len(overhang)] = overhang
        for begin, end in self._spells(steps, (0.3, 8.0), 16.0):
            fresh[begin:end] += self._around.others_w * self._chance.uniform(0.3, 1.0)
        blind = {step for spell in self._blind_spells(steps) for step in range(*spell)}
        self._watts = np.concatenate([self._watts[: self._step], fresh])
        for step in range(1, steps + 1):
            self._work_on()
            self._step += 1
            if self._step % SAMPLE_STEPS == 0:
                self._sample(blind=step in blind)

    def mean_w(self, seconds: int) -> float:
        """The mean over the last `seconds`."""
        return float(self._watts[: self._step][-seconds * SECOND_STEPS :].mean())

    def max_mean_w(self, seconds: int = 0) -> float:
        """The largest mean over any second of the last `seconds`, 0 for all."""
        watts = self._watts[: self._step][-seconds * SECOND_STEPS :]
        joules: npt.NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(watts)])
        return float((joules[SECOND_STEPS:] - joules[:-SECOND_STEPS]).max()) / SECOND_STEPS

    def _blind_spells(self, steps: int) -> list[tuple[int, int]]:
        return self._spells(steps, (0.5, 6.0), 12.0) if self._around.blind else []

    def _spells(self, steps: int, lengths_s: tuple[float, float], pause_s: float) -> list[tuple[int, int]]:
        """Times from when until when something is: none at first, and never two at once."""
        spells, step = [], SECOND_STEPS * 5
        while (step := step + _steps(self._chance.expovariate(1 / pause_s))) < steps:
            end = step + _steps(self._chance.uniform(*lengths_s))
            spells.append((step, min(end, steps)))
            step = end
        return spells

    def _work_on(self) -> None:
        """Begin a decision on the latest frame, where the knobs allow one; paced as a policy worker paces itself."""
        setting, now_ns = self.state.setting, self._step * STEP_NS
        frame = (self._step - self._around.frame_lag) // _FRAME_STEPS * _FRAME_STEPS + self._around.frame_lag
        seen_ns = frame * STEP_NS
        if self._step < self._free_step or now_ns < self._held_until_ns or seen_ns <= self._seen_ns:
            return
        spent = self.decided_ns and self.decided_ns[-1] >= self._step // SAMPLE_STEPS * SAMPLE_STEPS * STEP_NS
        if spent and now_ns - self._scarce_ns < SECOND_STEPS * STEP_NS:
            return
        if setting.decision_rate_hz <= 0:
            return
        period_ns = round(1e9 / self.state.pace_hz)
        if seen_ns < max(self._due_ns - period_ns // 10, self._seen_ns + period_ns * 6 // 10):
            return
        in_phase = self._due_ns and seen_ns - self._due_ns < period_ns
        self._due_ns = (self._due_ns if in_phase else seen_ns) + period_ns
        self._seen_ns = seen_ns
        self._decide(setting)

    def _decide(self, setting: KnobSetting) -> None:
        self.decided_ns.append(self._step * STEP_NS)
        self._free_step = self._step
        for steps, watts in self._around.policy.decision(setting, self._chance):
            self._watts[self._free_step : self._free_step + steps] += watts
            self._free_step += steps
        self._ended.append((self._free_step, self._free_step - self._step))

    def _sample(self, *, blind: bool) -> None:
        now_ns = self._step * STEP_NS
        if not blind:
            self._meters.add(now_ns, self._latest_w())
        self._work.add(now_ns, self._progress())
        work = self._work.work(now_ns)
        readings = Readings(
            mono_ns=now_ns,
            module_w=None if blind else self._meters.mean_w(now_ns),
            seconds=seconds_ahead(self._meters, self._work, now_ns),
            is_seen=not blind and self._meters.is_seen(now_ns),
            steady_w=None if blind else self._meters.steady_w(now_ns),
            decisions_per_s=work.decisions_per_s,
            latency_s=work.latency_s,
            idle=work.idle,
            hottest_c=50.0,
            gpu_max_freq_hz=self.state.setting.gpu_max_freq_hz,
            ordered_w=self.ordered_w,
            promised_p99_s=0.3,
            under_way_s=self._work.busy.under_way_s,
            latest_busy_s=self._work.busy.seconds(now_ns - DELAY_NS),
            quiet_w=None if blind or not self._work.is_quiet(now_ns) else self._latest_w(),
        )
        self.state = governed(self.state, readings, self._knobs)
        self.states.append(self.state)
        self._held_until_ns = now_ns + self.state.wait_ns if self.state.wait_ns else 0
        self._scarce_ns = now_ns if self.state.wait_ns else self._scarce_ns

    def _latest_w(self) -> float:
        """What the monitor says."""
        return float(self._watts[self._step - SAMPLE_STEPS : self._step].mean())

    def _progress(self) -> Progress:
        """What ended since the last sample, and what is under way."""
        decisions = busy_steps = 0
        while self._ended and self._ended[0][0] <= self._step:
            self._latest = self._ended.popleft()
            busy_steps += self._latest[1]
            decisions += 1
        since_ns = (self._ended[0][0] - self._ended[0][1]) * STEP_NS if self._ended else 0
        ended_ns, latency_ns = (steps * STEP_NS for steps in self._latest)
        turn = Turn(decisions, busy_steps * STEP_NS, ended_ns, latency_ns, since_ns)
        return Progress(decisions, 0, busy_steps * STEP_NS, (turn,))


def _steps(seconds: float) -> int:
    return max(1, round(seconds * 1e9 / STEP_NS))
