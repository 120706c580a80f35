"""Plans as a function of absolute time, their blend, and the way to a standstill."""

import math
import struct
from itertools import pairwise

import pytest

from agent.board.records import HORIZON_MAX, LoopState, PlanRecord
from agent.control.gate import REST, Command
from agent.control.plan import (
    FollowRules,
    Freshness,
    Motion,
    PlanFollower,
    Rejection,
    Selected,
    next_state,
)

_S = 1_000_000_000
T0 = 100 * _S
DT_NS = _S // 10
DIGEST = bytes(range(32))
SELECTED = Selected(3, DIGEST)


def record(
    decision: int = 1,
    start_ns: int = T0,
    rows: list[tuple[float, float]] | None = None,
    *,
    epoch: int = 3,
    digest: bytes = DIGEST,
    steps: int | None = None,
    dt_ns: int = DT_NS,
) -> PlanRecord:
    """A plan of 64 equal rows, or of `rows`."""
    rows = rows if rows is not None else [(0.5, 0.01)] * 64
    flat = [value for row in rows for value in row]
    packed = struct.pack(f"<{len(flat)}f", *flat).ljust(HORIZON_MAX * 8, b"\0")
    count = len(rows) if steps is None else steps
    return PlanRecord(decision, epoch, start_ns, start_ns, dt_ns, count, digest, packed)


def follower(plan: PlanRecord | None = None, at_ns: int = T0) -> PlanFollower:
    """A follower that took `plan` at `at_ns` with that plan's own command in force."""
    found = PlanFollower(FollowRules())
    if plan is not None:
        assert found.offer(plan, SELECTED, Command(0.5, 0.01), at_ns) is None
    return found


def test_before_the_first_plan_it_waits_with_the_brakes_on() -> None:
    assert follower().step(T0, 3.0, 0.02) == Motion(Command(-3.0, 0.02), LoopState.WAITING, 0, 0)


def test_waypoints_that_passed_while_the_policy_computed_are_never_executed() -> None:
    rows = [(float(k), 0.0) for k in range(64)]
    late = T0 + 28 * DT_NS + DT_NS // 2
    found = PlanFollower(FollowRules(latency_ns=3 * _S, blend_steps=0, steer_blend_steps=0))
    found.offer(record(rows=rows), SELECTED, REST, late)
    motion = found.step(late, 0.0, 0.0)
    assert motion.proposed.acceleration_mps2 == pytest.approx(28.0)
    assert motion.plan_age_ns == late - T0


def test_a_row_is_met_at_its_middle_and_the_way_between_is_straight() -> None:
    rows = [(0.0, 0.0), (1.0, 0.1), *[(1.0, 0.1)] * 62]
    found = PlanFollower(FollowRules(blend_steps=0, steer_blend_steps=0))
    found.offer(record(rows=rows), SELECTED, REST, T0)
    due = [found.step(T0 + part * DT_NS // 4, 0.0, 0.0).proposed.acceleration_mps2 for part in (1, 2, 4, 6)]
    assert due == pytest.approx([0.0, 0.0, 0.5, 1.0])


def test_a_new_plan_takes_over_without_a_step() -> None:
    found = follower(record())
    at_ns = T0 + DT_NS
    before = found.step(at_ns, 5.0, 0.0).proposed
    found.offer(record(2, at_ns, [(2.0, 0.03)] * 64), SELECTED, before, at_ns)
    assert found.step(at_ns, 5.0, 0.0).proposed == pytest.approx(before)
    third, whole = (found.step(at_ns + steps * DT_NS, 5.0, 0.0).proposed for steps in (1, 3))
    assert third == pytest.approx((1.0, 0.01 + 0.02 / 2))
    assert whole == pytest.approx((2.0, 0.03))


@pytest.mark.parametrize(
    ("before_mps2", "asked_mps2", "within_s"), [(0.5, -1.0, 0.1), (0.0, -3.0, 0.1), (0.0, -6.0, 0.2)]
)
def test_braking_that_a_new_plan_asks_for_is_there_before_the_rest_of_the_plan_is(
    before_mps2: float, asked_mps2: float, within_s: float
) -> None:
    found = follower(record())
    found.offer(record(2, T0, [(asked_mps2, 0.03)] * 64), SELECTED, Command(before_mps2, 0.01), T0)
    assert found.step(T0, 5.0, 0.0).proposed == pytest.approx((before_mps2, 0.01))
    braking = found.step(T0 + round(within_s * _S), 5.0, 0.0).proposed
    assert braking.acceleration_mps2 == pytest.approx(asked_mps2)
    assert braking.curvature_per_m < 0.03


def test_a_blend_makes_no_step_where_a_plan_goes_over_from_driving_to_braking() -> None:
    found = follower(record())
    found.offer(record(2, T0, [(0.1, 0.0), *[(-0.1, 0.0)] * 63]), SELECTED, Command(3.0, 0.0), T0)
    ticks = [found.step(T0 + ms * 1_000_000, 5.0, 0.0).proposed.acceleration_mps2 for ms in range(0, 320, 10)]
    assert max(abs(later - earlier) for earlier, later in pairwise(ticks)) < 0.2


def test_braking_is_let_go_as_gently_as_anything_else() -> None:
    found = follower(record())
    found.offer(record(2, T0, [(-1.0, 0.0)] * 64), SELECTED, Command(-4.0, 0.0), T0)
    assert found.step(T0 + DT_NS, 5.0, 0.0).proposed.acceleration_mps2 == pytest.approx(-3.0)


def test_a_plan_of_long_steps_does_not_make_its_braking_wait_for_one_of_them() -> None:
    found = follower(record())
    found.offer(record(2, T0, [(-3.0, 0.0)] * 20, dt_ns=_S), SELECTED, REST, T0)
    assert found.step(T0 + DT_NS, 5.0, 0.0).proposed.acceleration_mps2 == pytest.approx(-3.0)


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (record(2, epoch=2), Rejection.WRONG_EPOCH),
        (record(2, digest=bytes(32)), Rejection.WRONG_DIGEST),
        (record(2, steps=0), Rejection.MALFORMED),
        (record(2, steps=HORIZON_MAX + 1), Rejection.MALFORMED),
        (record(2, dt_ns=0), Rejection.MALFORMED),
        (record(2, rows=[(math.nan, 0.0)] * 64), Rejection.NOT_FINITE),
        (record(2, rows=[(0.0, 0.0)] * 63 + [(0.0, math.inf)]), Rejection.NOT_FINITE),
        (record(1), Rejection.NOT_MONOTONE),
        (record(2, T0 - 1), Rejection.NOT_MONOTONE),
        (record(2, T0 + 1), Rejection.OUT_OF_TIME),
        (record(2, T0 - 64 * DT_NS), Rejection.OUT_OF_TIME),
    ],
)
def test_a_plan_that_cannot_be_followed_is_rejected_counted_and_changes_nothing(
    plan: PlanRecord, why: Rejection
) -> None:
    found = follower(record(1))
    before = found.plan
    assert found.offer(plan, SELECTED, REST, T0) is why
    assert (found.rejected, found.plan) == (1, before)


def test_a_worker_with_another_epoch_may_take_over_on_the_same_observation() -> None:
    found = follower(record(7))
    assert found.offer(record(1, epoch=4), Selected(4, DIGEST), REST, T0) is None
    assert found.step(T0, 0.0, 0.0).decision == 1


def drive(
    found: PlanFollower, speed_mps: float, until_s: float
) -> list[tuple[float, LoopState, Command, float]]:
    """Tick at 100 Hz with a vehicle that does as told: (time in s, state, command, speed) a tick."""
    ticks = []
    for tick in range(round(until_s * 100)):
        at_ns = T0 + tick * _S // 100
        motion = found.step(at_ns, speed_mps, 0.0)
        speed_mps = max(0.0, speed_mps + motion.proposed.acceleration_mps2 * 0.01)
        ticks.append((tick / 100, motion.state, motion.proposed, speed_mps))
    return ticks


def test_without_new_plans_it_slows_then_stops_inside_the_horizon_then_stands() -> None:
    found = follower(record(rows=[(0.0, 0.02)] * 64))
    ticks = drive(found, 8.0, 7.0)
    order = [state for k, (_, state, _, _) in enumerate(ticks) if k == 0 or ticks[k - 1][1] != state]
    assert order == [LoopState.OK, LoopState.DEGRADED, LoopState.MINIMAL_RISK, LoopState.SAFE_STOP]
    stood = next(at for at, state, _, _ in ticks if state is LoopState.SAFE_STOP)
    assert stood < 6.4
    assert ticks[-1][3] == 0.0
    stopping = [command for _, state, command, _ in ticks if state is LoopState.MINIMAL_RISK]
    assert {round(command.curvature_per_m, 4) for command in stopping} == {0.02}
    assert max(command.acceleration_mps2 for command in stopping) <= -3.0


def test_a_vehicle_too_fast_to_stop_inside_the_horizon_begins_to_stop_at_once() -> None:
    found = follower(record(rows=[(0.0, 0.0)] * 64))
    assert found.step(T0, 25.0, 0.0).state is LoopState.MINIMAL_RISK


def test_a_stop_follows_the_path_by_distance_not_by_time() -> None:
    """Straight for 3 s, then a bend: a vehicle that brakes early has to bend later in time, at the same place."""
    rows = [(0.0, 0.0)] * 30 + [(0.0, 0.05)] * 34
    found = follower(record(rows=rows))
    ticks = drive(found, 9.0, 6.4)
    travelled, way_m = 0.0, []
    for _, _, command, speed in ticks:
        travelled += speed * 0.01
        way_m.append((travelled, command.curvature_per_m))
    bend_begins_m = next((way for way, curvature in way_m if curvature > 0.025), None)
    planned_m = 9.0 * 3.0
    assert bend_begins_m == pytest.approx(planned_m, abs=0.5)


def test_a_stop_goes_on_until_a_fresh_plan_comes() -> None:
    found = follower(record(rows=[(0.0, 0.0)] * 64))
    ticks = drive(found, 12.0, 3.0)
    first = next(k for k, (_, state, _, _) in enumerate(ticks) if state is LoopState.MINIMAL_RISK)
    assert {state for _, state, _, _ in ticks[first:]} == {LoopState.MINIMAL_RISK}
    at_ns = T0 + 3 * _S
    found.offer(record(2, at_ns), SELECTED, REST, at_ns)
    assert found.step(at_ns, 3.0, 0.0).state is LoopState.OK


def test_a_stop_keeps_to_its_path_where_a_later_plan_is_old_when_it_comes_and_leaves_it_for_a_fresh_one() -> (
    None
):
    straight = [(0.0, 0.0)] * 64
    found = follower(record(rows=straight))
    now = T0 + 4 * _S
    assert found.step(now, 8.0, 0.0).state is LoopState.MINIMAL_RISK
    bend_now = [(0.0, 0.0)] * 20 + [(0.0, 0.1)] * 44
    old = record(2, now - 2 * _S, bend_now)
    assert found.offer(old, SELECTED, Command(-3.0, 0.0), now) is Rejection.LATE
    assert found.rejected == 1
    assert found.step(now + DT_NS, 7.7, 0.0).proposed.curvature_per_m == pytest.approx(0.0)
    fresh = record(3, now + DT_NS, bend_now)
    assert found.offer(fresh, SELECTED, Command(-3.0, 0.0), now + DT_NS) is None
    assert found.step(now + 2 * DT_NS, 7.4, 0.0).state is LoopState.OK


def test_a_plan_that_is_a_little_old_is_better_than_an_older_one_while_the_loop_only_slows_down() -> None:
    found = follower(record())
    assert found.step(T0 + 2 * _S, 2.0, 0.0).state is LoopState.DEGRADED
    assert found.offer(record(2, T0 + _S // 2), SELECTED, Command(-0.5, 0.0), T0 + 2 * _S) is None


def test_past_the_horizon_it_brakes_hard_and_executes_no_waypoint() -> None:
    found = follower(record())
    motion = found.step(T0 + 64 * DT_NS, 5.0, 0.01)
    assert motion.state is LoopState.SAFE_STOP
    assert (motion.proposed, motion.decision) == (Command(-5.0, 0.01), 0)


def test_a_policy_that_promises_slow_decisions_is_granted_their_time() -> None:
    found = PlanFollower(FollowRules(latency_ns=2 * _S))
    at_ns = T0 + 2_800_000_000
    found.offer(record(), SELECTED, REST, at_ns)
    assert found.step(at_ns, 5.0, 0.0).state is LoopState.OK


def test_a_policy_of_three_seconds_drives_slowly_on_a_plan_of_six_without_a_stop_between_its_decisions() -> (
    None
):
    found = PlanFollower(FollowRules(latency_ns=2_830_000_000))
    states = set()
    for made_ns in range(T0, T0 + 30 * _S, 2_830_000_000):
        plan = record(decision=1 + made_ns // 1000, start_ns=made_ns)
        assert found.offer(plan, SELECTED, REST, made_ns + 2_830_000_000) is None
        states |= {
            found.step(made_ns + 2_830_000_000 + ms * 1_000_000, 0.5, 0.0).state for ms in range(0, 2830, 10)
        }
    assert states <= {LoopState.OK, LoopState.DEGRADED}


def test_half_a_plans_horizon_is_the_most_that_is_granted_for_a_slow_decision() -> None:
    found = PlanFollower(FollowRules(latency_ns=3_600 * _S))
    found.offer(record(), SELECTED, REST, T0)
    assert found.step(T0 + 4_100_000_000, 0.1, 0.0).state is LoopState.OK
    assert found.step(T0 + 4_300_000_000, 0.1, 0.0).state is LoopState.DEGRADED


def test_the_table_of_states_has_an_answer_for_every_situation_that_can_arise() -> None:
    for state in LoopState:
        for freshness in set(Freshness) - {Freshness.ABSENT}:
            assert next_state(state, freshness, standing=False) in LoopState
    assert next_state(LoopState.WAITING, Freshness.ABSENT, standing=True) is LoopState.WAITING


def test_braking_alone_never_makes_the_plan_that_it_follows_fresh_again() -> None:
    """The plan brakes at 6 m/s², so the stop is soon shorter than the horizon; the next plan has to say so."""
    found = follower(record(rows=[(-6.0, 0.0)] * 64))
    ticks = drive(found, 18.5, 0.9)
    assert {state for _, state, _, _ in ticks} == {LoopState.MINIMAL_RISK}


def test_the_last_waypoint_holds_to_the_end_of_the_horizon_and_not_beyond() -> None:
    plan = follower(record(rows=[(0.0, 0.0)] * 63 + [(1.0, 0.1)])).plan
    assert plan is not None
    assert plan.at(plan.end_ns - 1) == pytest.approx((1.0, 0.1))
    assert plan.at(plan.end_ns) is None
    assert plan.at(plan.start_ns - 1) is None


def test_slow_driving_is_degraded_before_it_is_a_stop() -> None:
    found = follower(record(rows=[(1.0, 0.0)] * 64))
    assert found.step(T0 + _S, 1.0, 0.0).state is LoopState.OK
    late = found.step(T0 + _S + 1, 1.0, 0.0)
    assert (late.state, late.proposed.acceleration_mps2) == (LoopState.DEGRADED, -0.5)
    assert found.step(T0 + 3 * _S, 1.0, 0.0).state is LoopState.DEGRADED
    assert found.step(T0 + 3 * _S + 1, 1.0, 0.0).state is LoopState.MINIMAL_RISK
