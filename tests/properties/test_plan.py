"""Following holds for any plan and any sequence of ages, not only for the ones that we thought of."""

import math
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.board.records import HORIZON_MAX, LoopState, PlanRecord
from agent.control.gate import DEVICE_LIMITS, Command, GateReason, Situation, passed
from agent.control.plan import FollowRules, PlanFollower, Rejection, Selected

_S = 1_000_000_000
T0 = 50 * _S
DIGEST = b"d" * 32
INTEGERS = st.integers(-(2**62), 2**62)
VALUES = st.floats(width=32, allow_nan=True, allow_infinity=True)
MODEST = st.floats(-3.0, 3.0, width=32)


def plan_record(decision: int, start_ns: int, rows: list[tuple[float, float]]) -> PlanRecord:
    """A plan as a worker of epoch 1 would publish it."""
    flat = [value for row in rows for value in row]
    packed = struct.pack(f"<{len(flat)}f", *flat).ljust(HORIZON_MAX * 8, b"\0")
    return PlanRecord(decision, 1, start_ns, start_ns, _S // 10, len(rows), DIGEST, packed)


@given(
    st.builds(
        PlanRecord,
        *[INTEGERS] * 6,
        st.sampled_from([DIGEST, bytes(32)]),
        st.binary(min_size=HORIZON_MAX * 8, max_size=HORIZON_MAX * 8),
    ),
    st.floats(),
)
def test_no_bytes_on_a_plan_board_can_stop_the_loop(record: PlanRecord, speed_mps: float) -> None:
    found = PlanFollower(FollowRules())
    why = found.offer(record, Selected(1, DIGEST), Command(0.0, 0.0), T0)
    motion = found.step(T0, speed_mps, 0.0)
    assert isinstance(why, Rejection) or motion.state in LoopState
    assert all(map(math.isfinite, motion.proposed))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 900), st.lists(st.tuples(MODEST, MODEST), min_size=1, max_size=40))),
    st.floats(0.0, 20.0),
)
def test_a_waypoint_is_executed_only_inside_its_horizon_and_every_drive_without_plans_ends_standing(
    plans: list[tuple[int, list[tuple[float, float]]]], speed_mps: float
) -> None:
    """`plans`: (tick at which the plan is made and offered, its rows)."""
    found = PlanFollower(FollowRules())
    offers = sorted(plans, key=lambda offer: offer[0])
    last, horizon_ends_ns = Command(0.0, 0.0), 0
    for tick in range(1000 + 1500):
        at_ns = T0 + tick * _S // 100
        while offers and offers[0][0] == tick:
            rows = offers.pop(0)[1]
            if found.offer(plan_record(tick + 1, at_ns, rows), Selected(1, DIGEST), last, at_ns) is None:
                horizon_ends_ns = at_ns + len(rows) * _S // 10
        motion = found.step(at_ns, speed_mps, last.curvature_per_m)
        if motion.state in (LoopState.OK, LoopState.DEGRADED):
            assert at_ns < horizon_ends_ns
        plan = found.plan if motion.decision else None
        ages = (plan.start_ns, plan.end_ns) if plan else (0, 0)
        now = Situation(at_ns, at_ns - _S // 100, at_ns, speed_mps, last.curvature_per_m, *ages, at_ns)
        last, why = passed(motion.proposed, last, now, DEVICE_LIMITS)
        assert not why & GateReason.NO_PLAN
        speed_mps = max(0.0, speed_mps + last.acceleration_mps2 * 0.01)
    assert speed_mps == 0.0
    assert motion.state in (LoopState.SAFE_STOP, LoopState.WAITING)


@given(st.lists(st.tuples(MODEST, MODEST), min_size=1, max_size=HORIZON_MAX), st.integers(0, 13 * _S))
def test_what_is_due_lies_between_the_plans_own_waypoints(
    rows: list[tuple[float, float]], later_ns: int
) -> None:
    found = PlanFollower(FollowRules(blend_steps=0, steer_blend_steps=0))
    found.offer(plan_record(1, T0, rows), Selected(1, DIGEST), Command(0.0, 0.0), T0)
    plan = found.plan
    assert plan is not None
    due = plan.at(T0 + later_ns)
    assert (due is None) == (later_ns >= len(rows) * _S // 10)
    if due is not None:
        low, high = min(a for a, _ in rows), max(a for a, _ in rows)
        assert low - 1e-6 <= due.acceleration_mps2 <= high + 1e-6


@given(
    st.floats(-6.0, 3.0),
    st.lists(st.tuples(MODEST, MODEST), min_size=1, max_size=HORIZON_MAX),
    st.integers(0, 400_000_000),
)
def test_a_blend_holds_braking_back_no_longer_than_the_jerk_of_a_service_brake_takes(
    before_mps2: float, rows: list[tuple[float, float]], later_ns: int
) -> None:
    found = PlanFollower(FollowRules())
    found.offer(plan_record(1, T0, rows), Selected(1, DIGEST), Command(before_mps2, 0.0), T0)
    plan = found.plan
    assert plan is not None
    due, proposed = plan.at(T0 + later_ns), found.step(T0 + later_ns, 1.0, 0.0).proposed
    if due is None or due.acceleration_mps2 > -1.0:
        return
    harder_mps2 = before_mps2 - rows[0][0]
    if later_ns >= max(0.1, harder_mps2 / 30.0) * _S:
        assert proposed.acceleration_mps2 <= due.acceleration_mps2 + 1e-6
