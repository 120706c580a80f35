"""Whatever comes in, what leaves the gate is finite and inside the limits."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.control.gate import DEVICE_LIMITS, Command, GateLimits, GateReason, Situation, passed

ANY = st.floats(allow_nan=True, allow_infinity=True)
COMMANDS = st.builds(Command, ANY, ANY)
TIMES = st.one_of(st.integers(0, 2_000_000_000), st.integers(-(2**63), 2**63 - 1))
SITUATIONS = st.builds(Situation, TIMES, TIMES, TIMES, ANY, ANY, TIMES, TIMES, TIMES)


def at(speed_mps: float) -> Situation:
    """A tick of 10 ms with a plan and a watchful supervisor, of a vehicle that says nothing of its wheel."""
    now_ns = 10**12
    return Situation(
        now_ns, now_ns - 10_000_000, now_ns, speed_mps, math.nan, now_ns - 10, now_ns + 10, now_ns
    )


SIZES = st.floats(min_value=0.0, max_value=100.0)
LIMITS = st.builds(GateLimits, SIZES, SIZES, SIZES, SIZES, SIZES, SIZES, SIZES)
NEAR = st.floats(min_value=-10.0, max_value=10.0)
_ROUNDING = 1e-9


@settings(max_examples=500)
@given(COMMANDS, COMMANDS, SITUATIONS, LIMITS)
def test_every_command_that_leaves_is_finite_and_inside_the_magnitudes(
    proposed: Command, previous: Command, now: Situation, limits: GateLimits
) -> None:
    out, _ = passed(proposed, previous, now, limits)
    assert math.isfinite(out.acceleration_mps2)
    assert math.isfinite(out.curvature_per_m)
    assert -limits.max_braking_mps2 <= out.acceleration_mps2 <= limits.max_acceleration_mps2
    assert abs(out.curvature_per_m) <= limits.max_curvature_per_m
    if math.isfinite(now.speed_mps) and abs(now.speed_mps) >= 0.5:
        lateral_mps2 = now.speed_mps * now.speed_mps * abs(out.curvature_per_m)
        assert not lateral_mps2 > limits.max_lateral_mps2 * (1 + _ROUNDING) + _ROUNDING or math.isinf(
            now.speed_mps * now.speed_mps
        )


@given(COMMANDS, st.builds(Command, NEAR, NEAR), SITUATIONS)
def test_any_limits_at_all_are_no_wider_than_the_devices(
    proposed: Command, previous: Command, now: Situation
) -> None:
    out, _ = passed(proposed, previous, now, DEVICE_LIMITS.stricter(GateLimits(*[math.nan] * 7)))
    assert out == Command(0.0, 0.0)


@given(st.builds(Command, NEAR, NEAR), st.builds(Command, NEAR, NEAR), st.floats(0.0, 60.0))
def test_the_gate_has_a_reason_exactly_where_it_changes_something(
    proposed: Command, previous: Command, speed_mps: float
) -> None:
    out, reason = passed(proposed, previous, at(speed_mps), DEVICE_LIMITS)
    assert (out == proposed) == (reason == GateReason.NONE) or math.isclose(
        abs(out.curvature_per_m - proposed.curvature_per_m)
        + abs(out.acceleration_mps2 - proposed.acceleration_mps2),
        0.0,
        abs_tol=1e-8,
    )


@given(st.lists(st.builds(Command, ANY, ANY), min_size=2, max_size=40), st.floats(0.0, 10.0))
def test_over_a_drive_the_rates_hold_from_tick_to_tick(proposals: list[Command], speed_mps: float) -> None:
    now = at(speed_mps)
    before = Command(0.0, 0.0)
    for proposed in proposals:
        out, _ = passed(proposed, before, now, DEVICE_LIMITS)
        assert (
            abs(out.acceleration_mps2 - before.acceleration_mps2) <= DEVICE_LIMITS.max_jerk_mps3 * 0.01 + 1e-8
        )
        turned = abs(out.curvature_per_m - before.curvature_per_m)
        assert turned <= DEVICE_LIMITS.max_curvature_rate_per_ms * 0.01 + 1e-8
        before = out
