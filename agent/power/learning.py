"""What the readings teach: an idle device, what a decision takes and how long, and what others do.

Owns: what is believed of what was seen, how fast, and what is assumed where nothing is. Must not know: what is commanded;
times are arguments and the state is a value.
"""

import math
from dataclasses import replace

from agent.power.costs import Costs, KnobSetting, joules_share, latency_share
from agent.power.envelope import Terms, stepped
from agent.power.state import ASSUMED_J, SLOWEST_S, STEADY_NS, GovernorState, Readings

RAMP_SHARE = 0.75
"""Decisions are whole: what is commanded moves slower than the load may."""
_SEEN_AGAIN_SHARE = 0.5
_WORST_IDLE_W, _WORST_SHARE = 29.0, 1.15
_JOULES = (0.2, 1000.0)
_LEARN_S, _SHARES_S, _OTHERS_S, _FORGET_S = 4.0, 1.5, 2.0, 20.0


def learned(state: GovernorState, readings: Readings, dt_s: float) -> GovernorState:
    """What the readings teach about others, the idle device and a decision."""
    state = _shares_followed(_others_seen(state, readings, dt_s), readings, dt_s)
    module_w = readings.module_w
    if module_w is None:
        state = replace(state, blind_w=_towards(state, _worst_w(state), dt_s))
        return _felt(state, 0.0, dt_s)
    state = replace(state, blind_w=_towards(state, 0.0, dt_s))
    state = _rest_learned(state, readings, dt_s)
    return _felt(state, module_w if readings.is_seen else 0.0, dt_s)


def _towards(state: GovernorState, blind_w: float, dt_s: float) -> float:
    """More is assumed as fast as the load may fall, less by half as fast as it may rise: what was really taken meanwhile was
    less than was assumed."""
    terms = state.envelope.terms
    ramp = Terms(
        up_w_per_s=RAMP_SHARE * terms.down_w_per_s, down_w_per_s=_SEEN_AGAIN_SHARE * terms.up_w_per_s
    )
    return stepped(state.blind_w, blind_w, ramp, dt_s)


def _worst_w(state: GovernorState) -> float:
    """What is assumed on top where module power is unknown: a burst of others, a warm idle device, dearer decisions."""
    dearer_w = (_WORST_SHARE - 1.0) * state.costs.watts(state.setting)
    return state.envelope.terms.burst_w + max(0.0, _WORST_IDLE_W - state.idle_w) + dearer_w


def _rest_learned(state: GovernorState, readings: Readings, dt_s: float) -> GovernorState:
    """From the last seconds: what the idle device takes, or what a decision does and how long it takes."""
    steady_w, latency_s = readings.steady_w, readings.latency_s
    if steady_w is None:
        return state
    steady_w = max(0.0, steady_w - readings.steady_others_w)
    if readings.idle:
        return _idle_learned(state, steady_w, dt_s)
    rate_hz = readings.decisions_per_s
    if latency_s is not None and latency_s * 1e9 > STEADY_NS:
        rate_hz = 1.0 / latency_s  # one that spans more than is looked at: it is busy all the time
    if not rate_hz or not latency_s:
        return state
    seen_j = (steady_w - state.idle_w) / (rate_hz * state.joules_share)
    return replace(state, costs=_believed(state.costs, seen_j, latency_s / state.latency_share, dt_s))


def _believed(costs: Costs, seen_j: float, seen_s: float, dt_s: float) -> Costs:
    """`costs` on their way to what was seen. Joules of a slow policy wait for its seconds: they alone would not let it begin,
    whose watts are few."""
    seen_j = min(max(seen_j, _JOULES[0]), _JOULES[1])
    joules, latency_s = costs.joules, costs.latency_s
    if latency_s is not None or seen_s <= SLOWEST_S:
        joules = _moved(joules, seen_j, dt_s, _LEARN_S)
    return replace(costs, joules=joules, latency_s=_moved(latency_s or seen_s, seen_s, dt_s, _LEARN_S))


def _others_seen(state: GovernorState, readings: Readings, dt_s: float) -> GovernorState:
    """What others take now, and what the idle device does without them."""
    state = replace(state, others_w=max(readings.others_w, readings.second_others_w))
    quiet_w = readings.quiet_w
    if quiet_w is None:
        return replace(state, beside_w=state.beside_w * math.exp(-dt_s / _OTHERS_S))
    idle_w = max(1.0, _moved(state.idle_w, quiet_w - readings.others_w, dt_s, _LEARN_S))
    return replace(state, idle_w=idle_w, beside_w=max(0.0, quiet_w - state.idle_w))


def _shares_followed(state: GovernorState, readings: Readings, dt_s: float) -> GovernorState:
    """Of the clock that reads back: a refused write leaves it where it was."""
    in_force = _in_force(state.setting, readings)
    return replace(
        state,
        joules_share=_moved(state.joules_share, joules_share(in_force, state.costs.top_hz), dt_s, _SHARES_S),
        latency_share=_moved(
            state.latency_share, latency_share(in_force, state.costs.top_hz), dt_s, _SHARES_S
        ),
    )


def _idle_learned(state: GovernorState, steady_w: float, dt_s: float) -> GovernorState:
    """An idle device shows what it takes. What decisions were seen to take above the assumed is doubted again by and by: where
    they were too dear to be made, nobody would ever see that they no longer are."""
    joules = _moved(state.costs.joules, min(state.costs.joules, ASSUMED_J), dt_s, _FORGET_S)
    idle_w = max(1.0, _moved(state.idle_w, steady_w, dt_s, _LEARN_S))
    return replace(state, idle_w=idle_w, felt_w=0.0, costs=replace(state.costs, joules=joules))


def _felt(state: GovernorState, module_w: float, dt_s: float) -> GovernorState:
    """What a whole second has beyond the target is somebody's, twice over, so that one answer is enough; it is forgotten over
    seconds."""
    felt_w = state.felt_w * math.exp(-dt_s / _OTHERS_S)
    excess_w = module_w - state.target_w
    if excess_w > 0:
        felt_w = max(felt_w, 2 * excess_w)
    return replace(state, felt_w=felt_w if felt_w > 0.1 else 0.0)


def _in_force(setting: KnobSetting, readings: Readings) -> KnobSetting:
    """The setting with the clock cap that reads back, which a refused write leaves where it was."""
    if not setting.gpu_max_freq_hz or not readings.gpu_max_freq_hz:
        return setting
    return replace(setting, gpu_max_freq_hz=readings.gpu_max_freq_hz)


def _moved(value: float, observed: float, dt_s: float, constant_s: float) -> float:
    """`value` on its way to `observed`."""
    return observed + (value - observed) * math.exp(-dt_s / constant_s)
