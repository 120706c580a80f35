"""What the governor commands, and what it does when it is not told the truth."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from agent.power.costs import KnobRange, joules_share, knob_range
from agent.power.envelope import Terms
from agent.power.governor import governed
from agent.power.state import (
    ASSUMED_IDLE_W,
    ASSUMED_J,
    GovernorState,
    Readings,
    Second,
    moved,
    started,
)

CLOCKS = tuple(range(315_000_000, 1_575_000_001, 45_000_000))
KNOBS = knob_range(10.0, CLOCKS)
S, TENTH = 1_000_000_000, 100_000_000
TENTHS_S = tuple(tenth / 10 for tenth in range(1, 10))


def _seconds(watts: float, busy: float = 0.0, decisions: int = 0) -> tuple[Second, ...]:
    """Of a device that takes `watts` and is deciding for a share `busy` of its time."""
    return tuple(
        Second(a, watts * (1 - a), busy * (1 - a), decisions, watts * max(0.0, 0.9 - a)) for a in TENTHS_S
    )


def _readings(state: GovernorState) -> Readings:
    """A tenth of a second later, of a device that takes what is expected and decides in 0.1 s at most."""
    rate_hz = state.setting.decision_rate_hz
    watts = state.ceiling_w
    return Readings(
        mono_ns=state.now_ns + TENTH,
        module_w=watts,
        seconds=_seconds(watts, min(1.0, 0.08 * rate_hz)),
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
    return replace(told, module_w=None, is_seen=False, steady_w=None)


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
        told = replace(told, module_w=idle_w, steady_w=idle_w, seconds=_seconds(idle_w), quiet_w=idle_w)
        told = replace(told, ordered_w=limit_w, idle=True)
        return replace(told, decisions_per_s=0.0, latency_s=None)

    state = _driven(30, started(KNOBS, limit_w, Terms(burst_w=5.0), 0), change=idle)[-1]
    assert state.setting.decision_rate_hz >= 1.0
    assert state.may_begin


def test_where_others_take_all_the_watts_nothing_is_decided_until_they_are_gone(
    settled: GovernorState,
) -> None:
    def crowded(told: Readings) -> Readings:
        return replace(told, module_w=135.0, seconds=_seconds(135.0), steady_w=None)

    def idle(told: Readings) -> Readings:
        return replace(crowded(told), steady_w=135.0, decisions_per_s=0.0, latency_s=None, idle=True)

    def alone(told: Readings) -> Readings:
        told = replace(told, module_w=26.0, seconds=_seconds(26.0), steady_w=26.0, decisions_per_s=0.0)
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
        return replace(_blind(told), ordered_w=70.0, seconds=_seconds(0.0, 0.1 * decisions, decisions))

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
    told = replace(told, module_w=86.0, steady_w=86.0, seconds=_seconds(86.0, 1.0))
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


def test_what_was_seen_is_of_the_clocks_that_were_in_force_meanwhile(settled: GovernorState) -> None:
    """Just after the clock was turned, times and joules are still of the one before."""
    low_hz = CLOCKS[10]
    share = joules_share(replace(settled.setting, gpu_max_freq_hz=low_hz), CLOCKS[-1])
    told = replace(_readings(settled), gpu_max_freq_hz=low_hz, steady_w=settled.idle_w + 50.0)
    just = governed(settled, replace(told, decisions_per_s=5.0), KNOBS)
    assert just.joules_share > 0.5 * (settled.joules_share + share)
    later = _driven(10, settled, change=lambda each: replace(each, gpu_max_freq_hz=low_hz))[-1]
    assert later.joules_share == pytest.approx(share, rel=0.01)


def test_what_cores_of_others_take_makes_no_decision_dearer(settled: GovernorState) -> None:
    def crowded(told: Readings) -> Readings:
        return replace(told, others_w=15.0, second_others_w=15.0, steady_others_w=15.0)

    state = _driven(10, settled, change=crowded)[-1]
    assert state.costs.joules == pytest.approx(settled.costs.joules, rel=0.1)
    assert state.standing_w == pytest.approx(settled.standing_w + 15.0, abs=1.0)


def test_what_is_taken_while_nothing_is_decided_counts_as_standing_at_once(settled: GovernorState) -> None:
    told = replace(_readings(settled), quiet_w=settled.idle_w + 12.0)
    assert governed(settled, told, KNOBS).standing_w == pytest.approx(settled.idle_w + 12.0, abs=1.0)


def test_where_all_is_seen_and_nothing_rises_a_worker_waits_for_joules_and_not_for_a_rate(
    settled: GovernorState,
) -> None:
    crowded = _driven(5, settled, change=lambda told: replace(told, others_w=10.0))[-1]
    assert 0 < crowded.setting.decision_rate_hz < KNOBS.decision_hz == crowded.pace_hz
    blind = governed(crowded, _blind(_readings(crowded)), KNOBS)
    assert blind.pace_hz == blind.setting.decision_rate_hz < KNOBS.decision_hz


def test_nonsense_counts_as_unknown() -> None:
    nan, inf = float("nan"), float("inf")
    told = Readings(
        0,
        nan,
        (),
        -1.0,
        inf,
        nan,
        nan,
        None,
        90.0,
        promised_p99_s=-inf,
        others_w=nan,
        quiet_w=nan,
        under_way_s=-1.0,
    )
    assert (told.module_w, told.steady_w, told.decisions_per_s, told.latency_s) == (None, None, None, None)
    assert (told.hottest_c, told.promised_p99_s, told.quiet_w) == (None, None, None)
    assert (told.others_w, told.under_way_s) == (0.0, 0.0)


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


@pytest.mark.parametrize("limit_w", [120.0, 125.0, 130.0])
def test_what_a_release_of_many_plans_was_allowed_is_taken_back_from_one_of_a_single_plan_at_once(
    limit_w: float,
) -> None:
    six = replace(KNOBS, plan_samples=6)
    before = _driven(30, change=lambda told: replace(told, ordered_w=limit_w), knobs=six)[-1]
    assert before.setting.plan_samples > 1
    after = governed(before, replace(_readings(before), ordered_w=limit_w), KNOBS)
    assert after.setting.plan_samples == 1
