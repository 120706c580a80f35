"""The envelope and the figures that it is judged by."""

import pytest

from agent.power.envelope import EnergyMeter, Envelope, RollingMean, Terms, stepped

S = 1_000_000_000


def test_the_mean_weighs_samples_by_the_time_that_they_speak_of() -> None:
    mean = RollingMean()
    mean.add(0, 100.0)
    mean.add(S // 2, 100.0)
    mean.add(S * 9 // 10, 50.0)
    assert mean.mean(S) == pytest.approx(0.5 * 100.0 + 0.5 * 50.0)


def test_the_mean_forgets_what_is_older_than_its_window() -> None:
    mean = RollingMean()
    for tenth in range(100):
        mean.add(tenth * S // 10, 200.0 if tenth < 50 else 60.0)
    assert mean.mean(99 * S // 10) == pytest.approx(60.0)


def test_after_a_gap_the_mean_speaks_only_of_what_was_seen_since() -> None:
    mean = RollingMean()
    mean.add(0, 60.0)
    mean.add(10 * S, 120.0)
    assert mean.mean(10 * S) == pytest.approx(120.0)
    assert mean.mean(10 * S + S // 10) == pytest.approx(120.0)


def test_a_window_without_samples_has_no_mean() -> None:
    assert RollingMean().mean(S) is None


def test_of_a_time_that_was_not_seen_whole_there_are_no_joules() -> None:
    mean = RollingMean()
    for tenth in (0, 1, 2, 3, 9, 10):
        mean.add(tenth * S // 10, 50.0)
    assert mean.energy_j(S * 6 // 10, S) == pytest.approx(20.0)
    assert mean.energy_j(S // 10, S) is None


def test_energy_is_power_over_time_and_leaves_out_what_nobody_saw() -> None:
    meter = EnergyMeter()
    for tenth in range(11):
        meter.add(tenth * S // 10, 40.0)
    assert meter.energy_j == pytest.approx(40.0)
    meter.add(100 * S, 40.0)
    assert meter.energy_j == pytest.approx(40.0)


@pytest.mark.parametrize("limit_w", [40.0, 70.0, 130.0])
def test_the_reserve_bears_a_burst_until_it_is_noticed_and_never_vanishes(limit_w: float) -> None:
    for burst_w in (0.0, 5.0, 15.0, 30.0):
        envelope = Envelope(limit_w, Terms(burst_w=burst_w))
        assert envelope.target_w() + 0.25 * burst_w <= 1.019 * limit_w + 1e-9
        assert envelope.target_w() <= envelope.bearable_w == pytest.approx(1.019 * limit_w - 1.8)
        assert envelope.target_w() <= limit_w


def test_the_part_of_a_burst_that_has_begun_needs_no_reserve_any_more() -> None:
    envelope = Envelope(90.0, Terms(burst_w=20.0))
    assert envelope.target_w(others_w=8.0) == pytest.approx(envelope.target_w() + 2.0)
    assert envelope.target_w(others_w=40.0) == envelope.bearable_w


def test_heat_derates_by_a_hundredth_a_second_and_comes_back_slowly() -> None:
    envelope = Envelope(100.0)
    cold_w = envelope.target_w()
    for _ in range(10):
        envelope = envelope.after(1.0, 100.0, 96.0)
    assert envelope.heat_share == pytest.approx(0.9)
    assert envelope.target_w() < 0.92 * cold_w
    for _ in range(10):
        envelope = envelope.after(1.0, 100.0, 60.0)
    assert envelope.heat_share == pytest.approx(0.92)
    assert envelope.limit_w == 100.0


def test_heat_stays_on_until_it_has_cooled_by_five_degrees() -> None:
    hot = Envelope(100.0).after(1.0, 100.0, 95.0)
    assert hot.hot
    assert hot.after(1.0, 100.0, 92.0).hot
    assert not hot.after(1.0, 100.0, 89.9).hot
    assert not Envelope(100.0).after(1.0, 100.0, 92.0).hot


@pytest.mark.parametrize(("hottest_c", "throttled"), [(None, False), (50.0, True)])
def test_an_unknown_temperature_and_throttling_hardware_count_as_hot(
    hottest_c: float | None, throttled: bool
) -> None:
    envelope = Envelope(100.0).after(1.0, 100.0, hottest_c, throttled=throttled)
    assert envelope.hot
    assert envelope.heat_share < 1.0


def test_however_long_it_is_hot_some_of_the_limit_is_left() -> None:
    envelope = Envelope(100.0)
    for _ in range(1000):
        envelope = envelope.after(1.0, 100.0, 110.0)
    assert envelope.heat_share == pytest.approx(0.3)


def test_the_limit_follows_its_order_along_the_ramp() -> None:
    envelope = Envelope(120.0, Terms(up_w_per_s=20.0, down_w_per_s=30.0))
    envelope = envelope.after(1.0, 60.0, 50.0)
    assert envelope.limit_w == 90.0
    envelope = envelope.after(1.0, 60.0, 50.0).after(0.5, 120.0, 50.0)
    assert envelope.limit_w == 70.0
    assert stepped(70.0, 71.0, Terms(), 1.0) == 71.0
