"""The governor: readings in, knobs out, so that the device stays inside its envelope.

Owns: the order in which knobs are turned (decision rate, reasoning tokens, flow steps, then the GPU's clock;
power modes never), what a setting is expected to cost, and what is assumed when sensors fail.
Must not know: files, boards, clocks; times are arguments and the state is a value.

A setting costs `idle + joules · cost`, where `cost` is its decision rate times what one decision is worth at it.
`joules` and `idle` are learned upward at once and downward slowly, and never below the assumed worst of an
ordinary policy, so that one that suddenly reasons longer is already paid for. The price is a slower policy than
the watts would allow. What is commanded is expected to stay below the target: where no setting is, the policy decides
nothing, and the loop stops the vehicle.
"""

import math
from dataclasses import dataclass, replace

from agent.power.envelope import Envelope

FLOOR_RATE_HZ, CREEP_RATE_HZ = 2.0, 0.5
"""The clock is turned before fewer decisions than the first; with the second a vehicle only creeps."""
_TOKENS = (64, 16, 8)
_FLOW_STEPS = (16, 4, 2)
"""The first of each is more than today's policies use: they then follow their own contract."""
_FEWER_TOKENS_SHARE, _FEWER_FLOW_SHARE = 0.96, 0.94
_RATE_RATIO = 1.05
_CLOCK_RUNGS = 12

ASSUMED_J = 9.6
"""A decision of an ordinary 2B policy with all its reasoning, above idle; emulated, not measured on a board."""
ASSUMED_IDLE_W = 27.0
_WORST_SHARE = 1.3
_SETTLE_NS = 1_200_000_000
"""After a change the 1 s mean needs this long to speak of the new setting only."""
_RAISE_RATIO = 1.25
_RAISE_BAND_W = 1.0
_DECAY_S = 15.0
_EXERCISED = 0.7
_NO_RATE_HZ = 0.1
_OVER_CURRENT_RATIO = 1.05


@dataclass(frozen=True, slots=True)
class KnobSetting:
    """What the policy worker and the GPU are held to."""

    decision_rate_hz: float
    max_reasoning_tokens: int
    flow_steps: int
    gpu_max_freq_hz: int


@dataclass(frozen=True, slots=True)
class Readings:
    """What is known now; None for what failed.

    `module_w` is the 1 s mean, `recent_w` that of the last 0.3 s; `decisions_per_s` is measured over 3 s;
    `gpu_max_freq_hz` is what reads back; `over_current` counts events since the last readings.
    """

    mono_ns: int
    module_w: float | None
    recent_w: float | None
    decisions_per_s: float | None
    hottest_c: float | None
    gpu_max_freq_hz: int | None
    over_current: int = 0


@dataclass(frozen=True, slots=True)
class GovernorState:
    """All that the governor remembers; `rung` indexes the ladder, 0 = full."""

    rung: int
    envelope: Envelope
    joules: float = ASSUMED_J
    idle_w: float = ASSUMED_IDLE_W
    changed_ns: int = 0
    seen_ns: int = 0
    assumption: str = ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Settings from full to frugal; each costs less than the one before. The last is no decision at all.

    `frugal` is the rung of the lowest clock at the floor's rate.
    """

    settings: tuple[KnobSetting, ...]
    costs: tuple[float, ...]
    frugal: int

    @property
    def hold(self) -> int:
        """The rung on which nothing is decided."""
        return len(self.settings) - 1

    def start(self, limit_w: float, mono_ns: int) -> GovernorState:
        """The state to begin with: a frugal setting, from which readings earn every step up."""
        state = GovernorState(self.frugal, Envelope(limit_w), changed_ns=mono_ns, seen_ns=mono_ns)
        return replace(state, rung=max(self.frugal, _best_rung(state, self, state.envelope.target_w)))

    def actual_cost(self, rung: int, gpu_max_freq_hz: int | None) -> float:
        """Cost of a rung with the clock that really reads back, which a refused write leaves higher."""
        setting, top = self.settings[rung], self.settings[0].gpu_max_freq_hz
        actual = setting.gpu_max_freq_hz if gpu_max_freq_hz is None else gpu_max_freq_hz
        return self.costs[rung] * _clock_share(actual, top) / _clock_share(setting.gpu_max_freq_hz, top)


def ladder_for(decision_hz: float, gpu_frequencies_hz: tuple[int, ...]) -> Ladder:
    """The ladder below `decision_hz`, the configured rate, and the clocks that the mode allows (rising, may be empty)."""
    clocks = _spread(gpu_frequencies_hz) or (0,)
    floor_hz = min(FLOOR_RATE_HZ, decision_hz)
    rates = _rates(decision_hz, floor_hz)
    settings = [KnobSetting(rate, _TOKENS[0], _FLOW_STEPS[0], clocks[0]) for rate in rates]
    settings += [KnobSetting(floor_hz, tokens, _FLOW_STEPS[0], clocks[0]) for tokens in _TOKENS[1:]]
    settings += [KnobSetting(floor_hz, _TOKENS[-1], flow, clocks[0]) for flow in _FLOW_STEPS[1:]]
    settings += [KnobSetting(floor_hz, _TOKENS[-1], _FLOW_STEPS[-1], clock) for clock in clocks[1:]]
    frugal = settings[-1]
    creeping = _rates(floor_hz, min(CREEP_RATE_HZ, floor_hz))[1:]
    slower = [replace(frugal, decision_rate_hz=rate) for rate in (*creeping, 0.0)]
    costs = tuple(_cost(setting, clocks[0]) for setting in (*settings, *slower))
    return Ladder((*settings, *slower), costs, len(settings) - 1)


def _rates(from_hz: float, to_hz: float) -> list[float]:
    """From the one rate to the other, in steps of at most a twentieth; one where they are the same."""
    steps = math.ceil(math.log(from_hz / to_hz) / math.log(_RATE_RATIO))
    return [from_hz * (to_hz / from_hz) ** (step / max(steps, 1)) for step in range(steps + 1)]


def governed(state: GovernorState, readings: Readings, ladder: Ladder) -> GovernorState:
    """The state after `readings`; its rung is what to command. Nothing here raises."""
    state = replace(state, envelope=state.envelope.at(readings.hottest_c))
    if readings.module_w is None:
        return _blind(state, readings, ladder)
    learned = _learned(state, readings, readings.module_w, ladder)
    best = _best_rung(learned, ladder, learned.envelope.target_w)
    settled = readings.mono_ns - state.changed_ns >= _SETTLE_NS
    if best > state.rung:
        rung = best
    elif best < state.rung and settled and readings.module_w <= state.envelope.target_w - _RAISE_BAND_W:
        rung = _raised(learned, ladder)
    else:
        rung = state.rung
    changed_ns = readings.mono_ns if rung != state.rung else state.changed_ns
    said = "" if readings.hottest_c is not None else "temperature unknown: taken as hot"
    return replace(learned, rung=rung, changed_ns=changed_ns, seen_ns=readings.mono_ns, assumption=said)


def _blind(state: GovernorState, readings: Readings, ladder: Ladder) -> GovernorState:
    """Without module power: the worst cost is assumed and nothing is raised."""
    worst = replace(
        state,
        joules=max(state.joules, ASSUMED_J) * _WORST_SHARE,
        idle_w=max(state.idle_w, ASSUMED_IDLE_W),
    )
    rung = max(state.rung, _best_rung(worst, ladder, state.envelope.target_w))
    changed_ns = readings.mono_ns if rung != state.rung else state.changed_ns
    said = "module power unknown: worst case assumed"
    return replace(state, rung=rung, changed_ns=changed_ns, seen_ns=readings.mono_ns, assumption=said)


def _learned(state: GovernorState, readings: Readings, module_w: float, ladder: Ladder) -> GovernorState:
    """What the readings teach about idle power and the joules of a decision."""
    if readings.over_current > 0:
        state = replace(state, joules=state.joules * _OVER_CURRENT_RATIO)
    if readings.mono_ns - state.changed_ns < _SETTLE_NS:
        return state
    keep = math.exp(-(readings.mono_ns - state.seen_ns) / 1e9 / _DECAY_S)
    setting = ladder.settings[state.rung]
    cost = ladder.actual_cost(state.rung, readings.gpu_max_freq_hz)
    rate = readings.decisions_per_s
    target_w, idle = state.envelope.target_w, rate is not None and rate < _NO_RATE_HZ
    if module_w > target_w and (idle or state.rung == ladder.hold):
        return replace(state, idle_w=max(state.idle_w, module_w))
    if module_w > target_w:
        observed_w = max(module_w, readings.recent_w or module_w)
        observed_w += observed_w - target_w  # twice the excess, so that few steps are needed
        return replace(state, joules=max(state.joules, (observed_w - state.idle_w) / cost))
    if idle or state.rung == ladder.hold:
        return replace(state, idle_w=_followed(state.idle_w, module_w, keep, ASSUMED_IDLE_W))
    if rate is not None and rate >= _EXERCISED * setting.decision_rate_hz:
        idle_w = _followed(min(state.idle_w, module_w), ASSUMED_IDLE_W, keep, ASSUMED_IDLE_W)
        observed = (module_w - idle_w) / cost
        return replace(state, idle_w=idle_w, joules=_followed(state.joules, observed, keep, ASSUMED_J))
    return state


def _followed(value: float, observed: float, keep: float, floor: float) -> float:
    """Up at once, down by the decay, never below `floor`."""
    if observed >= value:
        return observed
    return max(floor, observed + (value - observed) * keep)


def _best_rung(state: GovernorState, ladder: Ladder, limit_w: float) -> int:
    """The fullest rung that is expected to stay below `limit_w`, the one that decides nothing where none is."""
    fits = (rung for rung, cost in enumerate(ladder.costs) if state.idle_w + state.joules * cost <= limit_w)
    return next(fits, ladder.hold)


def _raised(state: GovernorState, ladder: Ladder) -> int:
    """The fullest rung within the band and not more than a quarter above the present cost."""
    allowed = max(ladder.costs[state.rung] * _RAISE_RATIO, ladder.costs[ladder.hold - 1])
    best = _best_rung(state, ladder, state.envelope.target_w - _RAISE_BAND_W)
    while best < state.rung and ladder.costs[best] > allowed and best + 1 < state.rung:
        best += 1
    return min(best, state.rung)


def _spread(frequencies_hz: tuple[int, ...]) -> tuple[int, ...]:
    """At most a dozen clocks of the table, from the highest to the lowest."""
    falling = sorted(frequencies_hz, reverse=True)
    if len(falling) <= _CLOCK_RUNGS:
        return tuple(falling)
    last = len(falling) - 1
    return tuple(falling[round(step * last / (_CLOCK_RUNGS - 1))] for step in range(_CLOCK_RUNGS))


def _cost(setting: KnobSetting, top_hz: int) -> float:
    share = _FEWER_TOKENS_SHARE ** _TOKENS.index(setting.max_reasoning_tokens)
    share *= _FEWER_FLOW_SHARE ** _FLOW_STEPS.index(setting.flow_steps)
    return setting.decision_rate_hz * share * _clock_share(setting.gpu_max_freq_hz, top_hz)


def _clock_share(clock_hz: int, top_hz: int) -> float:
    """What a decision costs at a lower clock: half of it follows the square of the voltage."""
    ratio = clock_hz / top_hz if top_hz else 1.0
    return 0.5 + 0.5 * (0.65 + 0.35 * ratio) ** 2
