"""The governor: readings in, knobs out, so that the device stays inside its envelope.

Owns: when a setting or the clock is changed. Must not know: whether a second has room (`agent.power.room`), files, boards,
clocks; times are arguments and the state is a value.

What a setting takes is `idle + others + what its decisions add` (`agent.power.costs`), as far as that was learned
(`agent.power.learning`). In reaction the workload is turned first and the clock last; at rest the clock moves, slowly, to
where most decisions fit. What is commanded is expected to stay below the target: where nothing fits, nothing is decided, and
the loop stops the vehicle. A rate is a mean, and a second must hold: so each decision also waits for its joules, and where
nearly every observation could be decided on, for nothing else.
"""

import math
from dataclasses import replace

from agent.power.costs import KnobRange, KnobSetting, best_clock, fitting
from agent.power.learning import RAMP_SHARE, learned
from agent.power.room import wait_ns
from agent.power.state import SETTLE_NS, SLOWEST_S, TRIM_NS, GovernorState, Readings, counted_clock_hz

_SETTLED_SHARE = 0.03
_TRIPPED_NS = 30_000_000_000
_TRIM_SHARE, _TRIPPED_SHARE = 0.3, 0.12
_RAISE_W = 1.0
_RUNG_W = 15.0
"""The ramp runs ahead of what is taken by a decision or two."""
_SHOCK_W, _SHOCK_SHARE, _SHOCK_S = 6.0, 0.1, 30.0
"""An event takes some 110 W for 50 ms, which nobody sees coming."""
_RISEN_WITHIN_W, _UNPACED_SHARE = 0.5, 0.6
_LATENCY_SPREAD = 1.6
"""The 99th percentile of a decision's seconds is taken for this many times their mean."""


def governed(state: GovernorState, readings: Readings, knobs: KnobRange) -> GovernorState:
    """The state after `readings`; its setting is what to command. Nothing here raises."""
    dt_s = min(max(0.0, (readings.mono_ns - state.now_ns) / 1e9), 1.0)
    envelope = state.envelope.after(
        dt_s, readings.ordered_w, readings.hottest_c, throttled=readings.throttled
    )
    state = replace(state, envelope=envelope, now_ns=readings.mono_ns, assumption=_assumed(readings))
    shock_w = min(_SHOCK_W, _SHOCK_SHARE * envelope.limit_w) if readings.over_current else state.shock_w
    state = replace(state, shock_w=shock_w * math.exp(-dt_s / _SHOCK_S))
    state = _trimmed(learned(state, readings, dt_s), readings, knobs)
    state = replace(state, risen_w=_risen_w(state, readings, dt_s))
    state = _commanded(state, readings, knobs)
    return replace(state, pace_hz=_pace_hz(state, readings, knobs), wait_ns=wait_ns(state, readings))


def _risen_w(state: GovernorState, readings: Readings, dt_s: float) -> float:
    """How far the ramp has come: a little more than before, and never far above what is really taken."""
    taken_w = readings.module_w if readings.sees and readings.module_w is not None else state.ceiling_w
    most_w = max(taken_w, state.standing_w) + max(_RUNG_W, state.costs.longest_j(state.setting))
    return min(state.target_w, most_w, state.risen_w + RAMP_SHARE * state.envelope.terms.up_w_per_s * dt_s)


def _pace_hz(state: GovernorState, readings: Readings, knobs: KnobRange) -> float:
    """Where nearly every observation could be decided on, a rate loses decisions to its own rhythm: there only joules are waited
    for, as long as they can be seen and nothing has to rise slowly."""
    rate_hz = state.setting.decision_rate_hz
    seen = readings.sees and state.blind_w == 0
    risen = state.risen_w >= state.target_w - _RISEN_WITHIN_W
    return knobs.decision_hz if seen and risen and rate_hz >= _UNPACED_SHARE * knobs.decision_hz else rate_hz


def _commanded(state: GovernorState, readings: Readings, knobs: KnobRange) -> GovernorState:
    """The fullest setting that the target and the ramp allow; the one before where it would be barely fuller."""
    counted_hz = counted_clock_hz(state, readings, state.clock_hz)
    setting = fitting(state.costs, knobs, counted_hz, state.risen_w - state.standing_w)
    if readings.module_w is None:
        setting = _whole(setting, knobs)
    asked = replace(setting, gpu_max_freq_hz=state.clock_hz)
    if setting.gpu_max_freq_hz == counted_hz and state.costs.watts(asked) <= state.costs.watts(setting):
        setting = asked  # once more, where it did not take
    now = replace(state.setting, gpu_max_freq_hz=max(counted_hz, state.setting.gpu_max_freq_hz))
    fuller_w = state.costs.watts(setting) - state.costs.watts(now)
    same_clock = state.setting.gpu_max_freq_hz == setting.gpu_max_freq_hz
    same_clock &= state.setting.plan_samples <= knobs.plan_samples
    paced = 0 < state.setting.decision_rate_hz < setting.decision_rate_hz < knobs.decision_hz
    if same_clock and paced and 0 <= fuller_w < _RAISE_W:
        setting = state.setting
    wanted_w = state.costs.watts(setting)
    if abs(wanted_w - state.changed_w) <= _SETTLED_SHARE * max(wanted_w, 1.0):
        return replace(state, setting=setting)
    return replace(state, setting=setting, changed_ns=readings.mono_ns, changed_w=wanted_w)


def _whole(setting: KnobSetting, knobs: KnobRange) -> KnobSetting:
    """`setting` with whole decisions a second: where nobody measures a second, it must not hold one more than counted."""
    rate_hz = setting.decision_rate_hz
    return setting if rate_hz >= knobs.decision_hz else replace(setting, decision_rate_hz=float(rate_hz // 1))


def _assumed(readings: Readings) -> str:
    if readings.module_w is None:
        return "module power unknown: worst case assumed"
    return "" if readings.hottest_c is not None else "temperature unknown: taken as hot"


def _trimmed(state: GovernorState, readings: Readings, knobs: KnobRange) -> GovernorState:
    """The resting clock a little nearer to the best one, every few seconds; an over-current event lowers it at once."""
    now = readings.mono_ns
    if readings.over_current > 0:
        return _rested_at(
            state, _within(knobs, state.clock_hz * (1 - _TRIPPED_SHARE)), now, now + _TRIPPED_NS
        )
    quiet = state.felt_w <= _RAISE_W and readings.module_w is not None
    if not quiet or now < max(state.trim_after_ns, state.changed_ns + SETTLE_NS):
        return state
    promised_s = readings.promised_p99_s or SLOWEST_S * _LATENCY_SPREAD
    allowed_w = state.target_w - state.standing_w
    best_hz = best_clock(state.costs, knobs, allowed_w, promised_s / _LATENCY_SPREAD)
    low, high = state.clock_hz * (1 - _TRIM_SHARE), state.clock_hz * (1 + _TRIM_SHARE)
    return _rested_at(state, _within(knobs, min(max(best_hz, low), high)), now, now + TRIM_NS)


def _rested_at(state: GovernorState, clock_hz: int, now_ns: int, trim_after_ns: int) -> GovernorState:
    clock_ns = now_ns if clock_hz != state.clock_hz else state.clock_ns
    return replace(state, clock_hz=clock_hz, clock_ns=clock_ns, trim_after_ns=trim_after_ns)


def _within(knobs: KnobRange, clock_hz: float) -> int:
    """The highest clock of the table that is not above `clock_hz`, the lowest where all are."""
    return max((hz for hz in knobs.clocks_hz if hz <= clock_hz), default=knobs.clocks_hz[0])
