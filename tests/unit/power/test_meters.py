"""What the governor is told: over the same time, or not at all."""

import pytest

from agent.power.meters import OthersMeter, PowerMeters, WorkMeter, seconds_ahead
from agent.power.progress import Progress, Turn

S = 1_000_000_000
TENTH = S // 10


def _metered(tenths: int, watts: float = 50.0, before_j: float = 0.0) -> PowerMeters:
    meters = PowerMeters(before_j)
    for tenth in range(tenths + 1):
        meters.add(tenth * TENTH, watts)
    return meters


def test_a_second_is_seen_only_where_all_of_it_was() -> None:
    assert not _metered(9).is_seen(9 * TENTH)
    assert _metered(10).is_seen(S)
    meters = _metered(20)
    for tenth in range(31, 41):
        meters.add(tenth * TENTH, 50.0)
        assert not meters.is_seen(tenth * TENTH) or tenth >= 35


def test_of_each_second_ahead_it_is_told_what_was_taken_in_it_and_in_the_one_before() -> None:
    seconds = seconds_ahead(_metered(20), WorkMeter(0), 2 * S)
    assert [second.ahead_s for second in seconds] == pytest.approx([tenth / 10 for tenth in range(1, 10)])
    for second in seconds:
        assert second.past_j == pytest.approx(50.0 * (1 - second.ahead_s))
        assert second.delayed_j == pytest.approx(50.0 * (0.9 - second.ahead_s))
        assert second.before_j == pytest.approx(50.0)


def _decided(since_ns: int, until_ns: int, under_way_ns: int = 0) -> Progress:
    turn = Turn(1, until_ns - since_ns, until_ns, until_ns - since_ns, under_way_ns)
    return Progress(1, 0, until_ns - since_ns, (turn,))


def test_time_spent_on_decisions_is_known_to_where_each_began_and_ended() -> None:
    meter = WorkMeter(0)
    meter.add(S, _decided(650 * S // 1000, 780 * S // 1000, 960 * S // 1000))
    assert meter.busy.seconds(0) == pytest.approx(0.13 + 0.04)
    assert meter.busy.seconds(7 * TENTH) == pytest.approx(0.08 + 0.04)
    assert meter.busy.under_way_s == pytest.approx(0.04)
    assert meter.busy.beginnings(7 * TENTH) == [960 * S // 1000]
    ahead_s = [second.ahead_s for second in seconds_ahead(_metered(10), meter, S)]
    assert 0.65 in ahead_s
    assert 0.96 in ahead_s


def test_a_worker_that_was_killed_while_it_decided_is_not_deciding_for_ever() -> None:
    meter = WorkMeter(0)
    killed = _decided(5 * TENTH, 6 * TENTH, 7 * TENTH)
    still = killed._replace(decisions=0, turns=(killed.turns[0]._replace(decisions=0),))
    meter.add(S, killed)
    for tenth in range(11, 40):
        meter.add(tenth * TENTH, still)
    assert meter.busy.under_way == 0
    assert meter.busy.under_way_s == 0.0


def test_decisions_too_short_to_be_seen_one_by_one_are_spread_over_the_time_before_the_latest() -> None:
    meter = WorkMeter(0)
    meter.add(TENTH, Progress(4, 0, TENTH // 2, (Turn(4, TENTH // 2, TENTH, TENTH // 10, 0),)))
    assert meter.busy.seconds(0) == pytest.approx(0.05)
    assert meter.busy.seconds(TENTH // 2) == pytest.approx(0.01 + 0.04 * 4 / 9, abs=0.001)


def test_what_others_take_is_what_their_rail_has_beyond_its_usual() -> None:
    meter = OthersMeter()
    for tenth in range(1, 100):
        meter.add(tenth * TENTH, 9.0 + tenth % 3)
    assert meter.watts == 0.0
    meter.add(10 * S, 20.0)
    first_w = meter.watts
    meter.add(101 * TENTH, 30.0)
    meter.add(102 * TENTH, 30.0)
    assert meter.watts == pytest.approx(22.0, abs=1.0)
    assert first_w == pytest.approx(meter.watts, abs=5.0)  # a first sample is a mean of before and after
    meter.add(103 * TENTH, None)
    assert meter.watts == 0.0
    assert 1.0 < meter.second_w(103 * TENTH) < 8.0


def test_a_step_of_others_is_a_rise_for_as_long_as_the_second_before_holds_less_of_it() -> None:
    meter = OthersMeter()
    for tenth in range(1, 31):
        meter.add(tenth * TENTH, 10.0)
    rises_w = []
    for tenth in range(31, 61):
        meter.add(tenth * TENTH, 30.0)
        rises_w.append(meter.rise_w(tenth * TENTH))
    assert max(rises_w) == rises_w[9] == pytest.approx(22.0, abs=1.0)
    assert rises_w[4] == pytest.approx(11.0, abs=1.0)
    assert rises_w[-5:] == pytest.approx([0.0] * 5, abs=1.0)


def test_what_decisions_do_to_the_rail_is_nobodys_and_twice_that_is_others_whole() -> None:
    for beyond_w, others_w in ((3.0, 0.0), (4.5, 3.3), (6.0, 6.6), (12.0, 13.2)):
        meter = OthersMeter()
        meter.add(TENTH, 10.0)
        meter.add(TENTH, 10.0 + beyond_w)
        meter.add(TENTH, 10.0 + beyond_w)
        assert meter.watts == pytest.approx(others_w)


def test_what_stands_in_for_the_monitor_fills_a_second_and_teaches_nothing() -> None:
    meters = _metered(30)
    for tenth in range(31, 36):
        meters.infer(tenth * TENTH, 80.0)
    assert meters.is_seen(35 * TENTH)
    assert meters.mean_w(35 * TENTH) == pytest.approx(65.0)
    assert meters.taken_j(31 * TENTH, 35 * TENTH) == pytest.approx(32.0)
    assert meters.steady_w(35 * TENTH) is None
    assert meters.energy.energy_j == pytest.approx(150.0)
    for tenth in range(36, 66):
        assert meters.steady_w(tenth * TENTH) is None or tenth >= 65
        meters.add(tenth * TENTH, 50.0)
    assert meters.steady_w(65 * TENTH) == pytest.approx(50.0)


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
