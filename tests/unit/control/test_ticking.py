"""The follower's tick over real boards, in virtual time: what is missing, old or hostile around it."""

import math
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from agent.board.change import POLICY, POLICY_BOARD, PolicyRecord
from agent.board.layout import text_from
from agent.board.records import (
    ACTUATION,
    ACTUATION_BOARD,
    APPLIED,
    APPLIED_RING,
    LIMITS,
    LOOP,
    LOOP_BOARD,
    PLAN,
    VEHICLE,
    VEHICLE_BOARD,
    ActuationRecord,
    AppliedRecord,
    LimitsRecord,
    LoopRecord,
    LoopState,
    PlanRecord,
    Worker,
    limits_board,
    plan_board,
)
from agent.board.ring import RingReader
from agent.board.seqlock import BoardReader, BoardWriter
from agent.control.gate import DEVICE_LIMITS, GateReason
from agent.control.loop import Follower
from tests.fakes.clock import FakeClock

_S = 1_000_000_000
DIGEST = b"\x01" * 32
SOUND = LimitsRecord(1, DIGEST, 3.0, 6.0, 40.0, 0.2, 0.5, 3.0, 20.0, 0, 9.0, 1)


class Bench:
    """A follower whose surroundings are written by hand."""

    def __init__(self, run: Path, clock: FakeClock | None = None) -> None:
        self.run, self.clock = run, clock or FakeClock(10 * _S)
        self.follower = Follower(run, self.clock, 100.0)
        self._vehicle = BoardWriter(run / VEHICLE_BOARD, VEHICLE)
        self._policy = BoardWriter(run / POLICY_BOARD, POLICY)
        self._plans = [BoardWriter(run / plan_board(w), PLAN) for w in Worker]
        self._limits = [BoardWriter(run / limits_board(w), LIMITS) for w in Worker]
        self._selected: PolicyRecord | None = None
        self.speed_mps: float | None = 5.0
        self._decision = 0

    def selects(self, worker: Worker = Worker.A, epoch: int = 1) -> None:
        blank = POLICY.record_from(POLICY.packer.unpack(bytes(POLICY.packer.size)))
        self._selected = blank._replace(worker=int(worker), epoch=epoch, digest=DIGEST, driving=1)
        self._policy.write(self._selected, self.clock.mono_ns())

    def hangs(self) -> None:
        """The supervisor says nothing any more."""
        self._selected = None

    def promises(self, worker: Worker = Worker.A, epoch: int = 1, like: LimitsRecord = SOUND) -> None:
        """The release of `epoch` is to be held to limits `like` these."""
        self._limits[worker].write(like._replace(epoch=epoch), self.clock.mono_ns())

    def plans(self, acceleration: float, curvature: float, worker: Worker = Worker.A, epoch: int = 1) -> int:
        """Publish a plan of 64 equal waypoints, made now; returns the decision's number."""
        self._decision += 1
        now_ns = self.clock.mono_ns()
        packed = struct.pack("<128f", *[acceleration, curvature] * 64).ljust(1024, b"\0")
        number = epoch * 10_000_000 + self._decision
        record = PlanRecord(number, epoch, now_ns, now_ns, _S // 10, 64, DIGEST, packed)
        self._plans[worker].write(record, now_ns)
        return number

    def tick(self, count: int = 1) -> list[AppliedRecord]:
        """Ticks 10 ms apart with a vehicle that reports `speed_mps`, or nothing for None."""
        for _ in range(count):
            self.clock.advance(0.01)
            if self._selected is not None:
                self._policy.write(self._selected, self.clock.mono_ns())
            if self.speed_mps is not None:
                blank = VEHICLE.record_from(VEHICLE.packer.unpack(bytes(VEHICLE.packer.size)))
                told = blank._replace(speed_mps=self.speed_mps)
                self._vehicle.write(told, self.clock.mono_ns())
            self.follower.tick(self.clock.mono_ns())
        return self.applied()

    def ticks_by_itself(self, count: int) -> None:
        """`count` ticks at the follower's own pace, with nobody around."""
        stops = iter([False] * count + [True])
        self.follower.run(lambda: next(stops), "")

    def applied(self) -> list[AppliedRecord]:
        """The ticks since the last call."""
        reader = RingReader(self.run / APPLIED_RING)
        ticks = [AppliedRecord(*APPLIED.packer.unpack(raw)) for raw in reader.drain(9999)]
        reader.close()
        return ticks

    @property
    def actuation(self) -> ActuationRecord:
        with BoardReader(self.run / ACTUATION_BOARD, ACTUATION) as board:
            stamped = board.read()
        assert stamped is not None
        return stamped.record

    @property
    def loop(self) -> LoopRecord:
        with BoardReader(self.run / LOOP_BOARD, LOOP) as board:
            stamped = board.read()
        assert stamped is not None
        return stamped.record


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_alone_on_the_device_it_waits_and_brakes_gently(tmp_path: Path) -> None:
    clock = FakeClock()
    follower = Follower(tmp_path, clock, 100.0)
    for _ in range(200):
        clock.advance(0.01)
        follower.tick(clock.mono_ns())
    with BoardReader(tmp_path / ACTUATION_BOARD, ACTUATION) as board:
        stamped = board.read()
    assert stamped is not None
    assert -8.0 < stamped.record.acceleration_mps2 < -1.0
    assert stamped.record.curvature_per_m == 0.0


def test_a_plan_reaches_the_actuators_and_the_record_within_one_tick(bench: Bench) -> None:
    bench.selects()
    bench.promises()
    bench.tick(30)
    number = bench.plans(0.2, 0.01)
    (tick,) = bench.tick()
    assert tick.decision == number
    assert (tick.tick, tick.mono_ns) == (31, bench.clock.mono_ns())
    last = bench.tick(50)[-1]
    assert (last.acceleration_mps2, last.curvature_per_m) == pytest.approx((0.2, 0.01))
    assert last.intervened == GateReason.NONE
    assert bench.actuation[2:] == (last.acceleration_mps2, last.curvature_per_m)


def test_a_plan_whose_release_promised_nothing_is_not_followed(bench: Bench) -> None:
    bench.selects()
    bench.plans(1.0, 0.0)
    assert {tick.decision for tick in bench.tick(20)} == {0}
    bench.promises(epoch=2)
    assert {tick.decision for tick in bench.tick(40)} == {0}
    bench.promises()
    assert bench.tick(40)[-1].decision


def test_a_release_is_held_to_its_own_speed_limit(bench: Bench) -> None:
    bench.selects()
    bench.promises(like=SOUND._replace(max_speed_mps=5.0))
    bench.tick(30)
    bench.plans(3.0, 0.0)
    ticks = bench.tick(60)
    assert all(tick.acceleration_mps2 <= 1e-9 for tick in ticks)
    assert ticks[-1].intervened & GateReason.SPEED


def test_no_limit_of_a_release_weakens_the_brakes_of_the_loop_itself(bench: Bench) -> None:
    bench.selects()
    bench.promises(like=SOUND._replace(max_braking_mps2=0.0, max_jerk_mps3=1.0))
    bench.plans(0.0, 0.0)
    followed = bench.tick(250)
    stopped = bench.tick(150)
    assert all(tick.acceleration_mps2 >= 0.0 for tick in followed if tick.tick > 50)
    assert stopped[-1].acceleration_mps2 <= -3.0
    bench.speed_mps = None
    assert bench.tick(60)[-1].acceleration_mps2 <= -4.0


def test_a_release_cannot_promise_itself_an_endless_latency(bench: Bench) -> None:
    bench.selects()
    bench.promises(like=SOUND._replace(decision_p99_ns=3_600 * _S))
    bench.speed_mps = 0.5
    bench.plans(0.0, 0.0)
    bench.tick(600)
    assert bench.loop.state is not LoopState.OK
    bench.tick(40)
    assert bench.loop.state in (LoopState.MINIMAL_RISK, LoopState.SAFE_STOP)


def test_a_worker_that_is_not_selected_steers_nothing(bench: Bench) -> None:
    bench.selects()
    bench.promises()
    bench.promises(Worker.B, 2)
    bench.plans(0.0, 0.0)
    bench.tick(40)
    bench.plans(3.0, 0.2, Worker.B, 2)
    assert all(tick.decision < 20_000_000 and tick.curvature_per_m == 0.0 for tick in bench.tick(60))


def test_the_wheel_changes_hands_in_the_tick_after_the_selection(bench: Bench) -> None:
    bench.selects()
    bench.promises()
    bench.promises(Worker.B, 2)
    bench.plans(0.2, 0.0)
    bench.tick(40)
    taken_over = bench.plans(0.4, 0.01, Worker.B, 2)
    bench.tick(30)
    bench.selects(Worker.B, 2)
    (tick,) = bench.tick()
    assert tick.decision == taken_over
    assert tick.acceleration_mps2 == pytest.approx(0.2, abs=0.01)


def test_a_vehicle_that_falls_silent_is_braked_for_all_to_see_until_it_speaks_and_a_new_plan_comes(
    bench: Bench,
) -> None:
    bench.selects()
    bench.promises()
    bench.plans(0.5, 0.02)
    bench.tick(60)
    bench.speed_mps = None
    ticks = bench.tick(60)
    assert ticks[-1].intervened & GateReason.STALE
    assert ticks[-1].acceleration_mps2 <= -3.0
    assert ticks[-1].curvature_per_m == pytest.approx(0.02)
    assert bench.loop.state == LoopState.MINIMAL_RISK
    bench.speed_mps = 4.0
    bench.plans(0.5, 0.02)
    bench.tick(20)
    assert bench.loop.state == LoopState.OK


@pytest.mark.parametrize("speed_mps", [math.nan, math.inf, -math.inf, 1e300])
def test_a_speed_that_is_none_does_not_stop_the_loop(bench: Bench, speed_mps: float) -> None:
    bench.selects()
    bench.promises()
    bench.plans(1.0, 0.1)
    bench.tick(30)
    bench.speed_mps = speed_mps
    ticks = bench.tick(30)
    assert all(math.isfinite(tick.acceleration_mps2) for tick in ticks)
    assert ticks[-1].acceleration_mps2 < 0


def test_a_supervisor_that_falls_silent_is_braked_for_though_plans_go_on(bench: Bench) -> None:
    bench.selects()
    bench.promises()
    bench.tick(10)
    bench.hangs()
    for _ in range(6):
        bench.plans(0.0, 0.0)
        assert not any(tick.intervened for tick in bench.tick(99))
    bench.plans(0.0, 0.0)
    last = bench.tick(99)[-1]
    assert last.intervened & GateReason.NO_HEARTBEAT
    assert last.acceleration_mps2 <= -3.0


def test_the_device_s_own_limits_bind_a_release_that_promises_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.follower = Follower(tmp_path, bench.clock, 100.0, replace(DEVICE_LIMITS, max_acceleration_mps2=0.3))
    bench.selects()
    bench.promises()
    bench.plans(2.0, 0.0)
    assert max(tick.acceleration_mps2 for tick in bench.tick(100)) == pytest.approx(0.3)


def test_a_plan_that_was_rejected_is_counted_once(bench: Bench) -> None:
    bench.selects()
    bench.promises()
    bench.plans(math.nan, 0.0)
    bench.tick(100)
    assert bench.loop.plans_rejected == 1
    assert bench.loop.state == LoopState.WAITING


def test_a_follower_that_starts_while_driving_goes_on_with_the_command_and_the_plan(bench: Bench) -> None:
    bench.selects()
    bench.promises()
    number = bench.plans(0.5, 0.02)
    before = bench.tick(60)[-1]
    bench.follower = Follower(bench.run, bench.clock, 100.0)
    after = bench.tick()[0]
    assert (after.tick, after.decision) == (before.tick + 1, number)
    assert after.acceleration_mps2 == pytest.approx(before.acceleration_mps2, abs=0.4)
    assert after.curvature_per_m == pytest.approx(before.curvature_per_m, abs=0.005)


def test_the_figures_are_those_of_the_ticks(bench: Bench) -> None:
    bench.selects()
    bench.promises()
    bench.tick(30)
    number = bench.plans(0.0, 0.0)
    bench.tick(71)
    loop = bench.loop
    assert (loop.ticks, loop.ticks_missed, loop.tick_period_ns) == (100, 0, 10_000_000)
    assert (loop.state, loop.decision, loop.speed_mps) == (LoopState.OK, number, 5.0)
    assert loop.plan_age_ns == pytest.approx(0.7 * _S, abs=0.02 * _S)


def test_the_record_says_when_each_tick_was_due(bench: Bench) -> None:
    bench.ticks_by_itself(3)
    ticks = bench.applied()
    assert [tick.mono_ns - tick.due_ns for tick in ticks] == [0, 0, 0]
    assert [tick.due_ns - ticks[0].due_ns for tick in ticks] == [0, 10_000_000, 20_000_000]


def test_ticks_lost_while_no_follower_ran_are_missed_ticks_and_keep_their_phase(bench: Bench) -> None:
    bench.ticks_by_itself(35)
    last = bench.applied()[-1]
    bench.clock.advance(1.204)
    bench.follower = Follower(bench.run, bench.clock, 100.0)
    bench.ticks_by_itself(10)
    first = bench.applied()[0]
    assert (first.due_ns - last.mono_ns) % 10_000_000 == 0
    assert first.tick == last.tick + 1
    assert bench.loop.ticks_missed == 120
    assert (first.due_ns - last.mono_ns) // 10_000_000 - 1 == 120


def test_ticks_that_the_board_had_not_told_yet_are_not_taken_for_missed_ones(bench: Bench) -> None:
    bench.ticks_by_itself(37)
    bench.follower = Follower(bench.run, bench.clock, 100.0)
    bench.ticks_by_itself(10)
    assert (bench.loop.ticks, bench.loop.ticks_missed) == (40, 0)


def test_a_miss_that_the_board_had_not_told_yet_is_not_forgotten(bench: Bench) -> None:
    bench.ticks_by_itself(30)
    bench.clock.advance(0.055)
    bench.ticks_by_itself(3)
    bench.follower = Follower(bench.run, bench.clock, 100.0)
    bench.ticks_by_itself(10)
    assert bench.loop.ticks_missed == 5


@pytest.mark.parametrize(("away_s", "rate_hz"), [(10.5, 100.0), (0.1, 50.0)])
def test_a_loop_that_was_ended_on_purpose_or_had_another_rate_begins_to_count_anew(
    bench: Bench, away_s: float, rate_hz: float
) -> None:
    bench.ticks_by_itself(30)
    bench.clock.advance(away_s)
    bench.follower = Follower(bench.run, bench.clock, rate_hz)
    bench.ticks_by_itself(10)
    assert (bench.loop.ticks, bench.loop.ticks_missed) == (10, 0)


def test_lateness_period_and_execution_are_told_apart(tmp_path: Path) -> None:
    class Late(FakeClock):
        """Wakes every third time 2 ms late, so that ticks begin 10, 12 and 8 ms apart."""

        def sleep_until(self, mono_ns: int) -> None:
            super().sleep_until(mono_ns + 2_000_000 * (len(self.sleeps) % 3 == 2))

    bench = Bench(tmp_path, Late(10 * _S))
    bench.ticks_by_itself(90)
    loop = bench.loop
    assert (loop.lateness_p50_ns, loop.lateness_max_ns) == (0, 2_000_000)
    assert loop.period_p50_ns == pytest.approx(10_000_000, rel=0.125)
    assert (loop.period_p999_ns, loop.period_max_ns) == (12_000_000, 12_000_000)
    assert loop.execution_max_ns == 0


def test_what_the_kernel_granted_is_told_to_readers(bench: Bench) -> None:
    stops = iter([False] * 10 + [True])
    bench.follower.run(lambda: next(stops), "fifo:50 no-mlock")
    assert text_from(bench.loop.realtime) == "fifo:50 no-mlock"
