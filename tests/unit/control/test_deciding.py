"""A policy worker in virtual time: loading, latest observation wins, knobs, what is dropped, what is told."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
import pytest

from agent.board.change import POLICY, POLICY_BOARD, CandidateState
from agent.board.layout import Layout, text_from
from agent.board.records import (
    LIMITS,
    PLAN,
    POWER,
    POWER_BOARD,
    VEHICLE,
    VEHICLE_BOARD,
    WORKER,
    PlanRecord,
    PowerRecord,
    VehicleRecord,
    Worker,
    WorkerRecord,
    WorkerState,
    decisions_ring,
    limits_board,
    plan_board,
    raw_from_digest,
    worker_board,
)
from agent.board.ring import RingReader
from agent.board.seqlock import BoardReader, BoardWriter
from agent.control.cadence import Cadence
from agent.control.publish import Post, Publisher, Times, record_of
from agent.control.seat import hung_after_ns
from agent.control.worker import DECISIONS_PER_EPOCH, LoadedPolicy, Surroundings, serve
from agent.errors import BoardError
from models.contract import PolicyContract, SamplingSpec
from models.digest import Digest
from models.errors import DigestMismatchError, RoskvaError
from models.release.manifest import ReleaseLimits
from models.runtime.policy import Decision, Knobs, Observation
from models.runtime.simulated import Failure, SimulatedPolicy, SimulatedSettings
from models.wire.messages import DecisionRecord, decode
from tests.fakes.clock import FakeClock
from tests.fakes.plant import small_contract
from tests.fakes.policy_worker import LIMITS as RELEASE_LIMITS

DIGEST = Digest("sha256:" + "c3" * 32)
_S = 1_000_000_000
_SOUND = SimulatedSettings()
R = TypeVar("R", bound=NamedTuple)


class SpyPolicy(SimulatedPolicy):
    """Remembers on what it decided, with which knobs."""

    seen: list[tuple[int, Knobs]]
    begins: Callable[[], None]

    def decide(self, observation: Observation, knobs: Knobs, seed: int) -> Decision:
        self.seen.append((observation.sequence, knobs))
        self.begins()
        return super().decide(observation, knobs, seed)


@dataclass
class Cameras:
    """An observation every 0.1 s of the clock, from its start on; ends the worker at `end_s`."""

    clock: FakeClock
    end_s: float
    paused_s: tuple[float, float] = (1e9, 1e9)
    jump: tuple[int, int] = (0, 0)
    """A frame, and by how many nanoseconds its stamp is wrong."""

    def __post_init__(self) -> None:
        self.start_ns = self.clock.mono_ns()
        self.last = 0

    @property
    def now_s(self) -> float:
        return (self.clock.mono_ns() - self.start_ns) / _S

    def stopping(self) -> bool:
        return self.now_s >= self.end_s

    def news(self, mono_ns: int) -> Observation | None:
        frame = (mono_ns - self.start_ns) // (_S // 10) + 1
        begin_s, end_s = self.paused_s
        if frame == self.last or begin_s <= self.now_s < end_s:
            return None
        self.last = frame
        frames = {"front": np.zeros((2, 4, 6, 3), np.uint8)}
        made_ns = self.start_ns + (frame - 1) * (_S // 10)
        made_ns += self.jump[1] if frame == self.jump[0] else 0
        sequence = frame if self.now_s < end_s else frame - round((end_s - begin_s) * 10)
        return Observation(sequence, made_ns, frames, np.zeros((4, 4), np.float32), 1)

    def wait(self, until_ns: int) -> bool:
        return False


@dataclass
class Loader:
    """Gives a policy, or raises."""

    policy: SimulatedPolicy
    error: Exception | None = None
    limits: ReleaseLimits = RELEASE_LIMITS

    def load(self) -> LoadedPolicy:
        if self.error is not None:
            raise self.error
        return LoadedPolicy(self.policy, "1.2.3", "nvfp4", self.limits)


class Bench:
    """One worker and the boards around it."""

    def __init__(self, run: Path) -> None:
        self.run, self.clock = run, FakeClock()
        self.contract = small_contract()
        self.power = BoardWriter(run / POWER_BOARD, POWER)
        self.policy_board = BoardWriter(run / POLICY_BOARD, POLICY)
        self.seen: list[tuple[int, Knobs]] = []
        self._knobs: PowerRecord | None = None
        self._vehicle = BoardWriter(run / VEHICLE_BOARD, VEHICLE)
        self._speeds: VehicleRecord | None = None
        self.began_ns: list[int] = []
        self.at_every_pass: Callable[[], None] = lambda: None
        self.spoke_ns: list[int] = []
        """When the worker's board was written, as seen between its turns."""

    def serve(
        self,
        seconds: float,
        settings: SimulatedSettings = _SOUND,
        *,
        error: Exception | None = None,
        connected: RoskvaError | None = None,
        paused_s: tuple[float, float] = (1e9, 1e9),
        jump: tuple[int, int] = (0, 0),
        limits: ReleaseLimits = RELEASE_LIMITS,
        candidate: bool = False,
        kept_waiting_ns: Callable[[], int] = lambda: 0,
        confined: bool = False,
    ) -> int:
        """Run a worker of epoch 3 for `seconds` of the clock; returns its exit status."""
        policy = SpyPolicy(self.contract, DIGEST, settings, self.clock.advance)
        policy.seen, policy.begins = self.seen, lambda: self.began_ns.append(self.clock.mono_ns())
        cameras = Cameras(self.clock, seconds, paused_s, jump)

        def connect(_: PolicyContract) -> Cameras:
            if connected is not None:
                raise connected
            return cameras

        loader = Loader(policy, error, limits)
        around = Surroundings(
            self.run,
            self.clock,
            loader,
            connect,
            10.0,
            lambda: self._stopping(cameras),
            kept_waiting_ns,
            lambda: confined,
        )
        return serve(Post(Worker.A, "a", DIGEST, 3, 42, candidate), around)

    def governs(
        self,
        hz: float,
        tokens: int = 14,
        steps: int = 4,
        *,
        samples: int = 1,
        lives: bool = True,
        held_until_ns: int = 0,
    ) -> None:
        """The governor's knobs, told again and again while it `lives`."""
        blank = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))
        told = blank._replace(decision_rate_hz=hz, max_reasoning_tokens=tokens, flow_steps=steps)
        told = told._replace(plan_samples=samples, held_until_ns=held_until_ns)
        self.power.write(told, self.clock.mono_ns())
        self._knobs = told if lives else None

    def _stopping(self, cameras: Cameras) -> bool:
        if self._knobs is not None:
            self.power.write(self._knobs, self.clock.mono_ns())
        if self._speeds is not None:
            self._vehicle.write(self._speeds, self.clock.mono_ns())
        self.at_every_pass()
        with BoardReader(self.run / worker_board(Worker.A), WORKER) as board:
            stamped = board.read()
        if stamped is not None and stamped.mono_ns not in self.spoke_ns[-1:]:
            self.spoke_ns.append(stamped.mono_ns)
        return cameras.stopping()

    def selects(self, epoch: int, candidate: CandidateState = CandidateState.NONE) -> None:
        """`control` lets the worker of `epoch` drive, beside a candidate in the state given."""
        blank = POLICY.record_from(POLICY.packer.unpack(bytes(POLICY.packer.size)))
        self.policy_board.write(blank._replace(epoch=epoch, candidate=candidate), self.clock.mono_ns())

    def driver_plans(self, epoch: int, acceleration_mps2: float = 0.0, curvature_per_m: float = 0.0) -> None:
        """The worker beside has published a plan, and the vehicle drives at 10 m/s."""
        now_ns = self.clock.mono_ns()
        waypoints = struct.pack("<128f", *(acceleration_mps2, curvature_per_m) * 64)
        plan = PlanRecord(1, epoch, now_ns, now_ns, 100_000_000, 64, bytes(32), waypoints)
        BoardWriter(self.run / plan_board(Worker.B), PLAN).write(plan, now_ns)
        blank = VEHICLE.record_from(VEHICLE.packer.unpack(bytes(VEHICLE.packer.size)))
        self._speeds = blank._replace(speed_mps=10.0)

    @property
    def figures(self) -> WorkerRecord:
        with BoardReader(self.run / worker_board(Worker.A), WORKER) as board:
            stamped = board.read()
        assert stamped is not None
        return stamped.record

    @property
    def plan(self) -> PlanRecord | None:
        with BoardReader(self.run / plan_board(Worker.A), PLAN) as board:
            stamped = board.read()
        return stamped.record if stamped else None

    def decisions(self) -> list[DecisionRecord]:
        return [
            decode(raw, DecisionRecord) for raw in RingReader(self.run / decisions_ring(Worker.A)).drain(9999)
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    found = Bench(tmp_path)
    found.selects(3)
    found.governs(10.0)
    return found


def test_every_observation_is_decided_once_where_the_policy_is_fast_enough(bench: Bench) -> None:
    assert bench.serve(2.0, SimulatedSettings(visual_s=0.03)) == 0
    sequences = [sequence for sequence, _ in bench.seen]
    assert sequences == list(range(1, 21))
    assert (bench.figures.decisions, bench.figures.dropped) == (20, 0)
    assert bench.figures.latency_p50_ns == pytest.approx(0.03 * _S, rel=0.01)
    assert bench.figures.busy_ns == pytest.approx(20 * 0.03 * _S, rel=0.01)


def test_a_slow_policy_decides_on_the_latest_and_counts_what_it_passed_over(bench: Bench) -> None:
    bench.serve(3.0, SimulatedSettings(visual_s=0.25))
    sequences = [sequence for sequence, _ in bench.seen]
    gaps = {later - earlier for earlier, later in pairwise(sequences)}
    assert gaps <= {2, 3}
    assert bench.figures.dropped == sequences[-1] - sequences[0] + 1 - len(sequences)


def test_a_lower_rate_is_a_choice_and_not_a_drop(bench: Bench) -> None:
    bench.governs(5.0)
    bench.serve(4.0, SimulatedSettings(visual_s=0.02))
    assert len(bench.seen) == 20
    assert bench.figures.dropped == 0


def test_a_plant_that_pauses_is_not_a_late_policy(bench: Bench) -> None:
    bench.serve(4.0, paused_s=(1.0, 2.0))
    assert [sequence for sequence, _ in bench.seen] == list(range(1, 31))
    assert bench.figures.dropped == 0


def test_the_governors_knobs_reach_the_policy_and_never_exceed_the_contract(bench: Bench) -> None:
    bench.governs(10.0, tokens=5, steps=99, samples=99)
    bench.serve(0.3)
    assert {knobs for _, knobs in bench.seen} == {Knobs(max_reasoning_tokens=5, flow_steps=4)}


@pytest.mark.parametrize(("allowed", "drawn"), [(-1, 1), (1, 1), (3, 3), (99, 6)])
def test_a_policy_of_several_plans_draws_as_many_as_the_governor_allows_and_tells_how_many_those_were(
    bench: Bench, allowed: int, drawn: int
) -> None:
    bench.contract = msgspec.structs.replace(small_contract(), sampling=SamplingSpec(0.0, 1.0, 6))
    bench.governs(10.0, samples=allowed)
    bench.serve(0.3)
    assert {knobs.plan_samples for _, knobs in bench.seen} == {drawn}
    assert {record.plan_samples for record in bench.decisions()} == {drawn}
    with BoardReader(bench.run / limits_board(Worker.A), LIMITS) as board:
        told = board.read()
    assert told is not None
    assert told.record.plan_samples == 6


@pytest.mark.parametrize("hz", [-1.0, float("nan"), float("inf")])
def test_a_rate_that_makes_no_sense_counts_as_the_most_frugal(bench: Bench, hz: float) -> None:
    bench.governs(hz)
    bench.serve(3.0)
    assert 3 <= len(bench.seen) <= 4


def test_where_the_governor_allows_no_decision_none_is_made_and_the_worker_lives_on(bench: Bench) -> None:
    bench.governs(0.0)
    assert bench.serve(3.0) == 0
    assert bench.seen == []


def test_no_decision_begins_before_the_governor_lets_it(bench: Bench) -> None:
    until_ns = bench.clock.mono_ns() + 7 * _S // 10
    bench.governs(10.0, held_until_ns=until_ns)
    bench.serve(1.7)
    first = bench.decisions()[0]
    began_utc_ns = first.observed_utc_ns + first.queue_ns
    assert began_utc_ns - (bench.clock.utc_ns() - bench.clock.mono_ns()) >= until_ns
    assert 9 <= len(bench.seen) <= 11


def test_where_the_governor_holds_decisions_back_a_word_of_its_is_for_one(bench: Bench) -> None:
    bench.governs(10.0, lives=False, held_until_ns=bench.clock.mono_ns() + _S // 5)
    bench.serve(0.9, SimulatedSettings(visual_s=0.02))
    assert len(bench.seen) == 1


@pytest.mark.parametrize("ahead_s", [3.5, 3_600.0, 9e9])
def test_a_word_that_would_hold_it_for_ever_holds_nothing(bench: Bench, ahead_s: float) -> None:
    """The governor holds for less than a second; a time of another boot or a flipped bit is no reason to stand still."""
    bench.governs(10.0, held_until_ns=bench.clock.mono_ns() + round(ahead_s * _S))
    bench.serve(0.4)
    assert len(bench.seen) >= 3


@pytest.mark.parametrize("hz", [3.0, 6.5, 8.0, 9.0])
def test_a_rate_is_held_in_the_mean_whatever_that_of_the_cameras_is(bench: Bench, hz: float) -> None:
    """Eight of ten frames a second, and not every other one of them."""
    bench.governs(hz)
    bench.serve(10.0, SimulatedSettings(visual_s=0.02))
    assert len(bench.seen) == pytest.approx(hz * 10, abs=2)
    assert bench.figures.dropped == 0


def test_what_is_late_is_caught_up_but_never_by_two_decisions_in_a_row(bench: Bench) -> None:
    """The observation of 2.0 s comes 0.2 s late; the next would be due 0.05 s later."""
    bench.governs(4.0)
    bench.serve(10.0, SimulatedSettings(visual_s=0.02), paused_s=(2.0, 2.2))
    observed_ns = [record.observed_utc_ns for record in bench.decisions()]
    assert min(later - earlier for earlier, later in pairwise(observed_ns)) >= 0.15 * _S
    assert len(observed_ns) == 40


def test_without_a_living_governor_the_worker_is_frugal(bench: Bench) -> None:
    bench.governs(10.0, lives=False)
    bench.clock.advance(4.0)
    bench.serve(3.0)
    assert 3 <= len(bench.seen) <= 4
    assert {knobs for _, knobs in bench.seen} == {Knobs(max_reasoning_tokens=8, flow_steps=2)}


def test_the_stages_of_a_decision_are_told_apart(bench: Bench) -> None:
    bench.serve(
        2.0,
        SimulatedSettings(
            visual_s=0.01, reason_s_per_token=0.01, action_s_per_step=0.005, waypoint=(0.0, 0.0)
        ),
    )
    found = bench.figures
    assert (found.visual_p50_ns, found.reason_p50_ns, found.action_p50_ns) == (
        10_000_000,
        40_000_000,
        20_000_000,
    )
    assert (found.visual_p99_ns, found.reason_p99_ns, found.action_p99_ns) == (
        10_000_000,
        40_000_000,
        20_000_000,
    )
    assert 0 <= found.queue_p50_ns <= found.queue_p99_ns <= 40_000_000


def test_a_decision_is_published_with_its_number_its_epoch_and_its_release(bench: Bench) -> None:
    bench.serve(0.15, SimulatedSettings(waypoint=(0.7, 0.015)))
    plan, record = bench.plan, bench.decisions()[-1]
    assert plan is not None
    assert plan.decision == record.sequence == 3 * DECISIONS_PER_EPOCH + 2
    assert (plan.epoch, plan.digest, record.release_digest) == (3, raw_from_digest(DIGEST), DIGEST)
    assert struct.unpack_from("<2f", plan.waypoints) == pytest.approx((0.7, 0.015))
    assert record.plan[0] == pytest.approx((0.7, 0.015))
    assert record.observed_utc_ns - plan.observation_ns == bench.clock.utc_ns() - bench.clock.mono_ns()
    assert (record.ticks, record.energy_j) == (0, 0.0)
    assert 0 <= record.queue_ns <= 40_000_000


def test_a_decision_tells_how_long_its_observation_waited_while_the_one_before_was_made(bench: Bench) -> None:
    bench.governs(30.0)
    bench.serve(1.0, SimulatedSettings(visual_s=0.13))
    waited = [record.queue_ns for record in bench.decisions()][1:]
    assert max(waited) > 25_000_000
    assert max(waited) < 100_000_000


def test_a_worker_that_drives_for_a_year_does_not_run_into_the_numbers_of_the_next() -> None:
    assert DECISIONS_PER_EPOCH > 366 * 86_400 * 30
    assert 1_000_000 * DECISIONS_PER_EPOCH < 2**53  # a JSON number stays whole, whoever reads it


def test_a_plan_with_a_number_that_is_none_is_never_published(bench: Bench) -> None:
    bench.serve(0.55, SimulatedSettings(failure=Failure.NOT_FINITE, fail_after=3))
    plan = bench.plan
    assert plan is not None
    assert plan.decision == 3 * DECISIONS_PER_EPOCH + 3
    assert all(map(np.isfinite, struct.unpack_from("<128f", plan.waypoints)))
    assert (bench.figures.decisions, bench.figures.dropped) == (3, 3)


@pytest.mark.parametrize("failure", [Failure.STAMPED_EARLIER, Failure.STAMPED_LATER])
def test_a_plan_on_another_observation_than_was_given_is_never_published(
    bench: Bench, failure: Failure
) -> None:
    """Old sight stamped as new would look fresh for ever."""
    bench.serve(0.55, SimulatedSettings(failure=failure, fail_after=3))
    plan = bench.plan
    assert plan is not None
    assert plan.decision == 3 * DECISIONS_PER_EPOCH + 3
    assert (bench.figures.decisions, bench.figures.dropped) == (3, 3)


@pytest.mark.parametrize("failure", [Failure.NOT_FINITE, Failure.WRONG_SHAPE, Failure.RAISES])
def test_ten_failures_in_a_row_end_the_worker_with_a_reason(bench: Bench, failure: Failure) -> None:
    assert bench.serve(60.0, SimulatedSettings(failure=failure)) == 1
    assert bench.figures.state == WorkerState.REFUSED
    assert text_from(bench.figures.reason) == "policy-worker"
    assert bench.plan is None


def test_a_release_that_is_not_loaded_is_refused_with_the_errors_code_and_exit_status(bench: Bench) -> None:
    assert bench.serve(1.0, error=DigestMismatchError("model/visual.onnx was changed")) == 4
    assert bench.figures.state == WorkerState.REFUSED
    assert text_from(bench.figures.reason) == "digest-mismatch"
    assert "visual.onnx" in text_from(bench.figures.detail)


def test_a_plant_that_is_not_up_yet_is_waited_for_a_while(bench: Bench) -> None:
    start_ns = bench.clock.mono_ns()
    assert bench.serve(60.0, connected=BoardError("no plant")) == 5
    assert 15 <= (bench.clock.mono_ns() - start_ns) / _S < 17
    assert text_from(bench.figures.reason) == "board"


def test_the_gate_is_told_what_the_release_promises(bench: Bench) -> None:
    bench.serve(0.1)
    found = _read(bench.run / limits_board(Worker.A), LIMITS)
    assert (found.epoch, found.digest) == (3, raw_from_digest(DIGEST))
    assert (found.max_speed_mps, found.max_lateral_mps2, found.max_curvature_per_m) == (12.0, 2.5, 0.2)
    assert found.decision_p99_ns == 50_000_000
    assert np.isnan(found.max_decision_j)
    bench.serve(0.1, limits=msgspec.structs.replace(RELEASE_LIMITS, max_joules_per_decision=9.5))
    assert _read(bench.run / limits_board(Worker.A), LIMITS).max_decision_j == 9.5


@pytest.mark.parametrize(
    "limit",
    ["max_jerk_mps3", "max_speed_mps", "max_lateral_mps2", "decision_p99_ms", "max_joules_per_decision"],
)
@pytest.mark.parametrize("nonsense", [0.0, -1.0, float("nan"), float("inf")])
def test_a_release_with_a_limit_that_is_no_limit_is_refused(
    bench: Bench, limit: str, nonsense: float
) -> None:
    """A jerk of zero would hold the accelerator where the release before left it."""
    assert bench.serve(1.0, limits=msgspec.structs.replace(RELEASE_LIMITS, **{limit: nonsense})) != 0
    assert bench.figures.state == WorkerState.REFUSED
    assert text_from(bench.figures.reason) == "contract-mismatch"
    assert limit in text_from(bench.figures.detail)


def test_an_observation_stamped_in_the_future_does_not_silence_the_worker(bench: Bench) -> None:
    """One bad stamp of a plant, and the next observation that would be due lies days ahead."""
    bench.serve(3.0, jump=(5, 3_600 * _S))
    assert 5 not in [sequence for sequence, _ in bench.seen]
    assert len(bench.seen) >= 25


def test_a_decision_too_long_for_its_slot_is_told_without_its_words_and_the_worker_drives_on(
    tmp_path: Path,
) -> None:
    policy = SimulatedPolicy(small_contract(), DIGEST, _SOUND, FakeClock().advance)
    observation = Cameras(FakeClock(), 1.0).news(1_000_000_000)
    assert observation is not None
    decision = policy.decide(observation, Knobs(8, 4), 1)
    wordy = record_of(decision, 1, Times(0, 0, 0))
    wordy = msgspec.structs.replace(wordy, reasoning="ß" * 512, plan=((-1.2345678, -0.1234567),) * 128)
    publisher = Publisher(tmp_path, Post(Worker.A, "a", DIGEST, 3, 42))
    publisher.record(wordy)
    (raw,) = RingReader(tmp_path / decisions_ring(Worker.A)).drain(9)
    assert decode(raw, DecisionRecord) == msgspec.structs.replace(wordy, reasoning="")
    publisher.record(msgspec.structs.replace(wordy, plan=((-1.2345678e100, -0.12345678901234567),) * 128))
    publisher.alive(1)
    assert _read(tmp_path / worker_board(Worker.A), WORKER).dropped == 1


def _read(path: Path, layout: Layout[R]) -> R:
    with BoardReader(path, layout) as board:
        stamped = board.read()
    assert stamped is not None
    return stamped.record


def test_a_worker_with_little_to_decide_speaks_four_times_within_the_silence_that_a_trial_allows(
    bench: Bench,
) -> None:
    bench.governs(0.5)
    bench.selects(3)
    bench.serve(10.0)
    silences_ns = [later - earlier for earlier, later in pairwise(bench.spoke_ns)]
    assert len(bench.seen) <= 6
    assert 4 * max(silences_ns) <= hung_after_ns(0, on_trial=True)


def test_a_shadow_worker_decides_seldom_and_tells_the_fleet_only_once_it_drives(bench: Bench) -> None:
    bench.selects(2)
    bench.serve(5.0)
    assert 10 <= len(bench.seen) <= 11
    assert bench.decisions() == []
    assert bench.plan is not None


def test_a_shadow_tells_how_its_plans_differ_from_those_that_are_driven_on(bench: Bench) -> None:
    bench.selects(2)
    bench.driver_plans(epoch=2, acceleration_mps2=0.5, curvature_per_m=0.01)
    bench.serve(1.0, SimulatedSettings(waypoint=(1.5, 0.01)))
    found = bench.figures
    assert found.compared == found.decisions >= 2
    assert found.acceleration_rms_mps2 == pytest.approx(1.0, abs=1e-6)
    assert found.curvature_rms_per_m == pytest.approx(0.0, abs=1e-6)
    assert found.displacement_3s_m == pytest.approx(4.5, abs=0.1)


def test_there_is_nothing_to_differ_from_where_nobody_drives_or_only_a_stranger_plans(bench: Bench) -> None:
    bench.selects(2)
    bench.driver_plans(epoch=1)
    bench.serve(1.0)
    assert (bench.figures.compared, bench.figures.decisions) == (0, 2)
    assert np.isnan(bench.figures.acceleration_rms_mps2)


def test_a_driver_is_compared_with_nobody(bench: Bench) -> None:
    bench.driver_plans(epoch=3)
    bench.serve(1.0)
    assert (bench.figures.compared, bench.figures.decisions) == (0, 10)


def test_latencies_are_the_drivers_and_not_those_of_the_time_in_shadow(bench: Bench) -> None:
    bench.selects(2)

    class Switching(FakeClock):
        """Two seconds in, `control` selects this worker; from then on nothing else takes its time."""

        def advance(self, seconds: float) -> None:
            super().advance(seconds if self.mono_ns() >= 3 * _S else 5 * seconds)

        def sleep_until(self, mono_ns: int) -> None:
            if self.mono_ns() < 3 * _S <= mono_ns:
                bench.selects(3)
            super().sleep_until(mono_ns)

    bench.clock = Switching()
    bench.governs(10.0)
    bench.serve(4.0, SimulatedSettings(visual_s=0.02))
    assert bench.figures.latency_p99_ns == pytest.approx(0.02 * _S, rel=0.01)


@pytest.mark.parametrize("hz", [2.0, 4.0, 10.0])
@pytest.mark.parametrize(
    "candidate",
    [CandidateState.LOADING, CandidateState.SHADOW, CandidateState.READY, CandidateState.DRIVING],
)
def test_two_workers_together_decide_no_oftener_than_the_governor_allows(
    tmp_path: Path, candidate: CandidateState, hz: float
) -> None:
    decided = 0
    for place, driving_epoch in (("driving", 3), ("shadow", 2)):
        run = tmp_path / place
        run.mkdir()
        bench = Bench(run)
        bench.selects(driving_epoch, candidate)
        bench.governs(hz)
        bench.serve(10.0)
        assert bench.seen, f"the {place} worker never decides"
        decided += len(bench.seen)
    assert decided <= hz * 10.0 + 2


def test_the_shadow_plan_that_the_follower_took_over_on_is_told(bench: Bench) -> None:
    bench.selects(2)

    class Switching(FakeClock):
        """Two seconds in, `control` selects this worker."""

        def sleep_until(self, mono_ns: int) -> None:
            if self.mono_ns() < 3 * _S <= mono_ns:
                bench.selects(3)
            super().sleep_until(mono_ns)

    bench.clock = Switching()
    bench.governs(10.0)
    bench.serve(4.0)
    sequences = [record.sequence for record in bench.decisions()]
    assert sequences == sorted(sequences)
    assert sequences[0] <= 3 * DECISIONS_PER_EPOCH + 4
    assert sequences == list(range(sequences[0], sequences[-1] + 1))


@pytest.fixture
def shadow(bench: Bench) -> Bench:
    """A candidate beside a driver, with its latency to be looked at."""
    bench.selects(2, CandidateState.SHADOW)
    return bench


def test_a_candidate_is_ready_after_eight_decisions_within_its_promise_and_that_takes_seconds(
    shadow: Bench,
) -> None:
    shadow.serve(1.3, SimulatedSettings(visual_s=0.03), candidate=True)
    assert (shadow.figures.state, shadow.figures.decisions) == (WorkerState.SHADOW, 7)
    shadow.serve(1.5, SimulatedSettings(visual_s=0.03), candidate=True)
    assert (shadow.figures.state, shadow.figures.decisions) == (WorkerState.READY, 8)


def test_a_candidate_that_takes_longer_than_it_promises_is_refused_by_name(shadow: Bench) -> None:
    assert shadow.serve(60.0, SimulatedSettings(visual_s=0.06), candidate=True) == 3
    assert (shadow.figures.state, shadow.figures.decisions) == (WorkerState.REFUSED, 3)
    assert text_from(shadow.figures.reason) == "latency-admission"
    assert text_from(shadow.figures.detail) == "3 of 3 decisions took longer than the promised 50 ms"
    assert shadow.decisions() == []


def test_who_drives_already_is_not_kept_from_it_by_being_slow(bench: Bench) -> None:
    bench.serve(1.0, SimulatedSettings(visual_s=0.06))
    assert bench.figures.state == WorkerState.READY


def test_what_a_candidate_waits_for_a_processor_is_not_its_own_time(shadow: Bench) -> None:
    """It gives way to everyone on the device: of 60 ms, it was kept waiting for 25."""
    waited = iter(range(0, 10**12, 25_000_000))
    shadow.serve(3.0, SimulatedSettings(visual_s=0.06), candidate=True, kept_waiting_ns=lambda: next(waited))
    assert shadow.figures.state == WorkerState.READY
    assert shadow.figures.slow == shadow.figures.decisions


def test_a_candidate_whose_decision_fails_in_shadow_is_refused(shadow: Bench) -> None:
    failing = SimulatedSettings(failure=Failure.NOT_FINITE, fail_after=3)
    assert shadow.serve(60.0, failing, candidate=True) == 1
    assert (text_from(shadow.figures.reason), shadow.figures.failed) == ("policy-worker", 1)
    assert "not a finite number" in text_from(shadow.figures.detail)


@pytest.mark.parametrize("blind", [True, False])
def test_a_candidate_that_is_shown_nothing_or_may_decide_nothing_is_put_off_and_not_blamed(
    shadow: Bench, blind: bool
) -> None:
    """Deny by default, and not for ever: 90 s and twenty decisions of what is promised."""
    start_ns = shadow.clock.mono_ns()
    shadow.governs(10.0 if blind else 0.0)
    assert shadow.serve(600.0, paused_s=(0.0 if blind else 1e9, 1e9), candidate=True) == 5
    assert (shadow.clock.mono_ns() - start_ns) / _S == pytest.approx(91.0, abs=0.2)
    assert (shadow.figures.state, text_from(shadow.figures.reason)) == (WorkerState.REFUSED, "not-now")


def test_what_was_decided_at_other_knobs_admits_nobody(shadow: Bench) -> None:
    class Turning(FakeClock):
        """The governor has other knobs after 1.2 s."""

        def sleep_until(self, mono_ns: int) -> None:
            if self.mono_ns() < 2.2 * _S <= mono_ns:
                shadow.governs(10.0, tokens=3)
            super().sleep_until(mono_ns)

    shadow.clock = Turning()
    shadow.governs(10.0)
    shadow.serve(2.4, candidate=True)
    assert (shadow.figures.state, shadow.figures.decisions) == (WorkerState.SHADOW, 12)
    shadow.serve(3.0, candidate=True)
    assert shadow.figures.state == WorkerState.READY


def test_a_candidate_that_is_looked_at_shares_the_rate_only_where_enough_is_left_to_drive_by(
    shadow: Bench,
) -> None:
    for hz, decided in ((8.0, 8), (2.0, 2)):
        shadow.seen.clear()
        shadow.governs(hz)
        shadow.serve(2.0, candidate=True)
        assert len(shadow.seen) == decided


def test_a_candidate_that_gets_no_more_memory_is_refused_by_name(shadow: Bench) -> None:
    assert shadow.serve(9.0, error=MemoryError("std::bad_alloc"), candidate=True, confined=True) == 3
    assert text_from(shadow.figures.reason) == "memory-limit"
    assert "std::bad_alloc" in text_from(shadow.figures.detail)


def test_memory_that_the_device_does_not_have_is_not_blamed_on_a_release(bench: Bench) -> None:
    with pytest.raises(MemoryError):
        bench.serve(9.0, error=MemoryError())


GOVERNED_NS = _S // 10


class Together:
    """A governor of `hz` that looks ten times a second and lets a decision begin where the second before has fewer than it
    holds, `hz` at first; and a driver of epoch 2 in place B, at its part of that, that takes 0.15 s a decision and publishes `plans`."""

    def __init__(self, bench: Bench, hz: float, plans: int = 1_000) -> None:
        self._bench, self._period_ns, self._plans = bench, round(_S / (0.75 * hz)), plans
        self.second_holds = hz
        self._start_ns = self._now_ns = bench.clock.mono_ns()
        self._cadence, self._ends_ns, self._go = Cadence(), 0, True
        self.driver_ns: list[int] = []
        blank = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))
        self._told = blank._replace(decision_rate_hz=hz, max_reasoning_tokens=8, flow_steps=2)
        self._board = BoardWriter(bench.run / plan_board(Worker.B), PLAN)
        bench.selects(2, CandidateState.READY)
        bench.at_every_pass = self.go_on

    def go_on(self) -> None:
        """Up to now, in steps of 10 ms."""
        while self._now_ns + 10_000_000 <= self._bench.clock.mono_ns():
            self._now_ns += 10_000_000
            if (self._now_ns - self._start_ns) % GOVERNED_NS == 0:
                began = [ns for ns in (*self.driver_ns, *self._bench.began_ns) if 0 <= self._now_ns - ns < _S]
                self._go = len(began) < self.second_holds
            self._drive(self._now_ns)
        held_ns = 0 if self._go else self._now_ns + 250_000_000
        self._bench.power.write(self._told._replace(held_until_ns=held_ns), self._bench.clock.mono_ns())

    def _drive(self, now_ns: int) -> None:
        seen_ns = now_ns - (now_ns - self._start_ns) % 100_000_000
        decided_ns = self._cadence.decided_ns
        if now_ns == self._ends_ns and self._plans > 0:
            self._plans -= 1
            plan = PlanRecord(1, 2, decided_ns, now_ns, 100_000_000, 64, bytes(32), bytes(1024))
            self._board.write(plan, now_ns)
        due = seen_ns > decided_ns and seen_ns >= self._cadence.earliest_ns(self._period_ns)
        if self._go and due and now_ns >= self._ends_ns:
            self.driver_ns.append(now_ns)
            self._cadence = self._cadence.after(seen_ns, self._period_ns)
            self._ends_ns = now_ns + 150_000_000

    def twice(self) -> int:
        """How often both began between two looks of the governor, but for their first decisions."""
        driver, shadow = (
            {(ns - self._start_ns) // GOVERNED_NS for ns in began_ns[1:]}
            for began_ns in (self.driver_ns, self._bench.began_ns)
        )
        return len(driver & shadow)


@pytest.mark.parametrize("hz", [1.0, 2.0, 4.0])
def test_a_shadow_does_not_begin_at_the_word_that_the_driver_begins_at_and_loses_nothing_by_it(
    bench: Bench, hz: float
) -> None:
    together = Together(bench, hz)
    bench.serve(60.0, SimulatedSettings(visual_s=0.15))
    assert together.twice() == 0
    assert len(bench.began_ns) >= 60 * hz / 4
    assert len(together.driver_ns) >= 60 * hz * 0.74


@pytest.mark.parametrize(("second_holds", "begins_after_s"), [(2.0, 3.0), (1e9, 1.8)])
def test_a_driver_that_is_never_idle_delays_a_shadow_by_half_a_period_and_only_where_room_is_scarce(
    bench: Bench, second_holds: float, begins_after_s: float
) -> None:
    """It made three plans, and none since: it may be deciding for all that is known."""
    Together(bench, 2.0, plans=3).second_holds = second_holds
    bench.serve(60.0, SimulatedSettings(visual_s=0.15))
    assert (bench.began_ns[1] - bench.began_ns[0]) / _S == pytest.approx(begins_after_s, abs=0.15)
    assert len(bench.began_ns) >= 29
