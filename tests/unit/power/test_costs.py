"""What a setting costs, and the order in which the knobs are turned."""

from dataclasses import replace
from itertools import pairwise

import pytest

from agent.power.costs import (
    CREEP_RATE_HZ,
    FLOOR_RATE_HZ,
    FLOW_STEPS,
    TOKENS,
    Costs,
    KnobRange,
    KnobSetting,
    best_clock,
    fitting,
    knob_range,
)

CLOCKS = tuple(range(315_000_000, 1_575_000_001, 45_000_000))
TOP = CLOCKS[-1]
KNOBS = knob_range(10.0, CLOCKS)
COSTS = Costs(9.0, 0.1, TOP)
FULL = KnobSetting(10.0, TOKENS[0], FLOW_STEPS[0], TOP)
SEVERAL = replace(KNOBS, plan_samples=6)
"""Of a policy that draws six plans for a decision."""


def _settings(costs: Costs = COSTS, knobs: KnobRange = KNOBS) -> list[KnobSetting]:
    """What fits, from many watts to none."""
    return [fitting(costs, knobs, TOP, half_w / 2) for half_w in range(360, -1, -1)]


def test_with_fewer_watts_the_rate_falls_first_then_tokens_then_flow_steps_and_the_clock_last() -> None:
    turned = _settings()
    first = {
        "rate": next(i for i, each in enumerate(turned) if each.decision_rate_hz < 10.0),
        "tokens": next(i for i, each in enumerate(turned) if each.max_reasoning_tokens < TOKENS[0]),
        "flow": next(i for i, each in enumerate(turned) if each.flow_steps < FLOW_STEPS[0]),
        "clock": next(i for i, each in enumerate(turned) if each.gpu_max_freq_hz < TOP),
        "nothing": next(i for i, each in enumerate(turned) if each.decision_rate_hz == 0),
    }
    assert list(first) == sorted(first, key=lambda name: first[name])
    assert turned[0] == FULL
    assert turned[-1] == KNOBS.hold()


def test_plan_samples_fall_after_the_rate_and_before_words_and_never_rise_with_fewer_watts() -> None:
    turned = _settings(Costs(5.0, 0.05, TOP), SEVERAL)
    assert turned[0] == replace(FULL, plan_samples=6)
    first = next(i for i, each in enumerate(turned) if each.plan_samples < 6)
    assert next(i for i, each in enumerate(turned) if each.decision_rate_hz < 10.0) < first
    assert {each.plan_samples for each in turned if each.max_reasoning_tokens < TOKENS[0]} == {1}
    drawn = [each.plan_samples for each in turned]
    assert drawn == sorted(drawn, reverse=True)
    assert set(drawn) == {6, 3, 1}


def test_fewer_plans_to_choose_from_leave_joules_and_time_for_more_decisions() -> None:
    six, one = replace(FULL, plan_samples=6), FULL
    assert COSTS.joules_at(one) < COSTS.joules_at(six)
    assert 0 < COSTS.rate_within(six, 84.0, 10.0) < COSTS.rate_within(one, 84.0, 10.0)
    assert COSTS.busy_w(six) < COSTS.busy_w(one), "the flow waits for memory"


def test_where_a_contract_has_one_plan_the_knob_neither_turns_nor_costs_anything() -> None:
    assert {each.plan_samples for each in _settings()} == {1}
    assert COSTS.joules_at(FULL) == COSTS.joules
    assert COSTS.latency_at(FULL) == COSTS.latency_s
    below = [each for each in _settings(knobs=SEVERAL) if each.plan_samples == 1]
    assert set(below) <= set(_settings())


def test_a_clock_is_lowered_only_once_the_policy_does_as_little_as_it_may() -> None:
    lowered = [each for each in _settings() if each.gpu_max_freq_hz < TOP]
    assert {(each.max_reasoning_tokens, each.flow_steps) for each in lowered} == {
        (TOKENS[-1], FLOW_STEPS[-1])
    }


def test_a_rate_is_none_at_all_or_at_least_creeping_and_creeping_is_the_last_of_all() -> None:
    rates = [each.decision_rate_hz for each in _settings()]
    assert all(rate == 0 or rate >= CREEP_RATE_HZ for rate in rates)
    creeping = [each for each in _settings() if 0 < each.decision_rate_hz < FLOOR_RATE_HZ]
    cheapest = min(KNOBS.clocks_hz, key=lambda hz: COSTS.joules_at(replace(creeping[0], gpu_max_freq_hz=hz)))
    assert {each.gpu_max_freq_hz for each in creeping} == {cheapest}


@pytest.mark.parametrize("latency_s", [None, 0.05, 0.1, 0.4, 2.8])
def test_no_setting_adds_more_than_it_is_allowed(latency_s: float | None) -> None:
    costs = Costs(9.0, latency_s, TOP)
    for knobs in (KNOBS, SEVERAL, replace(KNOBS, plan_samples=256)):
        for allowed_w in range(120):
            setting = fitting(costs, knobs, TOP, float(allowed_w))
            assert costs.watts(setting) <= allowed_w + 1e-6
            assert 1 <= setting.plan_samples <= knobs.plan_samples


def test_fewer_than_one_decision_a_second_save_nothing_in_the_second_that_has_one() -> None:
    assert COSTS.watts(replace(FULL, decision_rate_hz=0.2)) == COSTS.watts(
        replace(FULL, decision_rate_hz=1.0)
    )
    assert COSTS.watts(replace(FULL, decision_rate_hz=0.0)) == 0.0


def test_a_second_holds_no_more_than_one_second_of_a_busy_gpu() -> None:
    slow = Costs(200.0, 2.8, TOP)
    assert slow.watts(FULL) == pytest.approx(200.0 / 2.8)
    assert fitting(slow, KNOBS, TOP, 72.0).decision_rate_hz == 10.0


def test_a_slow_policy_that_would_be_too_busy_is_held_by_the_clock() -> None:
    """200 J in 2.8 s: no rate helps, a slower GPU does."""
    costs = Costs(200.0, 2.8, TOP)
    held = fitting(costs, KNOBS, TOP, 62.0)
    assert held.decision_rate_hz == 10.0
    assert held.gpu_max_freq_hz < TOP
    assert fitting(costs, KNOBS, TOP, 30.0) == KNOBS.hold()


def test_a_decision_that_may_think_for_long_is_not_begun_where_it_would_take_the_second() -> None:
    few = fitting(COSTS, KNOBS, TOP, 30.0)
    assert few.max_reasoning_tokens < TOKENS[0]
    assert COSTS.longest_j(few) <= 0.4 * 30.0


def test_while_nobody_knows_how_long_a_decision_takes_it_is_not_counted_as_short() -> None:
    unknown = Costs(9.0, None, TOP)
    assert unknown.watts(FULL) == 90.0
    assert best_clock(unknown, KNOBS, 20.0, 0.5) == TOP


def test_the_best_clock_gives_most_decisions_and_more_watts_never_want_a_slower_one() -> None:
    clocks = [best_clock(COSTS, KNOBS, float(allowed_w), 0.5) for allowed_w in (70, 80, 90, 100)]
    assert all(lower <= higher for lower, higher in pairwise(clocks))
    assert clocks[-1] == TOP


def test_no_clock_is_best_at_which_a_decision_takes_longer_than_promised() -> None:
    slowest = best_clock(COSTS, KNOBS, 25.0, 0.5)
    promised = best_clock(COSTS, KNOBS, 25.0, 0.12)
    assert slowest < promised
    assert (COSTS.latency_at(replace(FULL, gpu_max_freq_hz=promised)) or 1.0) <= 0.12


def test_where_no_clock_lets_anything_be_decided_it_rests_at_the_lowest() -> None:
    assert best_clock(COSTS, KNOBS, 2.0, 0.5) == KNOBS.clocks_hz[0]


def test_without_a_clock_table_the_clock_is_no_knob() -> None:
    knobs = knob_range(5.0, ())
    assert {fitting(COSTS, knobs, 0, float(watts)).gpu_max_freq_hz for watts in range(80)} == {0}
    assert knob_range(0.1, ()).hold().decision_rate_hz == 0.0


def test_a_device_that_shall_decide_seldom_may_do_so() -> None:
    assert fitting(COSTS, knob_range(0.5, CLOCKS), TOP, 30.0).decision_rate_hz == 0.5


def test_no_setting_raises_the_clock_above_the_resting_one() -> None:
    for clock_hz in KNOBS.clocks_hz:
        for allowed_w in range(4, 60):
            assert fitting(COSTS, KNOBS, clock_hz, float(allowed_w)).gpu_max_freq_hz <= clock_hz
