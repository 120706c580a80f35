"""What the governor is told: over the same time, or not at all."""

import pytest

from agent.power.meters import PowerMeters, WorkMeter
from agent.power.progress import Progress
from agent.power.state import AHEAD_S

S = 1_000_000_000
TENTH = S // 10


def _metered(tenths: int, watts: float = 50.0, before_j: float = 0.0) -> PowerMeters:
    meters = PowerMeters(before_j)
    for tenth in range(tenths + 1):
        meters.add(tenth * TENTH, watts)
    return meters


def test_joules_of_the_past_are_told_only_where_all_of_it_was_seen() -> None:
    assert _metered(8).past_j(8 * TENTH) == ()
    past_j = _metered(9).past_j(9 * TENTH)
    assert past_j == pytest.approx([50.0 * (1 - ahead_s) for ahead_s in AHEAD_S])


def test_after_a_blind_second_the_past_is_unknown_until_it_was_seen_again() -> None:
    meters = _metered(20)
    for tenth in range(31, 41):
        meters.add(tenth * TENTH, 50.0)
        if tenth < 35:
            assert meters.past_j(tenth * TENTH) == ()
    assert len(meters.past_j(4 * S)) == len(AHEAD_S)


def test_a_steady_mean_needs_three_seconds_and_energy_goes_on_from_before() -> None:
    assert _metered(29).steady_w(29 * TENTH) is None
    meters = _metered(30, before_j=7.0)
    assert meters.steady_w(3 * S) == pytest.approx(50.0)
    assert meters.mean_w(3 * S) == pytest.approx(50.0)
    assert meters.energy.energy_j == pytest.approx(157.0)


def test_decisions_and_their_seconds_are_counted_over_three_seconds() -> None:
    meter = WorkMeter(0)
    for tenth in range(1, 61):
        meter.add(tenth * TENTH, Progress(tenth % 2, 0, TENTH // 2 * (tenth % 2)))
    work = meter.work(6 * S)
    assert work.decisions_per_s == pytest.approx(5.0)
    assert work.latency_s == pytest.approx(0.05)
    assert not work.idle


def test_a_device_that_has_just_started_tells_no_rate() -> None:
    meter = WorkMeter(0)
    meter.add(TENTH, Progress(1, 0, TENTH))
    assert meter.work(2 * TENTH).decisions_per_s is None


def test_a_policy_of_nearly_three_seconds_is_not_mistaken_for_an_idle_device() -> None:
    meter = WorkMeter(0)
    meter.add(28 * TENTH, Progress(1, 0, 28 * TENTH))
    for tenth in range(29, 150):
        meter.add(tenth * TENTH, Progress())
    work = meter.work(15 * S)
    assert (work.idle, work.latency_s) == (False, 2.8)
    assert meter.work(28 * TENTH + 14 * S).idle


def test_a_device_that_decides_nothing_is_idle_after_three_seconds() -> None:
    meter = WorkMeter(0)
    meter.add(S, Progress(1, 0, TENTH))
    meter.add(39 * TENTH, Progress())
    assert not meter.work(39 * TENTH).idle
    meter.add(4 * S, Progress())
    assert meter.work(4 * S).idle
