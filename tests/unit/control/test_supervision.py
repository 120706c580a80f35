"""The supervisor over children that are only said to run."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.board.change import (
    POLICY,
    POLICY_BOARD,
    SWAP,
    SWAP_BOARD,
    CandidateState,
    PolicyRecord,
    SwapOrder,
    SwapRecord,
)
from agent.board.layout import bytes_from_text, text_from
from agent.board.records import (
    LIMITS,
    LOOP,
    LOOP_BOARD,
    PLAN,
    POWER,
    POWER_BOARD,
    VEHICLE,
    VEHICLE_BOARD,
    WORKER,
    LoopState,
    PlanRecord,
    Worker,
    WorkerState,
    limits_board,
    plan_board,
    raw_from_digest,
    worker_board,
)
from agent.board.seqlock import BoardReader, BoardWriter
from agent.control.seat import Release
from agent.control.supervisor import Supervisor
from models.digest import Digest
from models.errors import MalformedError
from tests.fakes.clock import FakeClock

OLD = Release("a", Digest("sha256:" + "a1" * 32))
NEW = Release("b", Digest("sha256:" + "b2" * 32))


@dataclass
class FakeChild:
    """A process of which only its end is known."""

    name: str
    pid: int = 1
    status: int | None = None
    reaped: Callable[[], None] | None = None
    """What happens meanwhile."""

    def poll(self) -> int | None:
        return self.status

    def terminate(self) -> None:
        self.status = 0

    def kill(self) -> None:
        self.status = -9 if self.status is None else self.status

    def wait(self) -> int:
        assert self.status is not None, f"{self.name} was waited for while it runs"
        if self.reaped is not None:
            self.reaped()
        return self.status


@dataclass
class FakeSpawner:
    """Remembers what was started."""

    followers: list[FakeChild] = field(default_factory=list)
    workers: list[tuple[Worker, Release, int, FakeChild]] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)

    def follower(self) -> FakeChild:
        self.followers.append(FakeChild("follower"))
        return self.followers[-1]

    def worker(self, place: Worker, release: Release, epoch: int, *, candidate: bool) -> FakeChild:
        self.candidates += [epoch] if candidate else []
        child = FakeChild(f"worker {place.letter} {epoch}", pid=100 + epoch)
        self.workers.append((place, release, epoch, child))
        return child

    def promote(self, pid: int) -> None:
        self.promoted.append(pid)

    @property
    def running(self) -> list[tuple[Worker, Digest]]:
        """Place and release of each worker that runs."""
        return [(place, release.digest) for place, release, _, child in self.workers if child.status is None]


class Bench:
    """A supervisor, its clock and spawner, and the boards that others would write."""

    def __init__(self, run: Path, live: Release | None = OLD) -> None:
        self.run, self.clock, self.spawner, self.live = run, FakeClock(), FakeSpawner(), live
        self.broken = False
        self.supervisor = self.anew()
        self._swap = BoardWriter(run / SWAP_BOARD, SWAP)
        self._vehicle = BoardWriter(run / VEHICLE_BOARD, VEHICLE)
        self._loop = BoardWriter(run / LOOP_BOARD, LOOP)
        self._workers = [BoardWriter(run / worker_board(w), WORKER) for w in Worker]
        self._plans = [BoardWriter(run / plan_board(w), PLAN) for w in Worker]
        self._limits = [BoardWriter(run / limits_board(w), LIMITS) for w in Worker]
        self.silent: set[str] = set()
        self.loop_state = LoopState.WAITING
        self.safe = 1
        self._request = 0

    def read_live(self) -> Release | None:
        """The pointer, or that it is broken."""
        if self.broken:
            raise MalformedError("slots/pointer.json contradicts itself")
        return self.live

    def anew(self) -> Supervisor:
        supervisor = Supervisor(self.run, self.clock, self.spawner, self.read_live)
        supervisor.start()
        return supervisor

    def says(
        self,
        state: WorkerState,
        reason: str = "",
        *,
        epoch: int | None = None,
        saw_s_ago: float = 0.0,
        failed: int = 0,
        decisions: int = 0,
        steps: int = 1,
    ) -> None:
        """The worker that was started last (or that of `epoch`) writes its board; loaded ones have a plan."""
        place, release, latest = next(
            (p, r, e) for p, r, e, _ in reversed(self.spawner.workers) if epoch in (None, e)
        )
        now_ns = self.clock.mono_ns()
        blank = WORKER.record_from(WORKER.packer.unpack(bytes(WORKER.packer.size)))
        told = blank._replace(
            epoch=latest,
            state=int(state),
            digest=raw_from_digest(release.digest),
            reason=bytes_from_text(reason, 48),
            failed=failed,
            decisions=decisions,
        )
        self._workers[place].write(told, now_ns)
        if state in (WorkerState.SHADOW, WorkerState.READY):
            seen_ns = now_ns - round(saw_s_ago * 1e9)
            plan = PlanRecord(
                latest * 10_000_000, latest, seen_ns, now_ns, 100_000_000, steps, told.digest, bytes(8)
            )
            self._plans[place].write(plan, now_ns)

    def promises(self, seconds: float, joules: float = math.nan) -> None:
        """The worker that was started last promises a decision in `seconds`, for so many joules."""
        place, release, epoch, _ = self.spawner.workers[-1]
        blank = LIMITS.record_from(LIMITS.packer.unpack(bytes(LIMITS.packer.size)))
        told = blank._replace(
            epoch=epoch,
            digest=raw_from_digest(release.digest),
            decision_p99_ns=round(seconds * 1e9),
            max_decision_j=joules,
        )
        self._limits[place].write(told, self.clock.mono_ns())

    def order(self, order: SwapOrder, release: Release = NEW) -> None:
        self._request += 1
        record = SwapRecord(self._request, int(order), raw_from_digest(release.digest), release.slot.encode())
        self._swap.write(record, self.clock.mono_ns())

    def cycle(self, count: int = 1) -> PolicyRecord:
        """Cycles 50 ms apart, with a plant and a follower that live."""
        for _ in range(count):
            self.clock.advance(0.05)
            now_ns = self.clock.mono_ns()
            vehicle = VEHICLE.record_from(VEHICLE.packer.unpack(bytes(VEHICLE.packer.size)))
            if "plant" not in self.silent:
                self._vehicle.write(vehicle._replace(mono_ns=now_ns, safe_to_swap=self.safe), now_ns)
            if "follower" not in self.silent:
                loop = LOOP.record_from(LOOP.packer.unpack(bytes(LOOP.packer.size)))
                self._loop.write(loop._replace(state=int(self.loop_state)), now_ns)
            self.supervisor.cycle()
        return self.policy

    @property
    def policy(self) -> PolicyRecord:
        with BoardReader(self.run / POLICY_BOARD, POLICY) as board:
            stamped = board.read()
        assert stamped is not None
        return stamped.record

    def kill_worker(self, epoch: int) -> None:
        next(child for _, _, e, child in self.spawner.workers if e == epoch).status = -9

    def load_candidate(self) -> None:
        """Have the live release drive, and the candidate's worker started."""
        self.says(WorkerState.READY)
        self.cycle()
        self.order(SwapOrder.LOAD)
        self.cycle()

    def drive_candidate(self) -> None:
        """Bring the candidate into its trial."""
        self.load_candidate()
        self.says(WorkerState.READY)
        self.cycle()
        self.order(SwapOrder.GO)
        assert self.cycle(2).candidate == CandidateState.DRIVING


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_live_release_is_selected_only_once_its_worker_is_ready(bench: Bench) -> None:
    before = bench.cycle()
    bench.says(WorkerState.LOADING)
    loading = bench.cycle()
    bench.says(WorkerState.READY)
    after = bench.cycle()
    assert (before.epoch, loading.epoch, before.driving) == (0, 0, 0)
    assert (after.worker, after.epoch, after.driving) == (Worker.A, 1, 1)
    assert after.digest == raw_from_digest(OLD.digest)


def test_a_change_of_release_runs_through_load_ready_go_driving_keep(bench: Bench) -> None:
    bench.drive_candidate()
    assert (bench.policy.worker, bench.policy.epoch) == (Worker.B, 2)
    assert len(bench.spawner.running) == 2
    bench.order(SwapOrder.KEEP)
    kept = bench.cycle()
    assert (kept.candidate, kept.request, kept.driving) == (CandidateState.NONE, 3, 1)
    assert bench.spawner.running == [(Worker.B, NEW.digest)]


def test_the_next_change_goes_back_to_the_first_place(bench: Bench) -> None:
    bench.drive_candidate()
    bench.order(SwapOrder.KEEP)
    bench.cycle()
    bench.order(SwapOrder.LOAD, OLD)
    bench.cycle()
    assert bench.spawner.workers[-1][:3] == (Worker.A, OLD, 3)


def test_a_refused_candidate_tells_its_reason_and_is_not_tried_again(bench: Bench) -> None:
    bench.load_candidate()
    bench.says(WorkerState.REFUSED, "golden-mismatch")
    refused = bench.cycle(20)
    assert (refused.candidate, text_from(refused.reason)) == (CandidateState.REFUSED, "golden-mismatch")
    assert (refused.driving, refused.restarts) == (1, 0)
    assert bench.spawner.running == [(Worker.A, OLD.digest)]


def test_only_a_candidate_is_started_as_one(bench: Bench) -> None:
    bench.drive_candidate()
    assert bench.spawner.candidates == [2]
    bench.order(SwapOrder.KEEP)
    bench.cycle()
    bench.kill_worker(2)
    bench.cycle(2)
    assert (bench.spawner.workers[-1][2], bench.spawner.candidates) == (3, [2])


def test_a_candidate_is_held_to_its_limits_until_it_drives(bench: Bench) -> None:
    bench.load_candidate()
    bench.says(WorkerState.READY)
    bench.cycle(3)
    assert bench.spawner.promoted == []
    bench.order(SwapOrder.GO)
    bench.cycle(2)
    assert bench.spawner.promoted == [102]


def test_a_candidate_that_is_not_admitted_yet_is_in_shadow_and_does_not_go(bench: Bench) -> None:
    bench.load_candidate()
    bench.says(WorkerState.SHADOW)
    assert bench.cycle().candidate == CandidateState.SHADOW
    bench.order(SwapOrder.GO)
    assert bench.cycle(3).candidate == CandidateState.SHADOW
    bench.says(WorkerState.READY)
    assert bench.cycle().candidate == CandidateState.READY


def test_a_candidate_that_dies_after_go_is_admitted_anew_before_it_takes_over(bench: Bench) -> None:
    bench.load_candidate()
    bench.says(WorkerState.READY)
    bench.cycle()
    bench.safe = 0
    bench.order(SwapOrder.GO)
    bench.cycle()
    bench.kill_worker(2)
    bench.cycle(2)
    bench.safe = 1
    bench.says(WorkerState.SHADOW)
    bench.cycle(5)
    assert (bench.policy.worker, bench.spawner.candidates) == (Worker.A, [2, 3])
    bench.says(WorkerState.READY)
    assert bench.cycle().candidate == CandidateState.DRIVING


def test_a_candidate_that_is_too_slow_in_shadow_is_refused_by_name_and_the_old_one_drives_on(
    bench: Bench,
) -> None:
    bench.load_candidate()
    bench.says(WorkerState.SHADOW)
    bench.cycle()
    bench.says(WorkerState.REFUSED, "latency-admission")
    refused = bench.cycle(20)
    assert (refused.candidate, text_from(refused.reason)) == (CandidateState.REFUSED, "latency-admission")
    assert (refused.driving, bench.spawner.running) == (1, [(Worker.A, OLD.digest)])


def test_a_candidate_that_hangs_in_shadow_is_refused_within_seconds(bench: Bench) -> None:
    bench.load_candidate()
    bench.says(WorkerState.SHADOW)
    for _ in range(70):
        bench.says(WorkerState.READY, epoch=1)
        bench.cycle()
    assert (bench.policy.candidate, bench.policy.worker) == (CandidateState.REFUSED, Worker.A)


def test_a_candidate_that_dies_in_its_trial_loses_the_wheel_at_once(bench: Bench) -> None:
    bench.drive_candidate()
    bench.kill_worker(2)
    bench.says(WorkerState.READY, epoch=1)
    failed = bench.cycle()
    assert (failed.candidate, failed.worker, failed.epoch) == (CandidateState.FAILED, Worker.A, 1)
    assert text_from(failed.reason) == "policy-worker"
    assert bench.spawner.running == [(Worker.A, OLD.digest)]
    bench.order(SwapOrder.DROP)
    assert bench.cycle().candidate == CandidateState.NONE


def test_a_candidate_that_breaks_its_promises_loses_the_wheel_in_the_next_cycle_and_nobody_else_is_asked(
    bench: Bench,
) -> None:
    bench.drive_candidate()
    for _ in range(10):
        bench.says(WorkerState.READY, epoch=1)
        bench.says(WorkerState.READY, epoch=2)
        assert bench.cycle().candidate == CandidateState.DRIVING
    bench.says(WorkerState.READY, epoch=2, failed=1)
    bench.says(WorkerState.READY, epoch=1)
    failed = bench.cycle()
    assert (failed.candidate, failed.worker, failed.epoch) == (CandidateState.FAILED, Worker.A, 1)
    assert (text_from(failed.reason), failed.driving) == ("no-plan", 1)
    assert bench.spawner.running == [(Worker.A, OLD.digest)]


def test_a_candidate_that_takes_more_energy_than_it_promises_loses_the_wheel(bench: Bench) -> None:
    power = BoardWriter(bench.run / POWER_BOARD, POWER)
    blank = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))
    bench.drive_candidate()
    bench.promises(0.25, joules=9.5)
    for made in range(40):
        told = blank._replace(envelope_w=120.0, module_w=100.0, decision_rate_hz=10.0, energy_j=10.0 * made)
        power.write(told, bench.clock.mono_ns())
        bench.says(WorkerState.READY, epoch=1)
        if bench.policy.candidate == CandidateState.DRIVING:
            bench.says(WorkerState.READY, epoch=2, decisions=made)
        bench.cycle()
    assert (bench.policy.candidate, text_from(bench.policy.reason)) == (CandidateState.FAILED, "energy")
    assert bench.spawner.running == [(Worker.A, OLD.digest)]


@pytest.mark.parametrize(
    ("rate_hz", "lowered_w", "within_s", "seen"),
    [(2.0, 0.0, 6.0, "envelope"), (0.0, 0.0, 30.0, ""), (2.0, 5.0, 30.0, "")],
)
def test_power_above_the_envelope_is_the_candidates_only_where_it_decides_under_a_limit_that_stands(
    bench: Bench, rate_hz: float, lowered_w: float, within_s: float, seen: str
) -> None:
    power = BoardWriter(bench.run / POWER_BOARD, POWER)
    blank = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))
    bench.drive_candidate()
    envelope_w = 120.0
    for cycle in range(round(within_s / 0.05)):
        envelope_w = max(40.0, envelope_w - lowered_w) if cycle % 40 == 39 else envelope_w
        told = blank._replace(envelope_w=envelope_w, module_w=125.0, decision_rate_hz=rate_hz)
        power.write(told, bench.clock.mono_ns())
        bench.says(WorkerState.READY, epoch=1)
        if bench.policy.candidate == CandidateState.DRIVING:
            bench.says(WorkerState.READY, epoch=2, decisions=cycle)
        bench.cycle()
    assert text_from(bench.policy.reason) == seen


@pytest.mark.parametrize(("lowered_s_ago", "seen"), [(0.5, ""), (8.0, "envelope")])
def test_watts_that_a_lowering_before_the_change_of_hands_left_above_the_limit_are_not_the_candidates(
    bench: Bench, lowered_s_ago: float, seen: str
) -> None:
    """From 130 to 40 W at 15 W/s takes 6 s, and a candidate is judged after 5."""
    power = BoardWriter(bench.run / POWER_BOARD, POWER)
    blank = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))

    def goes_on(seconds: float, envelope_w: float, module_w: float) -> None:
        for _ in range(round(seconds / 0.05)):
            told = blank._replace(envelope_w=envelope_w, module_w=module_w, decision_rate_hz=2.0)
            power.write(told, bench.clock.mono_ns())
            for _, _, epoch, child in bench.spawner.workers:
                if child.status is None:
                    bench.says(WorkerState.READY, epoch=epoch)
            bench.cycle()

    bench.load_candidate()
    goes_on(0.5, 130.0, 125.0)
    goes_on(lowered_s_ago, 40.0, 100.0)
    bench.order(SwapOrder.GO)
    goes_on(5.8, 40.0, 60.0)
    assert text_from(bench.policy.reason) == seen


@pytest.mark.parametrize("hangs", [True, False])
def test_the_wheel_is_given_back_before_the_candidates_process_is_waited_for(
    bench: Bench, hangs: bool
) -> None:
    bench.drive_candidate()
    selected: list[int] = []
    candidate = bench.spawner.workers[-1][3]
    candidate.reaped = lambda: selected.append(bench.policy.epoch)
    for _ in range(40):
        bench.says(WorkerState.READY, epoch=1)
        if not hangs:
            bench.says(WorkerState.READY, epoch=2, failed=len(selected) + 1)
        bench.cycle()
    assert (bench.policy.candidate, selected) == (CandidateState.FAILED, [1])


def test_a_loop_that_stops_because_the_plant_is_silent_for_half_a_second_takes_the_wheel_from_nobody(
    bench: Bench,
) -> None:
    bench.drive_candidate()
    for cycle in range(20):
        bench.says(WorkerState.READY, epoch=2)
        if cycle == 10:
            bench.silent.add("plant")
        if cycle == 16:
            bench.loop_state = LoopState.MINIMAL_RISK
        assert bench.cycle().candidate == CandidateState.DRIVING


def test_a_hang_is_called_so_though_the_plant_was_silent_between_two_looks_for_so_long_that_the_loop_stops(
    bench: Bench,
) -> None:
    """On a machine so busy that the supervisor looks late and the plant speaks late."""
    bench.drive_candidate()
    for made in range(10):
        bench.says(WorkerState.READY, epoch=1)
        bench.says(WorkerState.READY, epoch=2, decisions=made)
        bench.cycle()
    bench.silent.add("plant")
    bench.cycle(2)
    bench.clock.advance(0.14)
    bench.silent.clear()
    bench.loop_state = LoopState.MINIMAL_RISK
    while bench.cycle().candidate == CandidateState.DRIVING:
        bench.says(WorkerState.READY, epoch=1)
    assert text_from(bench.policy.reason) == "policy-worker"


def test_what_the_loop_told_long_before_is_not_held_against_a_candidate_that_decided_since(
    bench: Bench,
) -> None:
    """The plant was silent, and when it speaks again the follower waits for a processor."""
    bench.drive_candidate()
    bench.silent.add("plant")
    bench.loop_state = LoopState.MINIMAL_RISK
    bench.cycle(10)
    bench.silent = {"follower"}
    for made in range(30):
        bench.says(WorkerState.READY, epoch=2, decisions=made)
        if made == 20:
            bench.silent.clear()
            bench.loop_state = LoopState.OK
        assert bench.cycle().candidate == CandidateState.DRIVING


def test_a_hang_that_stops_the_loop_before_it_is_long_enough_to_be_called_one_is_named_as_the_cause(
    bench: Bench,
) -> None:
    """Three decisions of two seconds are longer than a plan lasts."""
    bench.drive_candidate()
    bench.promises(2.0)
    for cycle in range(100):
        bench.says(WorkerState.READY, epoch=1)
        bench.loop_state = LoopState.MINIMAL_RISK if cycle > 80 else LoopState.OK
        bench.cycle()
    assert (bench.policy.candidate, text_from(bench.policy.reason)) == (
        CandidateState.FAILED,
        "policy-worker",
    )
    assert "s overdue" in text_from(bench.policy.detail)


def test_what_went_wrong_before_the_trial_or_after_it_is_no_breach_of_it(bench: Bench) -> None:
    bench.load_candidate()
    bench.says(WorkerState.READY, failed=3)
    bench.cycle()
    bench.order(SwapOrder.GO)
    bench.cycle(2)
    bench.says(WorkerState.READY, failed=3)
    assert bench.cycle().candidate == CandidateState.DRIVING
    bench.order(SwapOrder.KEEP)
    bench.cycle()
    bench.says(WorkerState.READY, failed=4)
    assert (bench.cycle(3).candidate, bench.policy.driving) == (CandidateState.NONE, 1)


def test_a_candidate_that_dies_once_while_it_loads_gets_a_second_chance(bench: Bench) -> None:
    bench.load_candidate()
    bench.kill_worker(2)
    bench.cycle(2)
    bench.says(WorkerState.READY)
    assert bench.cycle().candidate == CandidateState.READY
    assert bench.spawner.workers[-1][2] == 3


@pytest.mark.parametrize(
    ("promised_s", "silent_s", "hung"), [(10.0, 29.0, False), (10.0, 31.0, True), (0.1, 3.1, True)]
)
def test_a_slow_policy_is_given_three_times_what_it_promises_before_it_is_called_hung(
    bench: Bench, promised_s: float, silent_s: float, hung: bool
) -> None:
    bench.says(WorkerState.READY)
    bench.promises(promised_s)
    bench.cycle()
    restarts = bench.cycle(round(silent_s / 0.05)).restarts
    assert (restarts > 0) == hung


def test_on_trial_a_hung_policy_loses_the_wheel_within_a_second_or_three_decisions(bench: Bench) -> None:
    bench.drive_candidate()
    bench.promises(0.4)
    for _ in range(20):
        bench.says(WorkerState.READY, epoch=1)
        assert bench.cycle().candidate == CandidateState.DRIVING
    for _ in range(5):
        bench.says(WorkerState.READY, epoch=1)
        bench.cycle()
    assert bench.policy.candidate == CandidateState.FAILED


def test_a_release_that_passed_its_trial_is_not_on_trial_any_more(bench: Bench) -> None:
    bench.drive_candidate()
    bench.order(SwapOrder.KEEP)
    bench.cycle()
    assert bench.cycle(50).restarts == 0


@pytest.mark.parametrize("saw_s_ago", [1.2, 0.7])
def test_a_candidate_whose_plan_would_be_old_before_its_next_one_does_not_take_over(
    bench: Bench, saw_s_ago: float
) -> None:
    bench.load_candidate()
    bench.says(WorkerState.READY, saw_s_ago=saw_s_ago)
    bench.cycle()
    bench.order(SwapOrder.GO)
    assert bench.cycle(2).candidate == CandidateState.READY
    bench.says(WorkerState.READY)
    assert bench.cycle(2).candidate == CandidateState.DRIVING


def test_nobody_takes_over_while_the_vehicle_is_silent_for_so_long_that_the_gate_brakes(
    bench: Bench,
) -> None:
    bench.load_candidate()
    bench.silent.add("plant")
    for _ in range(7):
        bench.says(WorkerState.READY)
        bench.cycle()
    bench.order(SwapOrder.GO)
    assert bench.cycle().candidate == CandidateState.READY
    bench.silent.clear()
    bench.says(WorkerState.READY)
    assert bench.cycle(2).candidate == CandidateState.DRIVING


def test_a_candidate_that_hangs_in_its_trial_loses_the_wheel_at_once(bench: Bench) -> None:
    bench.drive_candidate()
    for _ in range(65):
        bench.says(WorkerState.READY, epoch=1)
        bench.cycle()
    assert (bench.policy.candidate, bench.policy.worker) == (CandidateState.FAILED, Worker.A)


def test_manage_may_end_the_trial_itself(bench: Bench) -> None:
    bench.drive_candidate()
    bench.order(SwapOrder.RETURN)
    back = bench.cycle()
    assert (back.candidate, back.worker, text_from(back.reason)) == (CandidateState.FAILED, 0, "returned")


def test_a_dead_live_worker_is_started_again_with_growing_waits_and_the_selection_stays(bench: Bench) -> None:
    bench.says(WorkerState.READY)
    bench.cycle()
    for epoch in range(1, 6):
        bench.kill_worker(epoch)
        policy = bench.cycle(120 if epoch > 1 else 2)
        assert policy.epoch == 1
    assert bench.policy.restarts == 5
    assert (bench.policy.driving, text_from(bench.policy.reason)) == (0, "policy-worker")


def test_a_follower_that_died_or_hangs_is_replaced(bench: Bench) -> None:
    bench.cycle(20)
    bench.spawner.followers[0].status = -11
    bench.cycle()
    assert len(bench.spawner.followers) == 2
    bench.silent.add("follower")
    bench.cycle(100)
    assert len(bench.spawner.followers) == 3


def test_a_supervisor_that_was_stopped_itself_does_not_call_others_hung(bench: Bench) -> None:
    bench.says(WorkerState.READY)
    bench.cycle()
    bench.clock.advance(30.0)
    bench.supervisor.cycle()
    assert bench.policy.restarts == 0


def test_after_a_stall_of_the_machine_everyone_gets_the_time_to_speak_again(bench: Bench) -> None:
    """What stopped the supervisor stopped its children too: they may need a while longer than it does."""
    bench.drive_candidate()
    bench.silent.add("follower")
    bench.clock.advance(30.0)
    policy = bench.cycle(40)
    assert (policy.candidate, policy.restarts) == (CandidateState.DRIVING, 0)
    bench.spawner.followers[-1].status = -9
    bench.cycle()
    assert len(bench.spawner.followers) == 2
    bench.cycle(40)
    assert bench.policy.candidate == CandidateState.FAILED


def test_an_order_that_was_served_is_not_served_again_by_the_next_supervisor(bench: Bench) -> None:
    bench.drive_candidate()
    bench.live = NEW
    bench.supervisor = bench.anew()
    bench.says(WorkerState.READY)
    policy = bench.cycle()
    assert (policy.request, policy.candidate) == (2, CandidateState.NONE)
    assert policy.digest == raw_from_digest(NEW.digest)
    assert policy.epoch == 3


def test_go_after_a_restart_in_between_counts_as_driving(bench: Bench) -> None:
    """The pointer was flipped, then control died before it read the order: it loaded the new release by itself."""
    bench.live = NEW
    bench.supervisor = bench.anew()
    bench.says(WorkerState.READY)
    bench.order(SwapOrder.GO)
    assert bench.cycle().candidate == CandidateState.DRIVING
    bench.order(SwapOrder.KEEP)
    assert bench.cycle().candidate == CandidateState.NONE
    assert (Worker.A, NEW.digest) in bench.spawner.running


def test_return_after_a_restart_loads_what_the_pointer_says(bench: Bench) -> None:
    bench.live = NEW
    bench.supervisor = bench.anew()
    bench.says(WorkerState.READY)
    bench.cycle()
    bench.live = OLD
    bench.order(SwapOrder.RETURN)
    bench.cycle()
    bench.says(WorkerState.READY)
    assert bench.cycle().digest == raw_from_digest(OLD.digest)


def test_an_order_nobody_knows_is_acknowledged_and_changes_nothing(bench: Bench) -> None:
    bench.says(WorkerState.READY)
    bench.cycle()
    bench._swap.write(SwapRecord(9, 77, bytes(32), b"b"), bench.clock.mono_ns())
    policy = bench.cycle()
    assert (policy.request, policy.candidate, policy.driving) == (9, CandidateState.NONE, 1)


def test_an_order_to_load_nothing_is_refused(bench: Bench) -> None:
    bench._swap.write(SwapRecord(9, int(SwapOrder.LOAD), bytes(32), b"b"), bench.clock.mono_ns())
    assert bench.cycle().candidate == CandidateState.REFUSED


def test_stopping_ends_every_child(bench: Bench) -> None:
    bench.drive_candidate()
    bench.supervisor.stop(1.5)
    assert bench.spawner.running == []
    assert bench.spawner.followers[0].status is not None


def test_a_broken_pointer_keeps_nothing_from_running_and_is_told(bench: Bench) -> None:
    bench.supervisor.stop(1.0)
    bench.broken = True
    bench.supervisor = bench.anew()
    policy = bench.cycle(3)
    assert bench.spawner.followers[-1].status is None
    assert (policy.driving, text_from(policy.reason)) == (0, "malformed")
    bench.broken = False
    bench.order(SwapOrder.DROP)
    bench.cycle()
    bench.says(WorkerState.READY)
    assert bench.cycle().digest == raw_from_digest(OLD.digest)


def decide_late(bench: Bench, plans: int, saw_s_ago: float) -> PolicyRecord:
    """The worker that was started last tells so many plans, of 6.4 s each, on what it saw so long ago."""
    told = bench.policy
    for _ in range(plans):
        bench.says(WorkerState.READY, saw_s_ago=saw_s_ago, steps=64)
        told = bench.cycle()
    return told


def test_a_worker_whose_plans_are_all_old_when_they_come_is_replaced_and_the_board_says_why(
    bench: Bench,
) -> None:
    decide_late(bench, 1, 0.1)
    late = decide_late(bench, 10, 1.5)
    bench.cycle()
    assert text_from(late.reason) == "policy-worker"
    assert "10 plans in a row" in text_from(late.detail)
    assert [epoch for _, _, epoch, child in bench.spawner.workers if child.status is None] == [2]


def test_a_worker_that_was_late_nine_times_and_caught_up_stays(bench: Bench) -> None:
    for _ in range(3):
        decide_late(bench, 9, 1.5)
        decide_late(bench, 1, 0.1)
    assert (bench.policy.epoch, bench.policy.restarts) == (1, 0)


def test_plans_that_are_as_old_as_the_release_promises_are_not_late(bench: Bench) -> None:
    bench.promises(2.0)
    decide_late(bench, 30, 2.5)
    assert bench.policy.restarts == 0
    decide_late(bench, 10, 3.1)
    assert bench.cycle().restarts == 1


def test_one_plan_that_stands_on_the_board_and_ages_is_counted_once(bench: Bench) -> None:
    decide_late(bench, 1, 2.0)
    assert bench.cycle(40).restarts == 0


def test_a_worker_that_drove_and_then_failed_is_replaced_at_once_and_one_that_never_could_is_not(
    bench: Bench,
) -> None:
    bench.says(WorkerState.READY)
    bench.cycle()
    bench.says(WorkerState.REFUSED, "policy-worker", decisions=7)
    assert bench.cycle(2).restarts == 1
    bench.says(WorkerState.REFUSED, "golden-mismatch")
    assert bench.cycle(40).restarts == 1
    assert bench.cycle(200).restarts == 2
