"""The order of the knobs, and what the governor does when it is not told the truth."""

from dataclasses import replace
from itertools import pairwise

import pytest

from agent.power.governor import (
    CREEP_RATE_HZ,
    FLOOR_RATE_HZ,
    GovernorState,
    Ladder,
    Readings,
    governed,
    ladder_for,
)

CLOCKS = tuple(range(315_000_000, 1_575_000_001, 15_000_000))
S = 1_000_000_000


@pytest.fixture
def ladder() -> Ladder:
    return ladder_for(10.0, CLOCKS)


def _readings(second: float, module_w: float | None, rate: float | None = None) -> Readings:
    return Readings(round(second * S), module_w, module_w, rate, 50.0, CLOCKS[-1])


def _full(ladder: Ladder) -> GovernorState:
    return replace(ladder.start(120.0, 0), rung=0)


def test_workload_is_turned_down_before_the_clock_and_in_the_named_order(ladder: Ladder) -> None:
    settings = ladder.settings
    assert settings[0].decision_rate_hz == 10.0
    slowest = next(i for i, s in enumerate(settings) if s.decision_rate_hz == pytest.approx(FLOOR_RATE_HZ))
    fewer_tokens = next(i for i, s in enumerate(settings) if s.max_reasoning_tokens == 8)
    fewer_steps = next(i for i, s in enumerate(settings) if s.flow_steps == 2)
    slower_clock = next(i for i, s in enumerate(settings) if s.gpu_max_freq_hz < CLOCKS[-1])
    assert slowest < fewer_tokens < fewer_steps < slower_clock
    frugal = settings[ladder.frugal]
    assert frugal.decision_rate_hz == pytest.approx(FLOOR_RATE_HZ)
    assert frugal.gpu_max_freq_hz == CLOCKS[0]
    assert settings[-2].decision_rate_hz == pytest.approx(CREEP_RATE_HZ)
    assert settings[-1] == replace(frugal, decision_rate_hz=0.0)


@pytest.mark.parametrize("limit_w", [40.0, 41.0, 45.0, 130.0])
@pytest.mark.parametrize("idle_w", [23.0, 27.0, 29.0])
def test_an_idle_device_may_always_decide_a_little_even_in_the_tightest_envelope(
    ladder: Ladder, limit_w: float, idle_w: float
) -> None:
    state = ladder.start(limit_w, 0)
    for step in range(300):
        rate = ladder.settings[state.rung].decision_rate_hz
        watts = idle_w + 9.6 * ladder.costs[state.rung]
        state = governed(state, _readings(step / 5, watts, rate), ladder)
        assert watts <= limit_w
    assert ladder.settings[state.rung].decision_rate_hz > 0


def test_where_others_take_all_the_watts_nothing_is_decided_until_they_are_gone(ladder: Ladder) -> None:
    state = ladder.start(60.0, 0)
    for step in range(50):
        state = governed(state, _readings(step / 5, 75.0, 0.0), ladder)
    assert ladder.settings[state.rung].decision_rate_hz == 0.0
    for step in range(600):
        state = governed(state, _readings(20 + step / 5, 30.0, 0.0), ladder)
    assert ladder.settings[state.rung].decision_rate_hz > 1.0


@pytest.mark.parametrize("decision_hz", [0.5, 2.0, 2.1, 10.0, 30.0])
def test_every_rung_costs_less_than_the_one_above(decision_hz: float) -> None:
    ladder = ladder_for(decision_hz, CLOCKS)
    assert ladder.settings[0].decision_rate_hz == pytest.approx(decision_hz)
    assert list(ladder.costs) == sorted(set(ladder.costs), reverse=True)


def test_a_restarted_governor_begins_frugal_and_earns_its_way_up(ladder: Ladder) -> None:
    state = ladder.start(120.0, 0)
    assert ladder.settings[state.rung].decision_rate_hz == pytest.approx(2.0)
    rates = []
    for step in range(100):
        state = governed(state, _readings(step / 5, 40.0, 2.0), ladder)
        rates.append(ladder.settings[state.rung].decision_rate_hz)
    assert rates == sorted(rates)
    assert rates[-1] > 8


def test_power_above_the_target_is_answered_at_once(ladder: Ladder) -> None:
    state = governed(_full(ladder), _readings(10, 118.0, 10.0), ladder)
    assert state.rung > 0
    assert state.changed_ns == 10 * S


def test_after_a_cut_it_waits_for_the_mean_to_speak_of_the_new_setting(ladder: Ladder) -> None:
    state = governed(_full(ladder), _readings(10, 118.0, 10.0), ladder)
    again = governed(state, _readings(10.4, 117.0, 9.0), ladder)
    assert again.rung == state.rung
    assert governed(again, _readings(11.3, 119.0, 9.0), ladder).rung > state.rung


def test_heat_is_answered_at_once_even_just_after_a_change(ladder: Ladder) -> None:
    state = replace(_full(ladder), rung=5, changed_ns=10 * S, seen_ns=10 * S)
    hot = replace(_readings(10.2, 80.0, 8.0), hottest_c=97.0)
    assert governed(state, hot, ladder).rung > 5


def test_it_steps_up_only_once_for_every_settled_mean(ladder: Ladder) -> None:
    state, changes = ladder.start(120.0, 0), []
    for step in range(60):
        after = governed(state, _readings(step / 5, 40.0, 2.0), ladder)
        if after.rung != state.rung:
            changes.append(after.changed_ns)
        state = after
    assert min(later - sooner for sooner, later in pairwise(changes)) >= 1.2 * S


def test_blind_it_assumes_the_worst_says_so_and_raises_nothing(ladder: Ladder) -> None:
    state = governed(_full(ladder), _readings(10, None), ladder)
    assert state.rung > 0
    assert "worst case" in state.assumption
    rung = state.rung
    for step in range(100):
        state = governed(state, _readings(11 + step / 5, None), ladder)
    assert state.rung == rung
    assert governed(state, _readings(40, 60.0, 5.0), ladder).assumption == ""


def test_without_a_thermometer_it_takes_the_device_as_hot_and_says_so(ladder: Ladder) -> None:
    cold = replace(_readings(10, 100.0, 9.0), hottest_c=None)
    state = governed(_full(ladder), cold, ladder)
    assert state.envelope.hot
    assert "temperature unknown" in state.assumption


def test_load_that_is_not_the_policys_drives_every_knob_to_its_end_and_is_forgiven_later(
    ladder: Ladder,
) -> None:
    state = _full(ladder)
    for step in range(20):
        state = governed(state, _readings(10 + step / 5, 140.0, 0.0), ladder)
    assert state.rung == len(ladder.settings) - 1
    for step in range(600):
        state = governed(state, _readings(20 + step / 5, 50.0, 2.0), ladder)
    assert state.rung < 30


def test_over_current_events_cost_a_little_rate(ladder: Ladder) -> None:
    start = replace(_full(ladder), seen_ns=round(9.8 * S))
    calm = governed(start, _readings(10, 112.0, 9.0), ladder)
    tripped = governed(start, replace(_readings(10, 112.0, 9.0), over_current=3), ladder)
    assert tripped.rung > calm.rung


def test_without_a_clock_table_the_clock_is_no_knob() -> None:
    ladder = ladder_for(5.0, ())
    assert {setting.gpu_max_freq_hz for setting in ladder.settings} == {0}
    assert ladder_for(1.0, ()).settings[0].decision_rate_hz == 1.0
    assert ladder_for(0.1, ()).settings[-2].decision_rate_hz == 0.1
