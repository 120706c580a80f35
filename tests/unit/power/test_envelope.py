"""The figures that the envelope is judged by."""

import pytest

from agent.power.envelope import EnergyMeter, Envelope, RollingMean

S = 1_000_000_000


def test_the_mean_weighs_samples_by_the_time_they_held() -> None:
    mean = RollingMean()
    mean.add(0, 100.0)
    mean.add(S // 2, 100.0)
    mean.add(S * 9 // 10, 50.0)
    assert mean.mean(S) == pytest.approx(95.0)
    assert mean.mean(S + S * 4 // 10) == pytest.approx(75.0)


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


def test_energy_is_power_over_time_and_leaves_out_what_nobody_saw() -> None:
    meter = EnergyMeter()
    for tenth in range(11):
        meter.add(tenth * S // 10, 40.0)
    assert meter.energy_j == pytest.approx(40.0)
    meter.add(100 * S, 40.0)
    assert meter.energy_j == pytest.approx(40.0)


def test_the_target_lies_below_the_limit_and_heat_or_a_blind_thermometer_lowers_it() -> None:
    envelope = Envelope(100.0)
    assert envelope.target_w == pytest.approx(96.0)
    assert envelope.at(96.0).target_w < 85.0
    assert envelope.at(None).target_w < 85.0


def test_heat_stays_on_until_it_has_cooled_by_five_degrees() -> None:
    hot = Envelope(100.0).at(95.0)
    assert hot.at(92.0).hot
    assert not hot.at(89.9).hot
    assert not Envelope(100.0).at(92.0).hot
