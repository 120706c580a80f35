"""The governor: readings in, knobs out, so that the device stays inside its envelope.

Owns: what is learned of costs, of the idle device and of others' load, what is assumed when sensors fail, and when a
setting or the clock is changed. Must not know: files, boards, clocks; times are arguments and the state is a value.

What a setting takes is `idle + others + what its decisions add` (`agent.power.costs`). Others' load is seen at once on
the CPU's rail, and as what the 1 s mean has beyond the rest. Decisions' joules and seconds are learned from what the
device did. In reaction the workload is turned first and the clock last; at rest the clock moves, slowly, to where most
decisions fit. What is commanded is expected to stay below the target: where nothing fits, nothing is decided, and the
loop stops the vehicle.
"""

import math
from dataclasses import dataclass, replace

from agent.power.costs import Costs, KnobRange, KnobSetting, best_clock, fitting, joules_share, latency_share
from agent.power.envelope import Envelope, Terms, stepped

ASSUMED_J = 9.8
"""A decision of a 2B policy at the highest clock, above idle; of the emulated Thor, not measured on a board."""
ASSUMED_IDLE_W, WORST_IDLE_W = 27.0, 29.0
"""Published idle modules take 23 to 29 W."""
_WORST_SHARE = 1.15
_JOULES = (0.2, 1000.0)
AHEAD_S = (0.1, 0.2, 0.3, 0.9)
"""What a decision that begins now still takes is looked at this far ahead; the last leaves the newest sample behind it."""
_WORKING_W = 5.0
"""So far above the standing load somebody works: a decision that is not over yet, or others."""
STEADY_NS = 3_000_000_000
"""Over this, decisions and joules are set off against each other."""
_SETTLE_NS = 1_200_000_000
"""After a change the 1 s mean needs this long to speak of the new setting only, and a written cap to be in force."""
_SETTLED_SHARE = 0.03
_TRIM_NS, _TRIPPED_NS = 2_000_000_000, 30_000_000_000
_TRIM_SHARE = 0.12
_LEARN_S, _OTHERS_S, _FORGET_S = 4.0, 2.0, 20.0
_RAISE_W = 1.0
_RUNG_W = 15.0
_SHOCK_W, _SHOCK_SHARE, _SHOCK_S = 6.0, 0.1, 30.0
"""An event takes some 110 W for 50 ms, which nobody sees coming."""
_CREDITED_SHARE = 0.85
_RAMP_SHARE = 0.75
"""Decisions are whole: what is commanded moves slower than the load may."""
_LATENCY_SPREAD = 1.6
"""The 99th percentile of a decision's seconds is taken for this many times their mean."""
_SLOWEST_S = 0.5


@dataclass(frozen=True, slots=True)
class Readings:
    """What is known now; None for what failed, and for a number that is none.

    `module_w` is the 1 s mean, None also where its sensor is not believed; `past_j` what was taken in the last 0.9, 0.8, 0.7
    and 0.1 s, empty where unknown, `past_decisions` how many decisions ended in them; `steady_w`, `decisions_per_s` and
    `latency_s` are measured over the same last three seconds; `idle` says that nothing was decided for much
    longer than a decision takes; `gpu_max_freq_hz` is what reads back; `over_current` counts events since the last
    readings; `ordered_w` is the envelope that is asked for.
    """

    mono_ns: int
    module_w: float | None
    past_j: tuple[float, ...]
    steady_w: float | None
    decisions_per_s: float | None
    latency_s: float | None
    hottest_c: float | None
    gpu_max_freq_hz: int | None
    ordered_w: float
    promised_p99_s: float | None = None
    idle: bool = False
    throttled: bool = False
    over_current: int = 0
    past_decisions: tuple[int, ...] = (0,) * len(AHEAD_S)

    def __post_init__(self) -> None:
        for name in ("module_w", "steady_w", "decisions_per_s", "latency_s", "promised_p99_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                object.__setattr__(self, name, None)
        if self.hottest_c is not None and not math.isfinite(self.hottest_c):
            object.__setattr__(self, "hottest_c", None)


@dataclass(frozen=True, slots=True)
class GovernorState:
    """All that the governor remembers. `clock_hz` is where the clock rests while the setting's own may be lower."""

    setting: KnobSetting
    clock_hz: int
    envelope: Envelope
    costs: Costs
    idle_w: float = ASSUMED_IDLE_W
    felt_w: float = 0.0
    """Others' load, by what the 1 s mean has beyond the target."""
    blind_w: float = 0.0
    """What is assumed on top while module power is unknown."""
    shock_w: float = 0.0
    """Kept free for another over-current event, for a while after one."""
    risen_w: float = 0.0
    """How far the ramp has let the ceiling rise."""
    changed_ns: int = 0
    changed_w: float = 0.0
    clock_ns: int = 0
    read_hz: int | None = None
    read_ns: int = 0
    """What the clock cap read back as, and since when."""
    trim_after_ns: int = 0
    now_ns: int = 0
    may_begin: bool = False
    """Whether a decision may begin before the next readings."""
    assumption: str = ""

    @property
    def standing_w(self) -> float:
        """What the device takes while nothing is decided."""
        return self.idle_w + self.felt_w + self.blind_w

    @property
    def ceiling_w(self) -> float:
        """What the device is expected to take at most, in any second, under the setting."""
        return self.standing_w + self.costs.watts(self.setting)

    @property
    def target_w(self) -> float:
        """What that must stay below."""
        return self.envelope.target_w - self.shock_w


def started(knobs: KnobRange, limit_w: float, terms: Terms, mono_ns: int) -> GovernorState:
    """The state to begin with: it decides nothing, and earns every watt within the terms."""
    costs = Costs(ASSUMED_J, None, knobs.top_hz)
    state = GovernorState(knobs.hold(), knobs.top_hz, Envelope(limit_w, terms), costs)
    allowed_w = state.target_w - state.standing_w
    return replace(
        state,
        clock_hz=best_clock(costs, knobs, allowed_w, _SLOWEST_S),
        risen_w=min(state.standing_w, state.target_w),
        changed_ns=mono_ns,
        clock_ns=mono_ns,
        trim_after_ns=mono_ns + _TRIM_NS,
        now_ns=mono_ns,
    )


def governed(state: GovernorState, readings: Readings, knobs: KnobRange) -> GovernorState:
    """The state after `readings`; its setting is what to command. Nothing here raises."""
    dt_s = min(max(0.0, (readings.mono_ns - state.now_ns) / 1e9), 1.0)
    envelope = state.envelope.after(
        dt_s, readings.ordered_w, readings.hottest_c, throttled=readings.throttled
    )
    state = replace(state, envelope=envelope, now_ns=readings.mono_ns, assumption=_assumed(readings))
    shock_w = min(_SHOCK_W, _SHOCK_SHARE * envelope.limit_w) if readings.over_current else state.shock_w
    state = replace(state, shock_w=shock_w * math.exp(-dt_s / _SHOCK_S))
    if readings.gpu_max_freq_hz != state.read_hz:
        state = replace(state, read_hz=readings.gpu_max_freq_hz, read_ns=readings.mono_ns)
    state = _trimmed(_learned(state, readings, dt_s), readings, knobs)
    state = replace(state, risen_w=_risen_w(state, readings, dt_s))
    state = _commanded(state, readings, knobs)
    return replace(state, may_begin=_may_begin(state, readings))


def _risen_w(state: GovernorState, readings: Readings, dt_s: float) -> float:
    """How far the ramp has come: a little more than before, and never far above what is really taken."""
    known = readings.module_w is not None and len(readings.past_j) > 0
    taken_w = readings.module_w if known and readings.module_w is not None else state.ceiling_w
    most_w = max(taken_w, state.standing_w) + max(_RUNG_W, state.costs.longest_j(state.setting))
    return min(state.target_w, most_w, state.risen_w + _RAMP_SHARE * state.envelope.terms.up_w_per_s * dt_s)


def _may_begin(state: GovernorState, readings: Readings) -> bool:
    """Whether the second in which another decision begins now has room for it, by what was taken in it so far. What cannot be seen, or is seen to be less than decisions take, is counted by decisions."""
    if state.setting.decision_rate_hz <= 0:
        return False
    seen = readings.module_w is not None and len(readings.past_j) == len(AHEAD_S)
    longest_j, busy_w = state.costs.longest_j(state.setting), state.costs.busy_w(state.setting)
    if not seen or readings.past_j[-1] > (state.standing_w + _WORKING_W) * (1.0 - AHEAD_S[-1]):
        longest_j += state.costs.joules_at(state.setting)  # one is not over yet, or may not be
    taken_j = []
    for number, ahead_s in enumerate(AHEAD_S):
        counted_j = _counted_j(state, readings.past_decisions[number], 1.0 - ahead_s)
        past_j = max(readings.past_j[number], _CREDITED_SHARE * counted_j) if seen else counted_j
        taken_j.append(past_j + state.standing_w * ahead_s + min(longest_j, busy_w * ahead_s))
    return max(taken_j) <= state.target_w


def _counted_j(state: GovernorState, decisions: int, seconds: float) -> float:
    """What so many decisions and an idle device take in that time."""
    standing_w = state.standing_w - state.blind_w  # what is assumed now was not yet then
    return standing_w * seconds + state.costs.joules_at(state.setting) * decisions


def _commanded(state: GovernorState, readings: Readings, knobs: KnobRange) -> GovernorState:
    """The fullest setting that the target and the ramp allow; the one before where it would be barely fuller."""
    counted_hz = _counted_clock(state, readings, knobs)
    setting = fitting(state.costs, knobs, counted_hz, state.risen_w - state.standing_w)
    if readings.module_w is None:
        setting = _whole(setting, knobs)
    asked = replace(setting, gpu_max_freq_hz=state.clock_hz)
    if setting.gpu_max_freq_hz == counted_hz and state.costs.watts(asked) <= state.costs.watts(setting):
        setting = asked  # once more, where it did not take
    now = replace(state.setting, gpu_max_freq_hz=max(counted_hz, state.setting.gpu_max_freq_hz))
    fuller_w = state.costs.watts(setting) - state.costs.watts(now)
    same_clock = state.setting.gpu_max_freq_hz == setting.gpu_max_freq_hz
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


def _in_force(setting: KnobSetting, readings: Readings) -> KnobSetting:
    """The setting with the clock cap that reads back, which a refused write leaves where it was."""
    if not setting.gpu_max_freq_hz or not readings.gpu_max_freq_hz:
        return setting
    return replace(setting, gpu_max_freq_hz=readings.gpu_max_freq_hz)


def _counted_clock(state: GovernorState, readings: Readings, knobs: KnobRange) -> int:
    """The clock to count with: the resting one, or what reads back above it though it had time to take."""
    read_hz = readings.gpu_max_freq_hz
    if not read_hz or not knobs.top_hz or readings.mono_ns - state.clock_ns < _SETTLE_NS:
        return state.clock_hz
    return max(state.clock_hz, min(read_hz, knobs.top_hz))


def _learned(state: GovernorState, readings: Readings, dt_s: float) -> GovernorState:
    """What the readings teach about others, the idle device and a decision."""
    module_w = readings.module_w
    if module_w is None:
        state = replace(state, blind_w=_towards(state, _worst_w(state), dt_s))
        return _felt(state, 0.0, dt_s)
    state = replace(state, blind_w=_towards(state, 0.0, dt_s))
    state = _rest_learned(state, readings, dt_s)
    return _felt(state, module_w if readings.past_j else 0.0, dt_s)


def _towards(state: GovernorState, blind_w: float, dt_s: float) -> float:
    """More is assumed as fast as the load may fall, less as fast as it may rise."""
    terms = state.envelope.terms
    ramp = Terms(up_w_per_s=terms.down_w_per_s, down_w_per_s=terms.up_w_per_s)
    return stepped(state.blind_w, blind_w, ramp, _RAMP_SHARE * dt_s)


def _worst_w(state: GovernorState) -> float:
    """What is assumed on top where module power is unknown: a burst of others, a warm idle device, dearer decisions."""
    dearer_w = (_WORST_SHARE - 1.0) * state.costs.watts(state.setting)
    return state.envelope.terms.burst_w + max(0.0, WORST_IDLE_W - state.idle_w) + dearer_w


def _rest_learned(state: GovernorState, readings: Readings, dt_s: float) -> GovernorState:
    """From the last seconds: what the idle device takes, or what a decision does and how long it takes."""
    steady_w, latency_s = readings.steady_w, readings.latency_s
    if steady_w is None:
        return state
    if readings.idle:
        return _idle_learned(state, steady_w, dt_s)
    rate_hz = readings.decisions_per_s
    if latency_s is not None and latency_s * 1e9 > STEADY_NS:
        rate_hz = 1.0 / latency_s  # one that spans more than is looked at: it is busy all the time
    if not rate_hz or not latency_s:
        return state
    in_force, costs = _in_force(state.setting, readings), state.costs
    seen_j = (steady_w - state.idle_w) / (rate_hz * joules_share(in_force, costs.top_hz))
    seen_s = latency_s / latency_share(in_force, costs.top_hz)
    one_clock = readings.mono_ns - state.read_ns >= STEADY_NS
    return replace(state, costs=_believed(costs, seen_j, seen_s, dt_s, one_clock=one_clock))


def _believed(costs: Costs, seen_j: float, seen_s: float, dt_s: float, *, one_clock: bool) -> Costs:
    """`costs` on their way to what was seen. Fewer joules, or more seconds and so fewer watts, are believed only of one clock.
    Joules of a slow policy wait for its seconds: they alone would not let it begin, whose watts are few."""
    seen_j = min(max(seen_j, _JOULES[0]), _JOULES[1])
    joules, latency_s = costs.joules, costs.latency_s
    if (one_clock or seen_j > joules) and (latency_s is not None or seen_s <= _SLOWEST_S):
        joules = _moved(joules, seen_j, dt_s, _LEARN_S)
    if one_clock or (latency_s is not None and seen_s < latency_s):
        latency_s = _moved(latency_s or seen_s, seen_s, dt_s, _LEARN_S)
    return replace(costs, joules=joules, latency_s=latency_s)


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


def _trimmed(state: GovernorState, readings: Readings, knobs: KnobRange) -> GovernorState:
    """The resting clock a little nearer to the best one, every few seconds; an over-current event lowers it at once."""
    now = readings.mono_ns
    if readings.over_current > 0:
        return _rested_at(state, _within(knobs, state.clock_hz * (1 - _TRIM_SHARE)), now, now + _TRIPPED_NS)
    quiet = state.felt_w <= _RAISE_W and readings.module_w is not None
    if not quiet or now < max(state.trim_after_ns, state.changed_ns + _SETTLE_NS):
        return state
    promised_s = readings.promised_p99_s or _SLOWEST_S * _LATENCY_SPREAD
    allowed_w = state.target_w - state.standing_w
    best_hz = best_clock(state.costs, knobs, allowed_w, promised_s / _LATENCY_SPREAD)
    low, high = state.clock_hz * (1 - _TRIM_SHARE), state.clock_hz * (1 + _TRIM_SHARE)
    return _rested_at(state, _within(knobs, min(max(best_hz, low), high)), now, now + _TRIM_NS)


def _rested_at(state: GovernorState, clock_hz: int, now_ns: int, trim_after_ns: int) -> GovernorState:
    clock_ns = now_ns if clock_hz != state.clock_hz else state.clock_ns
    return replace(state, clock_hz=clock_hz, clock_ns=clock_ns, trim_after_ns=trim_after_ns)


def _within(knobs: KnobRange, clock_hz: float) -> int:
    """The highest clock of the table that is not above `clock_hz`, the lowest where all are."""
    return max((hz for hz in knobs.clocks_hz if hz <= clock_hz), default=knobs.clocks_hz[0])


def _moved(value: float, observed: float, dt_s: float, constant_s: float) -> float:
    """`value` on its way to `observed`."""
    return observed + (value - observed) * math.exp(-dt_s / constant_s)
