"""Whether another decision may begin, and when: every second that it reaches into must have room."""

from dataclasses import replace

import pytest

from agent.power.costs import Costs, KnobSetting
from agent.power.envelope import Envelope, Terms
from agent.power.room import wait_ns
from agent.power.state import HELD_NS, GovernorState, Readings, Second

IDLE_W, DECISION_J, DECISION_S = 27.0, 9.0, 0.1
TENTHS_S = tuple(tenth / 10 for tenth in range(1, 10))
SETTING = KnobSetting(5.0, 16, 4, 0)
BEARABLE_W, HELD_W = 70.0, 71.42
"""What a second may hold in `STATE`, and that before what is kept free of one that may cut a decision."""
LIMIT_W = (HELD_W + 1.8) / 1.019
STATE = GovernorState(
    SETTING, 0, Envelope(LIMIT_W, Terms(burst_w=0.0)), Costs(DECISION_J, DECISION_S, 0), IDLE_W
)


def second(ahead_s: float, *ended_s: float) -> Second:
    """Of a device in which decisions ended so many seconds ago, whose monitor is a tenth late."""
    busy_s = sum(max(0.0, min(DECISION_S, 1.0 - ahead_s - ago_s)) for ago_s in ended_s)
    seen_s = sum(max(0.0, min(DECISION_S, 1.0 - ahead_s - ago_s - 0.1)) for ago_s in ended_s)
    power_w = STATE.costs.busy_w(SETTING)
    return Second(
        ahead_s,
        IDLE_W * (1.0 - ahead_s) + power_w * busy_s,
        busy_s,
        len(ended_s),
        IDLE_W * max(0.0, 0.9 - ahead_s) + power_w * seen_s,
    )


def readings(*ended_s: float) -> Readings:
    seconds = tuple(second(ahead_s, *ended_s) for ahead_s in TENTHS_S)
    return Readings(0, 60.0, seconds, None, 5.0, DECISION_S, 50.0, None, LIMIT_W)


def test_an_idle_device_may_begin_at_once() -> None:
    assert wait_ns(STATE, readings()) == 0


def test_a_setting_that_decides_nothing_lets_nothing_begin() -> None:
    held = replace(STATE, setting=replace(SETTING, decision_rate_hz=0.0))
    assert wait_ns(held, readings()) == HELD_NS


def test_a_second_that_holds_all_it_may_lets_none_begin_until_its_first_decision_leaves_it() -> None:
    full = (0.0, 0.2, 0.4, 0.6, 0.78)
    waits_ns = wait_ns(STATE, readings(*full))
    assert 0 < waits_ns < HELD_NS
    assert wait_ns(STATE, readings(*full[:-2])) == 0


def test_a_decision_that_is_under_way_is_counted_beside_the_one_that_would_begin() -> None:
    told = readings(0.3, 0.5, 0.7)
    assert wait_ns(STATE, told) == 0
    assert wait_ns(STATE, replace(told, under_way_s=0.02)) > 0


@pytest.mark.parametrize(
    ("read_hz", "since_s", "is_free"), [(5, 2.0, True), (10, 2.0, False), (10, 1.0, True)]
)
def test_a_clock_that_was_not_lowered_is_counted_with_once_it_had_time_to_be(
    read_hz: int, since_s: float, is_free: bool
) -> None:
    """At half the clock a decision takes fewer watts, for longer: 1.7 J less in its first tenth of a second."""
    costs = Costs(DECISION_J, DECISION_S, 10)
    state = replace(STATE, setting=replace(SETTING, gpu_max_freq_hz=5), costs=costs)
    told = replace(readings(), seconds=(Second(0.1, 58.0, 0.0, 0),), mono_ns=round(since_s * 1e9))
    assert (wait_ns(state, replace(told, gpu_max_freq_hz=read_hz)) == 0) is is_free


def test_what_others_begin_to_take_is_counted_for_the_time_ahead() -> None:
    told = readings(0.3, 0.5, 0.7)
    assert wait_ns(STATE, told) == 0
    assert wait_ns(replace(STATE, others_w=20.0), told) > 0


def test_what_is_seen_of_a_second_is_never_less_than_its_decisions_took() -> None:
    """A sensor that stands still at a low figure, or that did not see all of it, makes no room."""
    told = readings(0.0, 0.2, 0.4, 0.6, 0.78)
    low = tuple(each._replace(past_j=IDLE_W * (1 - each.ahead_s), delayed_j=0.0) for each in told.seconds)
    assert wait_ns(STATE, replace(told, seconds=low)) > 0
    assert wait_ns(STATE, replace(told, seconds=low, is_seen=False)) > 0


def test_what_the_monitor_could_not_see_yet_is_counted_on_top_of_what_it_saw() -> None:
    told = readings(0.2, 0.5)
    dearer = tuple(each._replace(busy_s=0.0, delayed_j=each.delayed_j + 6.0) for each in told.seconds)
    seen = replace(told, seconds=dearer)
    newest = tuple(each._replace(busy_s=0.1) for each in dearer)
    assert wait_ns(STATE, seen) == 0
    assert wait_ns(STATE, replace(seen, seconds=newest, latest_busy_s=0.1)) > 0


def test_unseen_half_a_burst_of_others_may_have_been_there_already() -> None:
    told = replace(readings(0.2, 0.4, 0.6), is_seen=False)
    state = replace(STATE, envelope=Envelope(LIMIT_W, Terms(burst_w=25.0)))
    assert wait_ns(STATE, told) == 0
    assert wait_ns(state, told) > 0


def test_a_second_may_take_no_more_than_the_one_before_and_what_the_load_may_rise() -> None:
    told = readings(0.1, 0.3)
    before = tuple(each._replace(before_j=IDLE_W) for each in told.seconds)
    slow = replace(STATE, envelope=Envelope(LIMIT_W, Terms(burst_w=0.0, up_w_per_s=15.0)))
    assert wait_ns(slow, told) == 0
    assert wait_ns(slow, replace(told, seconds=before)) > 0
    assert wait_ns(slow, replace(told, seconds=before, others_rise_w=20.0)) == 0


@pytest.mark.parametrize(("share", "kept_w"), [(1.0, 0.0), (2 / 3, 1.7), (0.3, 0.72)])
def test_where_decisions_follow_on_one_another_less_is_kept_free_than_where_a_second_may_cut_one(
    share: float, kept_w: float
) -> None:
    busy_w = (HELD_W - IDLE_W) / share
    state = replace(STATE, costs=Costs(busy_w * DECISION_S, DECISION_S, 0))
    full_j = HELD_W - kept_w - 0.5 * IDLE_W - state.costs.longest_j(SETTING)
    for spare_j, is_free in ((0.1, True), (-0.1, False)):
        told = replace(readings(), seconds=(Second(0.5, full_j - spare_j, 0.0, 0),))
        assert (wait_ns(state, told) == 0) is is_free


@pytest.mark.parametrize("joules", [float("nan"), float("inf"), -1.0])
def test_nonsense_makes_no_room_where_decisions_fill_the_second(joules: float) -> None:
    told = readings(0.0, 0.2, 0.4, 0.6, 0.78)
    nonsense = tuple(each._replace(past_j=joules, delayed_j=joules, before_j=joules) for each in told.seconds)
    assert wait_ns(STATE, replace(told, seconds=nonsense)) > 0


def test_beside_a_usual_decision_there_is_room_for_a_burst_of_others_that_nobody_has_noticed() -> None:
    told = readings(0.3, 0.5, 0.7)
    calm = replace(STATE, envelope=Envelope(LIMIT_W, Terms(burst_w=0.0)))
    assert wait_ns(calm, told) == 0
    assert wait_ns(replace(calm, envelope=Envelope(LIMIT_W, Terms(burst_w=40.0))), told) > 0


def test_a_second_that_is_over_before_the_decision_begins_does_not_hold_it() -> None:
    told = readings()
    full, *later = told.seconds
    crowded = replace(told, seconds=(full._replace(past_j=200.0), *later))
    assert 0.1 <= wait_ns(STATE, crowded) / 1e9 < 0.12


def test_what_others_took_lately_is_counted_for_the_time_that_is_over() -> None:
    told = replace(readings(0.3, 0.5, 0.7), is_seen=False)
    assert wait_ns(STATE, told) == 0
    assert wait_ns(STATE, replace(told, second_others_w=12.0)) > 0


def test_of_a_decision_that_thinks_long_something_is_left_for_all_that_is_known() -> None:
    told = readings(0.3, 0.5, 0.7)
    assert wait_ns(STATE, told) == 0
    assert wait_ns(STATE, replace(told, under_way_s=0.5)) > 0


def test_a_decision_that_began_under_a_fuller_setting_still_takes_what_that_took() -> None:
    told = replace(readings(0.3, 0.5), under_way_s=0.02)
    assert wait_ns(STATE, told) == 0
    assert wait_ns(replace(STATE, joules_share=2.0), told) > 0


def test_a_decision_takes_most_at_first_when_it_sees() -> None:
    """With 0.9 J more in its first tenth than its mean the second that ends then is full."""
    almost_j = BEARABLE_W - IDLE_W * 0.1 - DECISION_J
    full, *later = readings().seconds
    assert wait_ns(STATE, replace(readings(), seconds=(full._replace(past_j=almost_j - 1.5), *later))) == 0
    assert wait_ns(STATE, replace(readings(), seconds=(full._replace(past_j=almost_j - 0.5), *later))) > 0


def test_while_nobody_knows_how_long_decisions_take_they_are_counted_by_their_number() -> None:
    unknown = replace(STATE, costs=Costs(DECISION_J, None, 0))
    few, many = ((Second(0.5, 13.5, 0.1, count),) for count in (1, 5))
    assert wait_ns(unknown, replace(readings(), seconds=few)) == 0
    assert wait_ns(unknown, replace(readings(), seconds=many)) > 0
