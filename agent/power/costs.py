"""What a setting of the knobs costs: the watts that it adds to any one second, and the decisions it gives.

Owns: the knobs' values, how joules and seconds of a decision follow from clock and caps, and which setting fits into
given watts. Must not know: sensors, limits, what is learned of them; times are no argument here.

A decision is a pulse. Where decisions are far apart, a second holds whole ones and no fewer than one; where they follow
on one another it holds one second of a busy GPU and never more, whatever a decision is worth. So a setting adds
`min(joules · max(1 Hz, rate), joules / latency)` watts. The shares of tokens, flow steps and plan samples are the
emulated Thor's; what they are wrong by is learned as joules.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

FLOOR_RATE_HZ, CREEP_RATE_HZ = 2.0, 1.0
"""The clock is turned before fewer decisions than the first; with the second a vehicle only creeps. Fewer than one a
second save nothing in the second that has one."""
TOKENS = (64, 16, 8)
FLOW_STEPS = (16, 4, 2)
"""The first of each is more than today's policies use: they then follow their own contract."""
_FEWER_TOKENS_SHARE, _FEWER_FLOW_SHARE = 0.96, 0.94
_SAMPLE_JOULES_SHARE, _SAMPLE_SECONDS_SHARE = 0.16, 0.18
"""What drawing one plan more adds to a decision of one, 9.8 J above idle and 104 ms in the mean: four flow steps of 0.38 J
and 4.7 ms, which wait for memory."""
SINGLE_SHARE = 0.4
"""So much of a second's joules may go into one long decision: more would leave none for the others."""
_SLOWED_SHARE = 0.45
"""The part of a decision's time at the highest clock that grows as the clock falls: encoding and prefill."""
_LONGEST = {TOKENS[0]: 2.8, TOKENS[1]: 1.6, TOKENS[2]: 1.25}
"""A decision that thinks for as long as it may, in decisions of the usual length; of the emulated Thor."""
_THOUGHT_SHARE = 0.78
_LOWEST_SHARE = 0.4
"""Below this part of the highest clock the voltage falls no further: a decision takes longer and more joules."""
_WAITED_SHARE = 0.95
"""What is left of a rate that is held by waiting for joules: decisions are whole."""
_TIE_SHARE = 0.985


@dataclass(frozen=True, slots=True)
class KnobSetting:
    """What the policy worker and the GPU are held to; a rate of 0 is no decision at all."""

    decision_rate_hz: float
    max_reasoning_tokens: int
    flow_steps: int
    gpu_max_freq_hz: int
    plan_samples: int = 1


@dataclass(frozen=True, slots=True)
class KnobRange:
    """What may be commanded: rates up to `decision_hz`, the mode's clocks, rising, (0,) where clocks are no knob, and as many
    plan samples as the release's contract has, of which 1 are none to turn."""

    decision_hz: float
    clocks_hz: tuple[int, ...]
    plan_samples: int = 1

    @property
    def top_hz(self) -> int:
        """The highest clock."""
        return self.clocks_hz[-1]

    def hold(self) -> KnobSetting:
        """The setting that decides nothing."""
        return KnobSetting(0.0, TOKENS[-1], FLOW_STEPS[-1], self.clocks_hz[0])


def knob_range(decision_hz: float, clocks_hz: tuple[int, ...]) -> KnobRange:
    """The range of a device whose clock table is `clocks_hz`, empty where it cannot be read. Its lower clocks are left out."""
    lowest_hz = _LOWEST_SHARE * max(clocks_hz, default=0)
    return KnobRange(decision_hz, tuple(sorted(hz for hz in clocks_hz if hz >= lowest_hz)) or (0,))


@dataclass(frozen=True, slots=True)
class Costs:
    """Of a whole decision of one plan at the clock `top_hz`: joules above idle, and mean seconds, None while nobody has seen
    one."""

    joules: float
    latency_s: float | None
    top_hz: int

    def joules_at(self, setting: KnobSetting) -> float:
        """Joules of one decision."""
        return self.joules * joules_share(setting, self.top_hz)

    def latency_at(self, setting: KnobSetting) -> float | None:
        """Mean seconds of one decision."""
        return None if self.latency_s is None else self.latency_s * latency_share(setting, self.top_hz)

    def watts(self, setting: KnobSetting) -> float:
        """What `setting` adds to any one second."""
        if setting.decision_rate_hz <= 0:
            return 0.0
        return min(self.joules_at(setting) * max(1.0, setting.decision_rate_hz), self.busy_w(setting))

    def paced(
        self, setting: KnobSetting, allowed_w: float, decision_hz: float, single: float = SINGLE_SHARE
    ) -> KnobSetting:
        """`setting` with the highest rate up to `decision_hz` that adds no more than `allowed_w`; 0 where none does, or where
        a single long decision would take more than `single` of a second's joules."""
        if self.busy_w(setting) <= allowed_w:
            return replace(setting, decision_rate_hz=decision_hz)
        within = replace(setting, decision_rate_hz=min(decision_hz, allowed_w / self.joules_at(setting)))
        fits = self.longest_j(setting) <= single * allowed_w and self.watts(within) <= allowed_w * (1 + 1e-9)
        return within if fits else replace(setting, decision_rate_hz=0.0)

    def rate_at(self, setting: KnobSetting) -> float:
        """Decisions a second that `setting` gives: its rate, or what the GPU can do."""
        latency_s = self.latency_at(setting)
        return min(setting.decision_rate_hz, 1 / latency_s if latency_s else math.inf)

    def rate_within(self, setting: KnobSetting, allowed_w: float, decision_hz: float) -> float:
        """Decisions a second within `allowed_w`."""
        paced = self.paced(setting, allowed_w, decision_hz)
        return self.rate_at(paced) * (1.0 if paced.decision_rate_hz >= decision_hz else _WAITED_SHARE)

    def busy_w(self, setting: KnobSetting) -> float:
        """What the device takes above idle while it decides, thinking or seeing; beyond all bounds where nobody knows how
        long a decision takes. Thinking waits for memory and takes its watts at any clock."""
        latency_s = self.latency_at(setting)
        if not latency_s or not self.latency_s:
            return math.inf
        return max(self.joules_at(setting) / latency_s, _THOUGHT_SHARE * self.joules / self.latency_s)

    def longest_j(self, setting: KnobSetting) -> float:
        """Joules of a decision that thinks for as long as it may; the plans that it draws are as many as ever."""
        alone_j = self.joules_at(replace(setting, plan_samples=1))
        longest = _LONGEST.get(setting.max_reasoning_tokens, max(_LONGEST.values()))
        return alone_j * longest + (self.joules_at(setting) - alone_j)


def fitting(costs: Costs, knobs: KnobRange, clock_hz: int, allowed_w: float) -> KnobSetting:
    """The fullest setting that adds no more than `allowed_w`: rate first, then plan samples, tokens, flow steps, and the clock
    below `clock_hz` last. Where not even a creeping one fits, the one that decides nothing."""
    floor_hz, creep_hz = (min(hz, knobs.decision_hz) for hz in (FLOOR_RATE_HZ, CREEP_RATE_HZ))
    lower = (hz for hz in reversed(knobs.clocks_hz) if hz < clock_hz)
    workloads = _workloads(knobs, clock_hz)
    slower = (replace(workloads[-1], gpu_max_freq_hz=hz) for hz in lower)
    for setting in chain(workloads, slower):
        paced = costs.paced(setting, allowed_w, knobs.decision_hz)
        if paced.decision_rate_hz >= floor_hz:
            return paced
    clocks_hz = [hz for hz in knobs.clocks_hz if hz <= clock_hz] or knobs.clocks_hz[:1]
    frugal = (replace(knobs.hold(), gpu_max_freq_hz=hz) for hz in clocks_hz)
    creeping = costs.paced(min(frugal, key=costs.joules_at), allowed_w, knobs.decision_hz, 1.0)
    return creeping if creeping.decision_rate_hz >= creep_hz else knobs.hold()


def best_clock(costs: Costs, knobs: KnobRange, allowed_w: float, slowest_s: float) -> int:
    """The clock that gives most decisions a second within `allowed_w`, the highest of those that give about as many; none at
    which a decision takes longer than `slowest_s` on average, but for the highest, which it is while nobody knows how long
    decisions take."""
    if costs.latency_s is None:
        return knobs.top_hz
    rates = {
        hz: _most(costs, knobs, hz, allowed_w)
        for hz in knobs.clocks_hz
        if hz == knobs.top_hz or (costs.latency_at(_workloads(knobs, hz)[0]) or 0.0) <= slowest_s
    }
    most = max(rates.values())
    if most <= 0:
        return knobs.clocks_hz[0]
    return max(hz for hz, rate in rates.items() if rate >= most * _TIE_SHARE)


def _most(costs: Costs, knobs: KnobRange, clock_hz: int, allowed_w: float) -> float:
    """Decisions a second at this clock, with the fullest workload that fits at all."""
    workloads = _workloads(knobs, clock_hz)
    rates = (costs.rate_within(setting, allowed_w, knobs.decision_hz) for setting in workloads)
    return next((rate for rate in rates if rate > 0), 0.0)


def _workloads(knobs: KnobRange, clock_hz: int) -> list[KnobSetting]:
    """What may be asked of a decision at this clock, from full to frugal.

    Samples go first: each plan is then still drawn as before, and only the choice among them is lost; fewer words or flow
    steps make every plan another one.
    """
    one = KnobSetting(0.0, TOKENS[0], FLOW_STEPS[0], clock_hz)
    fewer = [replace(one, plan_samples=samples) for samples in _halved(knobs.plan_samples)]
    fewer += [replace(one, max_reasoning_tokens=tokens) for tokens in TOKENS]
    return [*fewer, *(replace(fewer[-1], flow_steps=steps) for steps in FLOW_STEPS[1:])]


def _halved(samples: int) -> Iterator[int]:
    """`samples`, half of them, and so on, without the last one."""
    while samples > 1:
        yield samples
        samples //= 2


def joules_share(setting: KnobSetting, top_hz: int) -> float:
    """Joules of a decision, relative to one of one plan without caps at `top_hz`: of arithmetic with the square of the
    voltage, of a GPU that is awake for as long as it takes, and of memory. A lower clock saves little, and from somewhere on
    it costs."""
    ratio = _ratio(setting, top_hz)
    volts = 0.7 + 0.3 * min(max((ratio - 0.4) / 0.48, 0.0), 1.0)
    drawn = _samples_share(setting, _SAMPLE_JOULES_SHARE)
    return drawn * _caps_share(setting) * (0.4 * volts * volts + 0.12 / ratio + 0.48)


def latency_share(setting: KnobSetting, top_hz: int) -> float:
    """Seconds of a decision, relative to one of one plan without caps at `top_hz`."""
    drawn = _samples_share(setting, _SAMPLE_SECONDS_SHARE)
    return drawn * _caps_share(setting) * (1.0 - _SLOWED_SHARE + _SLOWED_SHARE / _ratio(setting, top_hz))


def _samples_share(setting: KnobSetting, share: float) -> float:
    """What a decision of so many plans takes of one with a single plan; `share` is what each further one adds."""
    return 1.0 + share * (setting.plan_samples - 1)


def _caps_share(setting: KnobSetting) -> float:
    tokens = sum(setting.max_reasoning_tokens < cap for cap in TOKENS[:-1])
    flow = sum(setting.flow_steps < cap for cap in FLOW_STEPS[:-1])
    return float(_FEWER_TOKENS_SHARE**tokens * _FEWER_FLOW_SHARE**flow)


def _ratio(setting: KnobSetting, top_hz: int) -> float:
    return min(1.0, setting.gpu_max_freq_hz / top_hz) if top_hz and setting.gpu_max_freq_hz else 1.0
