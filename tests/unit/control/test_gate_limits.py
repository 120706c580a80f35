"""Each limit of the gate, at its edge and beyond."""

import math
from dataclasses import replace
from typing import Any

import pytest

from agent.control.gate import (
    DEVICE_LIMITS,
    HEARTBEAT_MAX_AGE_NS,
    REST,
    VEHICLE_MAX_AGE_NS,
    Command,
    GateLimits,
    GateReason,
    Situation,
    passed,
)

LIMITS = GateLimits(
    max_acceleration_mps2=3.0,
    max_braking_mps2=6.0,
    max_jerk_mps3=1000.0,
    max_curvature_per_m=0.2,
    max_curvature_rate_per_ms=100.0,
    max_lateral_mps2=3.0,
    max_speed_mps=15.0,
)
NOW_NS, S = 1_000_000_000_000, 1_000_000_000


def at(speed_mps: float, dt_s: float = 0.01, **changes: Any) -> Situation:
    """A tick of a vehicle that says its speed and nothing of its wheel, with a plan and a watchful supervisor."""
    now = Situation(
        mono_ns=NOW_NS,
        previous_ns=NOW_NS - round(dt_s * S),
        vehicle_ns=NOW_NS,
        speed_mps=speed_mps,
        curvature_per_m=math.nan,
        plan_from_ns=NOW_NS - S,
        plan_until_ns=NOW_NS + 5 * S,
        heartbeat_ns=NOW_NS,
    )
    return now._replace(**changes)


SLOW = at(1.0)


def test_the_bits_in_old_records_keep_their_meaning() -> None:
    assert {reason.name: int(reason) for reason in GateReason} == {
        "NOT_FINITE": 1,
        "STALE": 2,
        "ACCELERATION": 4,
        "BRAKING": 8,
        "SPEED": 16,
        "JERK": 32,
        "CURVATURE": 64,
        "LATERAL": 128,
        "CURVATURE_RATE": 256,
        "NO_PLAN": 512,
        "NO_HEARTBEAT": 1024,
        "NOT_MONOTONE": 2048,
        "DISCONTINUOUS": 4096,
    }
    assert int(GateReason.NONE) == 0


def test_the_device_s_limits_and_the_gate_s_ages_are_what_the_documents_say() -> None:
    assert GateLimits(4.0, 8.0, 40.0, 0.25, 0.5, 3.0, 40.0) == DEVICE_LIMITS
    assert (VEHICLE_MAX_AGE_NS, HEARTBEAT_MAX_AGE_NS) == (300_000_000, 6_000_000_000)
    assert Command(0.0, 0.0) == REST


@pytest.mark.parametrize(
    ("proposed", "out", "reason"),
    [
        (Command(1.0, 0.1), Command(1.0, 0.1), GateReason.NONE),
        (Command(3.0, 0.2), Command(3.0, 0.2), GateReason.NONE),
        (Command(3.1, 0.0), Command(3.0, 0.0), GateReason.ACCELERATION),
        (Command(-6.0, -0.2), Command(-6.0, -0.2), GateReason.NONE),
        (Command(-6.1, 0.0), Command(-6.0, 0.0), GateReason.BRAKING),
        (Command(0.0, 0.21), Command(0.0, 0.2), GateReason.CURVATURE),
        (Command(0.0, -0.21), Command(0.0, -0.2), GateReason.CURVATURE),
        (Command(math.nan, 0.1), Command(-3.0, 0.0), GateReason.NOT_FINITE),
        (Command(0.0, math.inf), Command(-3.0, 0.0), GateReason.NOT_FINITE),
    ],
)
def test_magnitudes_are_held_and_named(proposed: Command, out: Command, reason: GateReason) -> None:
    assert passed(proposed, REST, SLOW, LIMITS) == (out, reason)


def test_jerk_is_held_in_both_directions() -> None:
    limits = replace(LIMITS, max_jerk_mps3=20.0)
    up, why_up = passed(Command(1.0, 0.0), REST, SLOW, limits)
    down, why_down = passed(Command(-1.0, 0.0), REST, SLOW, limits)
    assert up.acceleration_mps2 == pytest.approx(0.2)
    assert down.acceleration_mps2 == pytest.approx(-0.2)
    assert why_up == why_down == GateReason.JERK


@pytest.mark.parametrize("step", [0.2, -0.2])
def test_a_change_exactly_at_the_jerk_limit_is_left_alone(step: float) -> None:
    limits = replace(LIMITS, max_jerk_mps3=20.0)
    assert passed(Command(step, 0.0), REST, SLOW, limits) == (Command(step, 0.0), GateReason.NONE)


@pytest.mark.parametrize(("before", "wanted", "out"), [(-3.0, -1.0, -2.8), (2.0, -1.0, 1.8), (2.0, 2.9, 2.2)])
def test_jerk_limited_or_not_the_command_moves_towards_what_was_proposed(
    before: float, wanted: float, out: float
) -> None:
    limits = replace(LIMITS, max_jerk_mps3=20.0)
    found, _ = passed(Command(wanted, 0.0), Command(before, 0.0), SLOW, limits)
    assert found.acceleration_mps2 == pytest.approx(out)


def test_a_bend_exactly_at_the_lateral_limit_is_left_alone() -> None:
    at_limit = Command(0.0, 3.0 / 100.0)
    fast = at(10.0, 0.01)
    assert passed(at_limit, at_limit, fast, LIMITS) == (at_limit, GateReason.NONE)


def test_an_unknown_speed_brakes_without_a_jolt() -> None:
    limits = replace(LIMITS, max_jerk_mps3=20.0)
    unknown = at(math.nan)
    out, why = passed(Command(3.0, 0.0), Command(2.0, 0.0), unknown, limits)
    assert out.acceleration_mps2 == pytest.approx(1.8)
    assert why == GateReason.STALE | GateReason.JERK


def test_a_long_gap_between_ticks_earns_no_long_steps() -> None:
    limits = replace(LIMITS, max_jerk_mps3=5.0)
    late = at(1.0, 9.0)
    out, _ = passed(Command(3.0, 0.0), REST, late, limits)
    assert out.acceleration_mps2 == pytest.approx(0.5)


@pytest.mark.parametrize("speed_mps", [0.49, -0.49, 0.0])
def test_a_standing_vehicle_may_turn_its_wheel(speed_mps: float) -> None:
    out, why = passed(Command(0.0, 0.2), REST, at(speed_mps), LIMITS)
    assert (out.curvature_per_m, why) == (0.2, GateReason.NONE)


def test_rolling_backwards_pushes_sideways_too() -> None:
    back = at(-10.0, 0.01)
    out, _ = passed(Command(0.0, -0.2), REST, back, LIMITS)
    assert out.curvature_per_m == pytest.approx(-0.03)


def test_the_wheel_turns_no_faster_than_allowed() -> None:
    limits = replace(LIMITS, max_curvature_rate_per_ms=0.5)
    out, why = passed(Command(0.0, -0.1), Command(0.0, 0.1), SLOW, limits)
    assert out.curvature_per_m == pytest.approx(0.095)
    assert why == GateReason.CURVATURE_RATE


def test_the_bend_is_opened_when_the_speed_would_push_sideways_beyond_the_limit() -> None:
    fast = at(10.0, 0.01)
    out, why = passed(Command(0.0, 0.1), Command(0.0, 0.1), fast, LIMITS)
    assert out.curvature_per_m == pytest.approx(3.0 / 100.0)
    assert why & GateReason.LATERAL


def test_the_lateral_limit_wins_over_the_wheel_rate() -> None:
    fast = at(10.0, 0.01)
    limits = replace(LIMITS, max_curvature_rate_per_ms=0.5)
    out, _ = passed(Command(0.0, 0.1), Command(0.0, 0.1), fast, limits)
    assert out.curvature_per_m * 10.0**2 <= 3.0 + 1e-9


@pytest.mark.parametrize(("speed_mps", "most_mps2"), [(14.0, 2.0), (15.0, 0.0), (16.0, -2.0), (99.0, -6.0)])
def test_near_the_speed_limit_acceleration_fades_and_above_it_the_gate_brakes(
    speed_mps: float, most_mps2: float
) -> None:
    out, why = passed(Command(3.0, 0.0), REST, at(speed_mps), LIMITS)
    assert out.acceleration_mps2 == pytest.approx(most_mps2)
    assert why == GateReason.SPEED


def test_an_acceleration_exactly_at_the_speed_cap_is_left_alone() -> None:
    now = at(14.0)
    assert passed(Command(2.0, 0.0), REST, now, LIMITS) == (Command(2.0, 0.0), GateReason.NONE)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (at(5.0, vehicle_ns=NOW_NS - VEHICLE_MAX_AGE_NS - 1), GateReason.STALE),
        (at(5.0, vehicle_ns=NOW_NS + VEHICLE_MAX_AGE_NS + 1), GateReason.STALE),
        (at(math.nan), GateReason.STALE),
        (at(math.inf), GateReason.STALE),
        (at(5.0, plan_from_ns=0, plan_until_ns=0), GateReason.NO_PLAN),
        (at(5.0, plan_until_ns=NOW_NS), GateReason.NO_PLAN),
        (at(5.0, plan_from_ns=NOW_NS + 1), GateReason.NO_PLAN),
        (at(5.0, heartbeat_ns=NOW_NS - HEARTBEAT_MAX_AGE_NS - 1), GateReason.NO_HEARTBEAT),
        (at(5.0, heartbeat_ns=NOW_NS + HEARTBEAT_MAX_AGE_NS + 1), GateReason.NO_HEARTBEAT),
        (at(5.0, heartbeat_ns=0), GateReason.NO_HEARTBEAT),
    ],
)
@pytest.mark.parametrize("acceleration_mps2", [3.0, 0.0, -0.99])
def test_what_cannot_be_judged_is_braked_along_its_bend_whatever_the_follower_proposes(
    now: Situation, reason: GateReason, acceleration_mps2: float
) -> None:
    out, why = passed(Command(acceleration_mps2, -0.2), Command(-3.0, 0.05), now, LIMITS)
    assert (out, why) == (Command(-3.0, 0.05), reason)


@pytest.mark.parametrize(
    "now",
    [
        at(5.0, vehicle_ns=NOW_NS - VEHICLE_MAX_AGE_NS),
        at(5.0, vehicle_ns=NOW_NS + VEHICLE_MAX_AGE_NS),
        at(5.0, plan_from_ns=NOW_NS),
        at(5.0, plan_until_ns=NOW_NS + 1),
        at(5.0, heartbeat_ns=NOW_NS - HEARTBEAT_MAX_AGE_NS),
        at(5.0, heartbeat_ns=NOW_NS + HEARTBEAT_MAX_AGE_NS),
    ],
)
def test_up_to_the_edge_of_its_age_everything_is_judged_as_it_is(now: Situation) -> None:
    assert passed(Command(1.0, 0.0), REST, now, LIMITS) == (Command(1.0, 0.0), GateReason.NONE)


ALONE = at(5.0, plan_from_ns=0, plan_until_ns=0, heartbeat_ns=0)


def test_braking_needs_neither_a_plan_nor_anyone_who_watches() -> None:
    for braking in (Command(-1.0, 0.1), Command(-5.0, 0.1)):
        assert passed(braking, REST, ALONE, LIMITS) == (braking, GateReason.NONE)


@pytest.mark.parametrize(("speed_mps", "reason"), [(0.49, 0), (-0.49, 0), (0.5, GateReason.NO_PLAN)])
def test_a_vehicle_that_stands_may_go_on_standing_without_a_plan(speed_mps: float, reason: int) -> None:
    assert passed(REST, REST, ALONE._replace(speed_mps=speed_mps), LIMITS)[1] == reason
    assert (
        passed(Command(0.1, 0.0), REST, ALONE._replace(speed_mps=speed_mps), LIMITS)[1] == GateReason.NO_PLAN
    )


@pytest.mark.parametrize("earlier_ns", [0, 1, 5 * S])
def test_time_that_stands_still_or_goes_back_allows_no_change_at_all(earlier_ns: int) -> None:
    before = Command(1.0, 0.1)
    out, why = passed(Command(2.0, 0.2), before, SLOW._replace(previous_ns=NOW_NS + earlier_ns), LIMITS)
    assert out == before
    assert why == GateReason.NOT_MONOTONE | GateReason.JERK


def test_the_wheel_is_not_commanded_far_from_where_it_really_is() -> None:
    limits = replace(LIMITS, max_curvature_rate_per_ms=0.2)
    stuck = at(1.0, curvature_per_m=-0.02)
    out, why = passed(Command(0.0, 0.05), Command(0.0, 0.0401), stuck, limits)
    assert out.curvature_per_m == pytest.approx(0.04)
    assert why == GateReason.DISCONTINUOUS
    out, why = passed(Command(0.0, -0.09), Command(0.0, -0.0801), stuck, limits)
    assert out.curvature_per_m == pytest.approx(-0.08)
    assert why == GateReason.DISCONTINUOUS


def test_every_reason_for_a_change_is_named_beside_the_others() -> None:
    limits = replace(LIMITS, max_curvature_rate_per_ms=0.2)
    _, why = passed(Command(0.0, 0.3), REST, at(6.0, curvature_per_m=-0.02), limits)
    expected = (
        GateReason.CURVATURE | GateReason.LATERAL | GateReason.DISCONTINUOUS | GateReason.CURVATURE_RATE
    )
    assert why == expected
    _, why = passed(Command(9.0, 0.0), REST, SLOW, replace(LIMITS, max_jerk_mps3=20.0))
    assert why == GateReason.ACCELERATION | GateReason.JERK


def test_exactly_where_standing_ends_the_lateral_limit_counts() -> None:
    gentle = replace(LIMITS, max_lateral_mps2=0.01)
    out, why = passed(Command(0.0, 0.2), Command(0.0, 0.2), at(0.5), gentle)
    assert (out.curvature_per_m, why) == (0.04, GateReason.LATERAL)


def test_a_lead_exactly_as_large_as_the_steering_takes_is_left_alone() -> None:
    limits = replace(LIMITS, max_curvature_rate_per_ms=0.5)
    led = Command(0.0, 0.5 * 0.3)
    assert passed(led, led, at(1.0, curvature_per_m=0.0), limits) == (led, GateReason.NONE)


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
def test_a_wheel_that_says_nothing_sensible_leaves_the_command_finite(unknown: float) -> None:
    out, _ = passed(Command(0.0, 0.1), Command(0.0, 0.1), at(1.0, curvature_per_m=unknown), LIMITS)
    assert math.isfinite(out.curvature_per_m)


def test_a_previous_command_that_is_no_number_counts_as_rest() -> None:
    limits = replace(LIMITS, max_jerk_mps3=20.0)
    out, why = passed(Command(1.0, 0.0), Command(math.nan, math.nan), SLOW, limits)
    assert out.acceleration_mps2 == pytest.approx(0.2)
    assert why == GateReason.JERK


@pytest.mark.parametrize("speed_mps", [0.0, -0.4])
def test_a_vehicle_that_stands_or_rolls_back_has_all_the_room_up_to_the_speed_limit_and_no_more(
    speed_mps: float,
) -> None:
    walking = replace(LIMITS, max_speed_mps=1.0)
    out, why = passed(Command(3.0, 0.0), REST, at(speed_mps), walking)
    assert out.acceleration_mps2 == pytest.approx(2.0)
    assert why == GateReason.SPEED


def test_the_stricter_of_two_limits_counts_one_by_one() -> None:
    other = replace(LIMITS, max_speed_mps=20.0, max_lateral_mps2=2.0)
    both = LIMITS.stricter(other)
    assert (both.max_speed_mps, both.max_lateral_mps2) == (15.0, 2.0)


@pytest.mark.parametrize("absurd", [math.nan, math.inf, -1.0])
def test_a_release_cannot_widen_or_confuse_a_limit(absurd: float) -> None:
    release = GateLimits(*[absurd] * 7)
    assert DEVICE_LIMITS.stricter(release) == GateLimits(*[0.0] * 7)
