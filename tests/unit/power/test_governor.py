"""What the governor commands, and what it does when it is not told the truth."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from agent.power.costs import KnobRange, knob_range
from agent.power.envelope import Terms
from agent.power.governor import governed
from agent.power.state import AHEAD_S, ASSUMED_IDLE_W, ASSUMED_J, GovernorState, Readings, moved, started

CLOCKS = tuple(range(315_000_000, 1_575_000_001, 45_000_000))
KNOBS = knob_range(10.0, CLOCKS)
S, TENTH = 1_000_000_000, 100_000_000
QUIET_J = tuple(ASSUMED_IDLE_W * (1.0 - ahead_s) for ahead_s in AHEAD_S)
"""The past of a device that decided nothing."""


def _readings(state: GovernorState) -> Readings:
    """A tenth of a second later, of a device that takes what is expected and decides in 0.1 s at most."""
    rate_hz = state.setting.decision_rate_hz
    watts = 0.95 * state.ceiling_w
    return Readings(
        mono_ns=state.now_ns + TENTH,
        module_w=watts,
        past_j=tuple(watts * (1.0 - ahead_s) for ahead_s in AHEAD_S),
        steady_w=watts,
        decisions_per_s=rate_hz,
        latency_s=0.08 if rate_hz else None,
        hottest_c=50.0,
        gpu_max_freq_hz=state.setting.gpu_max_freq_hz,
        ordered_w=120.0,
    )


def _driven(
    seconds: float,
    state: GovernorState | None = None,
    *,
    change: Callable[[Readings], Readings] = lambda told: told,
    knobs: KnobRange = KNOBS,
) -> list[GovernorState]:
    """Every state of so many seconds; `change` is what is told otherwise."""
    states = [state or started(knobs, 120.0, Terms(), 0)]
    for _ in range(round(seconds * 10)):
        states.append(governed(states[-1], change(_readings(states[-1])), knobs))
    return states[1:]


@pytest.fixture(scope="module")
def settled() -> GovernorState:
    """A state at work, in an envelope of 120 W."""
    state = _driven(30)[-1]
    assert state.setting.decision_rate_hz > 5
    return state


def _blind(told: Readings) -> Readings:
    return replace(told, module_w=None, past_j=(), steady_w=None)


def test_a_start_decides_nothing_until_it_has_earned_it() -> None:
    state = started(KNOBS, 120.0, Terms(up_w_per_s=20.0), 0)
    assert state.setting == KNOBS.hold()
    states = _driven(10, state)
    assert not states[0].may_begin
    for turn, each in enumerate(states, 1):
        assert each.ceiling_w <= ASSUMED_IDLE_W + 20.0 * turn / 10 + 1e-6
    assert states[-1].setting.decision_rate_hz > 5


@pytest.mark.parametrize("limit_w", [40.0, 45.0, 60.0])
@pytest.mark.parametrize("idle_w", [23.0, 27.0, 28.5])
def test_an_idle_device_may_always_decide_a_little_even_in_the_tightest_envelope(
    limit_w: float, idle_w: float
) -> None:
    def idle(told: Readings) -> Readings:
        past_j = tuple(idle_w * (1.0 - ahead_s) for ahead_s in AHEAD_S)
        told = replace(told, module_w=idle_w, steady_w=idle_w, past_j=past_j, ordered_w=limit_w, idle=True)
        return replace(told, decisions_per_s=0.0, latency_s=None)

    state = _driven(30, started(KNOBS, limit_w, Terms(burst_w=5.0), 0), change=idle)[-1]
    assert state.setting.decision_rate_hz >= 1.0
    assert state.may_begin


def test_where_others_take_all_the_watts_nothing_is_decided_until_they_are_gone(
    settled: GovernorState,
) -> None:
    def crowded(told: Readings) -> Readings:
        return replace(told, module_w=135.0, past_j=tuple(135.0 * (1 - a) for a in AHEAD_S), steady_w=None)

    def idle(told: Readings) -> Readings:
        return replace(crowded(told), steady_w=135.0, decisions_per_s=0.0, latency_s=None, idle=True)

    def alone(told: Readings) -> Readings:
        told = replace(told, module_w=26.0, past_j=QUIET_J, steady_w=26.0, decisions_per_s=0.0)
        return replace(told, latency_s=None, idle=True)

    at_once = _driven(3, settled, change=crowded)
    assert not any(state.may_begin for state in at_once)
    held = _driven(20, at_once[-1], change=idle)[-1]
    assert (held.setting.decision_rate_hz, held.may_begin) == (0.0, False)
    back = _driven(30, held, change=alone)[-1]
    assert back.setting.decision_rate_hz >= 1.0
    assert back.may_begin


def test_power_above_the_target_is_answered_at_once(settled: GovernorState) -> None:
    told = replace(_readings(settled), module_w=settled.target_w + 5.0)
    after = governed(settled, told, KNOBS)
    assert after.standing_w >= settled.standing_w + 10.0 - 1e-6
    assert after.ceiling_w <= after.target_w + 1e-6
    assert after.setting.decision_rate_hz < settled.setting.decision_rate_hz


def test_blind_it_assumes_the_worst_within_its_ramp_and_says_so(settled: GovernorState) -> None:
    states = _driven(3, settled, change=_blind)
    assert {state.assumption for state in states} == {"module power unknown: worst case assumed"}
    assumed = [settled.blind_w, *(state.blind_w for state in states)]
    rises = [after - before for before, after in pairwise(assumed)]
    assert 0 < max(rises) <= Terms().down_w_per_s / 10 + 1e-6
    assert assumed[-1] >= Terms().burst_w
    assert states[-1].setting.decision_rate_hz < settled.setting.decision_rate_hz
    assert _driven(0.1, states[-1])[-1].assumption == ""


def test_seeing_again_gives_the_watts_back_no_faster_than_load_may_rise(settled: GovernorState) -> None:
    blind = _driven(5, settled, change=_blind)[-1]
    seeing = [blind, *_driven(5, blind)]
    falls = [before.blind_w - after.blind_w for before, after in pairwise(seeing)]
    assert 0 < max(falls) <= Terms().up_w_per_s / 10 + 1e-6
    assert seeing[-1].blind_w == 0.0


def test_blind_seconds_are_counted_in_decisions_and_hold_whole_ones_only(settled: GovernorState) -> None:
    tight = _driven(20, settled, change=lambda told: replace(told, ordered_w=70.0))[-1]

    def blind(told: Readings, decisions: int) -> Readings:
        return replace(_blind(told), ordered_w=70.0, past_decisions=(decisions,) * len(AHEAD_S))

    full = _driven(2, tight, change=lambda told: blind(told, 4))
    assert not any(state.may_begin for state in full)
    at_rest = _driven(4, full[-1], change=lambda told: blind(told, 0))[-1]
    assert at_rest.may_begin
    assert at_rest.setting.decision_rate_hz == int(at_rest.setting.decision_rate_hz) > 0


def test_without_a_thermometer_it_takes_the_device_as_hot_and_says_so(settled: GovernorState) -> None:
    state = _driven(10, settled, change=lambda told: replace(told, hottest_c=None))[-1]
    assert state.assumption == "temperature unknown: taken as hot"
    assert state.target_w < 0.92 * settled.target_w


def test_heat_costs_decisions_gradually_and_they_come_back_slowly(settled: GovernorState) -> None:
    hot = _driven(10, settled, change=lambda told: replace(told, hottest_c=97.0))
    assert hot[0].target_w > 0.99 * settled.target_w
    assert hot[-1].ceiling_w <= hot[-1].target_w < 0.92 * settled.target_w
    cooled = _driven(10, hot[-1])[-1]
    assert hot[-1].target_w < cooled.target_w < 0.95 * settled.target_w


def test_an_over_current_event_lowers_the_clock_at_once_and_for_half_a_minute(settled: GovernorState) -> None:
    tripped = governed(settled, replace(_readings(settled), over_current=1), KNOBS)
    assert tripped.clock_hz < 0.9 * settled.clock_hz
    assert tripped.setting.gpu_max_freq_hz <= tripped.clock_hz
    assert {state.clock_hz for state in _driven(29, tripped)} == {tripped.clock_hz}
    assert _driven(45, tripped)[-1].clock_hz > tripped.clock_hz


def test_a_refused_clock_cap_is_counted_by_what_reads_back(settled: GovernorState) -> None:
    """The device stays at its highest clock whatever is written: decisions there must fit."""
    low = replace(settled, clock_hz=CLOCKS[4], clock_ns=settled.now_ns, trim_after_ns=10**15)

    def refused(told: Readings) -> Readings:
        return replace(told, gpu_max_freq_hz=CLOCKS[-1], ordered_w=60.0, steady_w=None, latency_s=None)

    stuck = _driven(8, low, change=refused)[-1]
    at_top = replace(stuck.setting, gpu_max_freq_hz=CLOCKS[-1])
    assert stuck.standing_w + stuck.costs.watts(at_top) <= stuck.target_w + 1e-6


def test_a_cap_that_was_just_written_has_time_to_take(settled: GovernorState) -> None:
    low = replace(settled, clock_hz=CLOCKS[4], clock_ns=settled.now_ns, trim_after_ns=10**15)
    told = replace(_readings(low), steady_w=None, latency_s=None, ordered_w=60.0)
    not_yet, taken = replace(told, gpu_max_freq_hz=CLOCKS[-1]), replace(told, gpu_max_freq_hz=CLOCKS[4])
    assert governed(low, not_yet, KNOBS).setting == governed(low, taken, KNOBS).setting


def _slow(told: Readings) -> Readings:
    """A policy whose one decision takes 2.8 s and 60 W above idle, whatever rate it is allowed."""
    told = replace(told, module_w=86.0, steady_w=86.0, past_j=tuple(86.0 * (1 - a) for a in AHEAD_S))
    return replace(told, decisions_per_s=1 / 2.8, latency_s=2.8, ordered_w=90.0, promised_p99_s=4.5)


def test_a_policy_of_nearly_three_seconds_is_counted_as_a_busy_device_and_may_go_on() -> None:
    state = _driven(60, started(KNOBS, 90.0, Terms(burst_w=0.0), 0), change=_slow)[-1]
    assert state.idle_w == ASSUMED_IDLE_W
    assert state.costs.joules > 10 * ASSUMED_J
    assert state.setting.decision_rate_hz == KNOBS.decision_hz
    assert state.may_begin


def test_a_decision_longer_than_is_looked_back_is_a_busy_device_in_seconds_in_which_none_ends() -> None:
    def slower(told: Readings) -> Readings:
        return replace(_slow(told), decisions_per_s=0.0, latency_s=4.0)

    state = _driven(60, started(KNOBS, 90.0, Terms(burst_w=0.0), 0), change=slower)[-1]
    assert state.costs.busy_w(state.setting) == pytest.approx(86.0 - ASSUMED_IDLE_W, rel=0.1)


def test_a_slow_policy_that_is_too_busy_is_held_by_the_clock() -> None:
    def tighter(told: Readings) -> Readings:
        return replace(_slow(told), ordered_w=76.0)

    at_work = _driven(60, started(KNOBS, 90.0, Terms(burst_w=0.0), 0), change=_slow)[-1]
    held = _driven(1.0, at_work, change=tighter)
    assert any(0 < state.setting.gpu_max_freq_hz < at_work.setting.gpu_max_freq_hz for state in held)
    assert all(
        state.ceiling_w <= state.target_w + 1e-6 for state in held if state.setting.decision_rate_hz > 0
    )


def test_a_barely_fuller_setting_is_not_taken(settled: GovernorState) -> None:
    paced = _driven(20, settled, change=lambda told: replace(told, ordered_w=80.0))[-1]
    assert 0 < paced.setting.decision_rate_hz < KNOBS.decision_hz
    told = replace(_readings(paced), ordered_w=86.0, steady_w=None, latency_s=None)
    fuller = replace(paced, risen_w=paced.risen_w + 6.0, envelope=replace(paced.envelope, limit_w=86.0))
    taken = governed(fuller, told, KNOBS)
    assert taken.setting != paced.setting
    barely = replace(taken, risen_w=taken.risen_w + 0.5, envelope=replace(taken.envelope, limit_w=86.5))
    assert governed(barely, replace(told, ordered_w=86.5), KNOBS).setting == taken.setting


def test_a_cheaper_or_longer_decision_is_believed_only_of_one_clock_and_a_dearer_one_at_once(
    settled: GovernorState,
) -> None:
    """Just after the clock was turned, times and joules are of another one."""
    just = replace(settled, read_ns=settled.now_ns, clock_ns=0, trim_after_ns=10**15)
    told = replace(_readings(just), latency_s=0.5, steady_w=31.0, decisions_per_s=2.0)
    assert governed(just, told, KNOBS).costs == settled.costs
    learned = governed(replace(just, read_ns=0), told, KNOBS).costs
    assert learned.joules < settled.costs.joules
    assert (learned.latency_s or 0) > (settled.costs.latency_s or 1)
    dearer = governed(just, replace(told, latency_s=0.02, steady_w=110.0), KNOBS).costs
    assert dearer.joules > settled.costs.joules
    assert (dearer.latency_s or 1) < (settled.costs.latency_s or 0)


@pytest.fixture
def tight(settled: GovernorState) -> GovernorState:
    """At work in 60 W."""
    return _driven(20, settled, change=lambda told: replace(told, ordered_w=60.0))[-1]


def _begins(state: GovernorState, past_j: tuple[float, ...]) -> bool:
    told = replace(
        _readings(state), module_w=50.0, past_j=past_j, ordered_w=60.0, steady_w=None, latency_s=None
    )
    return governed(state, told, KNOBS).may_begin


def test_a_decision_may_begin_only_where_its_second_has_room_for_it(tight: GovernorState) -> None:
    assert _begins(tight, QUIET_J)
    full_j = tuple(tight.target_w * (1.0 - ahead_s) for ahead_s in AHEAD_S[:-1])
    assert not _begins(tight, (*full_j, QUIET_J[-1]))


def test_a_decision_that_still_runs_is_counted_beside_the_one_that_would_begin(tight: GovernorState) -> None:
    spent_j = tight.target_w - tight.standing_w - 1.5 * tight.costs.longest_j(tight.setting)
    past_j = tuple(quiet_j + spent_j for quiet_j in QUIET_J[:-1])
    assert _begins(tight, (*past_j, QUIET_J[-1]))
    assert not _begins(tight, (*past_j, QUIET_J[-1] + 3.0))


def test_what_is_seen_of_the_last_second_is_never_less_than_its_decisions_took(tight: GovernorState) -> None:
    """A sensor that stands still at a low figure, or that did not see all of it, makes no room."""
    told = replace(
        _readings(tight), module_w=50.0, past_j=QUIET_J, ordered_w=60.0, steady_w=None, latency_s=None
    )
    assert governed(tight, told, KNOBS).may_begin
    counted = replace(told, past_decisions=(4, 4, 3, 1))
    assert not governed(tight, counted, KNOBS).may_begin
    assert not governed(tight, replace(counted, past_j=()), KNOBS).may_begin


def test_nonsense_counts_as_unknown() -> None:
    nan, inf = float("nan"), float("inf")
    told = Readings(0, nan, (), -1.0, inf, nan, nan, None, 90.0, promised_p99_s=-inf)
    assert (told.module_w, told.steady_w, told.decisions_per_s, told.latency_s) == (None, None, None, None)
    assert (told.hottest_c, told.promised_p99_s) == (None, None)


def test_without_a_clock_table_the_clock_is_no_knob() -> None:
    knobs = knob_range(5.0, ())
    states = _driven(20, started(knobs, 60.0, Terms(), 0), knobs=knobs)
    assert {state.setting.gpu_max_freq_hz for state in states} == {0}
    assert states[-1].setting.decision_rate_hz > 1.0


def test_another_power_mode_forgets_neither_heat_nor_limit_nor_an_over_current_event(
    settled: GovernorState,
) -> None:
    hot = _driven(10, settled, change=lambda told: replace(told, hottest_c=97.0))[-1]
    tripped = governed(hot, replace(_readings(hot), over_current=3), KNOBS)
    after = moved(tripped, knob_range(10.0, CLOCKS[:-4]), tripped.now_ns)
    assert after.envelope == tripped.envelope
    assert (after.shock_w, after.trim_after_ns) == (tripped.shock_w, tripped.trim_after_ns)
    assert after.clock_hz <= tripped.clock_hz
    assert after.setting.decision_rate_hz == 0
