"""What the power bench makes of a drive: the same script for every device, and the truth by the limit of its time."""

from itertools import pairwise

import pytest

from agent.emulator.faults import Fault
from agent.emulator.profile import ProfileName, profile_named
from agent.emulator.truth import PowerTrace
from bench.power_drive import fixed, governed, over_envelope, ramps
from bench.power_script import Order, Script, burst_w_for, drive_script, fault_script

S = 1_000_000_000
R39 = profile_named(ProfileName.R39)


def _script(*orders: Order, steps_s: tuple[float, ...] = (0.0,)) -> Script:
    return Script(
        20.0, steps_s, tuple(5.0 * (number % 2) for number in range(len(steps_s))), 20.0, (), orders
    )


def _trace(*spans: tuple[float, float, float]) -> PowerTrace:
    trace = PowerTrace()
    for since_s, until_s, watts in spans:
        trace.add(round(since_s * S), round(until_s * S), watts)
    return trace


def test_every_device_meets_the_same_bursts_at_the_same_times_as_high_as_its_supply_carries() -> None:
    wide, tight = drive_script(130.0, 300.0, 1), drive_script(55.0, 300.0, 1)
    assert wide.steps_s == tight.steps_s
    assert max(wide.steps_w) <= burst_w_for(130.0) == 20.0
    assert max(tight.steps_w) <= burst_w_for(55.0) < 7.0
    assert drive_script(130.0, 300.0, 2).steps_s != wide.steps_s
    assert all(later > sooner for sooner, later in pairwise(wide.steps_s))


def test_a_drive_has_a_step_of_the_air_and_spells_in_which_the_monitor_says_nothing() -> None:
    script = drive_script(90.0, 600.0, 1)
    assert (script.ambient_c(299.0), script.ambient_c(301.0)) == (25.0, 45.0)
    assert {span.fault for span in script.faults} == {
        Fault.EAGAIN,
        Fault.HWMON_RENUMBERING,
        Fault.MISSING_SENSOR,
    }


def test_a_second_is_judged_by_the_limit_in_force_once_that_had_time_to_be_reached() -> None:
    """A drop of 30 W at 40 W a second, and one second and a half: from 12.25 s on."""
    trace = _trace((0.0, 10.0, 90.0), (10.0, 11.75, 80.0), (11.75, 20.0, 50.0))
    assert over_envelope(trace, _script(), 90.0, 0) == pytest.approx(1.0)
    assert over_envelope(trace, _script(Order(10.0, 60.0)), 90.0, 0) == pytest.approx(1.08, abs=0.01)
    late = _trace((0.0, 14.0, 90.0), (14.0, 20.0, 50.0))
    assert over_envelope(late, _script(Order(10.0, 60.0)), 90.0, 0) == pytest.approx(1.5)
    given_back = _script(Order(10.0, 60.0), Order(12.0, None))
    assert over_envelope(late, given_back, 90.0, 0) == pytest.approx(1.0), "it was never due"


def test_what_others_do_is_no_ramp_of_the_device() -> None:
    trace = _trace((0.0, 5.0, 30.0), (5.0, 12.0, 50.0), (12.0, 20.0, 40.0))
    up_w, down_w = ramps(trace, _script(), 0)
    assert (up_w, down_w) == pytest.approx((20.0, 10.0))
    assert ramps(trace, _script(steps_s=(0.0, 5.0)), 0) == pytest.approx((0.0, 10.0))


def test_a_governed_drive_stays_inside_where_the_fixed_mode_does_not_and_says_what_fails() -> None:
    script = fault_script(90.0, Fault.MISSING_SENSOR, 30.0, 1)
    driven = governed(90.0, R39, script, 1)
    assert driven.is_inside
    assert driven.decisions_per_s > 3
    assert driven.said_after_s is not None
    assert driven.said_after_s < 0.5
    assert not fixed(90.0, R39, script, 1, mode=0).is_inside
