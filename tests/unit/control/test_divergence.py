"""How far two plans lie apart, by geometry that can be checked by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control.divergence import UNKNOWN, Diverged, Divergence, divergence
from agent.control.gate import Command
from agent.control.plan import Plan

_S = 1_000_000_000
NOW_NS = 50 * _S


def plan(
    acceleration_mps2: float = 0.0,
    curvature_per_m: float = 0.0,
    *,
    start_s: float = 0.0,
    steps: int = 64,
    dt_s: float = 0.1,
) -> Plan:
    """The same command for `steps`, from `start_s` after `NOW_NS` on."""
    start_ns = NOW_NS + round(start_s * _S)
    return Plan(1, 1, start_ns, round(dt_s * _S), (Command(acceleration_mps2, curvature_per_m),) * steps)


def apart(driving: Plan, shadow: Plan, speed_mps: float = 10.0) -> Divergence:
    found = divergence(driving, shadow, NOW_NS, speed_mps)
    assert found is not None
    return found


def test_a_plan_does_not_differ_from_itself() -> None:
    assert apart(plan(0.7, 0.02), plan(0.7, 0.02)) == (0.0, 0.0, 0.0, 0.0)


def test_another_acceleration_leads_half_of_the_difference_times_time_squared_further() -> None:
    found = apart(plan(0.5), plan(1.5))
    assert found == pytest.approx((1.0, 0.0, 0.5, 4.5))


def test_another_curvature_leads_to_where_the_two_arcs_are() -> None:
    curvature, speed = 0.02, 10.0
    found = apart(plan(), plan(0.0, curvature), speed)
    for seconds, displacement_m in ((1, found.displacement_1s_m), (3, found.displacement_3s_m)):
        angle = speed * seconds * curvature
        x_m, y_m = math.sin(angle) / curvature, (1 - math.cos(angle)) / curvature
        assert displacement_m == pytest.approx(math.hypot(speed * seconds - x_m, y_m), rel=1e-3)
    assert found.curvature_rms_per_m == pytest.approx(curvature)


def test_a_vehicle_that_stands_goes_nowhere_on_either_plan_and_never_rolls_back() -> None:
    found = apart(plan(0.0, 0.1), plan(-3.0, -0.1), speed_mps=0.0)
    assert (found.displacement_1s_m, found.displacement_3s_m) == (0.0, 0.0)
    assert found.acceleration_rms_mps2 == pytest.approx(3.0)


def test_only_the_time_that_both_cover_and_that_is_to_come_is_compared() -> None:
    late = Plan(1, 1, NOW_NS - _S, _S, (Command(9.0, 0.0), *(Command(1.0, 0.0),) * 4))
    found = divergence(late, plan(1.0, start_s=1.0), NOW_NS, 10.0)
    assert found is not None
    assert found.acceleration_rms_mps2 == pytest.approx(0.0)


def test_plans_that_end_early_say_nothing_of_later() -> None:
    found = apart(plan(), plan(1.0, steps=20))
    assert found.displacement_1s_m == pytest.approx(0.5)
    assert math.isnan(found.displacement_3s_m)
    assert divergence(plan(steps=3), plan(start_s=1.0), NOW_NS, 10.0) is None


accelerations, curvatures = st.floats(-5, 3), st.floats(-0.2, 0.2)


@given(accelerations, curvatures, accelerations, curvatures, st.floats(0, 30))
def test_it_does_not_matter_which_of_two_plans_is_driven_on(
    a: float, c: float, other_a: float, other_c: float, speed_mps: float
) -> None:
    one, other = plan(a, c), plan(other_a, other_c)
    assert apart(one, other, speed_mps) == pytest.approx(apart(other, one, speed_mps))


def test_over_many_plans_the_root_mean_square_is_kept_and_what_one_did_not_tell_does_not_spoil_it() -> None:
    found = Diverged().after(Divergence(3.0, 0.1, 0.3, 4.0)).after(Divergence(4.0, 0.1, 0.4, math.nan))
    assert found.plans == 2
    assert found.rms == pytest.approx((math.sqrt(12.5), 0.1, math.sqrt(0.125), 4.0))
    assert all(map(math.isnan, (*Diverged().rms, *UNKNOWN)))
