"""The control process as it runs on a device: real processes, a plant in real time, simulated releases."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil
import pytest

from agent.adapters.clock import MonotonicClock
from agent.board.feed import Feed
from agent.board.layout import Layout, text_from
from agent.board.records import (
    APPLIED,
    APPLIED_RING,
    LOOP,
    LOOP_BOARD,
    POLICY,
    POLICY_BOARD,
    SWAP,
    SWAP_BOARD,
    WORKER,
    AppliedRecord,
    CandidateState,
    LoopRecord,
    LoopState,
    PolicyRecord,
    SwapOrder,
    SwapRecord,
    Worker,
    WorkerRecord,
    decisions_ring,
    raw_from_digest,
    worker_board,
)
from agent.board.ring import RingReader
from agent.board.seqlock import BoardWriter
from models.digest import Digest
from models.wire.messages import DecisionRecord, decode
from tests.fakes.plant import FakePlant, PlantThread
from tests.fakes.policy_worker import Behaviour, write_behaviour

pytestmark = pytest.mark.slow
R = TypeVar("R", bound=NamedTuple)
_S = 1_000_000_000
OLD = Digest("sha256:" + "a1" * 32)
NEW = Digest("sha256:" + "b2" * 32)
CONFIG = '[device]\nid = "truck-1"\nfleet = "yard"\n'


class Device:
    """One device below `root`: a plant thread, and the control process once started."""

    def __init__(self, root: Path, speed_mps: float) -> None:
        self.root, self.run = root, root / "run/roskva"
        (root / "etc/roskva").mkdir(parents=True)
        (root / "etc/roskva/agent.toml").write_text(CONFIG)
        self.clock = MonotonicClock()
        self.plant = FakePlant(self.run, speed_mps)
        self._thread = PlantThread(self.plant)
        self._thread.start()
        self.process: subprocess.Popen[bytes] | None = None
        self._swap = BoardWriter(self.run / SWAP_BOARD, SWAP)
        self._request = 0

    def slot(self, name: str, behaviour: Behaviour) -> None:
        write_behaviour(self.root / "var/lib/roskva/slots" / name, behaviour)

    def start(self, *live: str) -> None:
        """Start control, with `live` = slot and digest, and wait until that drives."""
        words = ("--slot", live[0], "--digest", live[1]) if live else ()
        program = [sys.executable, "-m", "tests.fakes.control_process", "--root", str(self.root), *words]
        self.process = subprocess.Popen(program)
        if live:
            self.wait_for(lambda: self.loop().state == LoopState.OK, 20.0)

    def order(self, order: SwapOrder, digest: Digest = NEW, slot: str = "b") -> None:
        self._request += 1
        record = SwapRecord(self._request, int(order), raw_from_digest(digest), slot.encode())
        self._swap.write(record, self.clock.mono_ns())

    def loop(self) -> LoopRecord:
        return self._read(LOOP_BOARD, LOOP)

    def policy(self) -> PolicyRecord:
        return self._read(POLICY_BOARD, POLICY)

    def worker(self, place: Worker) -> WorkerRecord:
        return self._read(worker_board(place), WORKER)

    def applied(self) -> list[AppliedRecord]:
        """The ticks since the last call."""
        reader = RingReader(self.run / APPLIED_RING)
        records = [AppliedRecord(*APPLIED.packer.unpack(raw)) for raw in reader.drain(100_000)]
        reader.close()
        return records

    def decisions(self, place: Worker) -> list[DecisionRecord]:
        reader = RingReader(self.run / decisions_ring(place))
        records = [decode(raw, DecisionRecord) for raw in reader.drain(100_000)]
        reader.close()
        return records

    def let_pass(self, seconds: float) -> None:
        self.clock.sleep_until(self.clock.mono_ns() + round(seconds * _S))

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline_ns = self.clock.mono_ns() + round(seconds * _S)
        while self.clock.mono_ns() < deadline_ns:
            if condition():
                return
            self.let_pass(0.01)
        pytest.fail(f"not within {seconds} s; loop {self.loop()}, policy {self.policy()}")

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        self._thread.stop()

    def _read(self, name: str, layout: Layout[R]) -> R:
        feed: Feed[R] = Feed(self.run / name, layout)
        feed.news(self.clock.mono_ns())
        feed.close()
        if feed.latest is None:
            return layout.record_from(layout.packer.unpack(bytes(layout.packer.size)))
        return feed.latest.record


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    found = Device(tmp_path, speed_mps=5.0)
    yield found
    found.close()


def test_a_live_release_drives_and_every_tick_names_its_decision(device: Device) -> None:
    device.slot("a", Behaviour(acceleration_mps2=0.4, curvature_per_m=0.01))
    device.start("a", OLD)
    device.applied()
    device.let_pass(2.0)
    ticks = device.applied()
    decided = {record.sequence: record for record in device.decisions(Worker.A)}
    assert len(ticks) >= 190
    assert all(tick.decision in decided for tick in ticks[:-20])
    assert {record.release_digest for record in decided.values()} == {OLD}
    assert device.plant.car.curvature_per_m == pytest.approx(0.01, abs=1e-4)
    assert device.plant.car.acceleration_mps2 == pytest.approx(0.4, abs=1e-3)


def test_the_follower_keeps_100_hz_and_a_tiny_share_of_the_processor(device: Device) -> None:
    device.slot("a", Behaviour())
    device.start("a", OLD)
    follower = child_named(device, "follower")
    before = follower.cpu_times()
    start = device.loop()
    device.let_pass(5.0)
    after, loop = follower.cpu_times(), device.loop()
    share = (after.user + after.system - before.user - before.system) / 5.0
    print(f"cpu {share:.2%}", loop)
    assert loop.ticks + loop.ticks_missed - start.ticks - start.ticks_missed == pytest.approx(500, abs=30)
    assert share < 0.10


def child_named(device: Device, name: str) -> psutil.Process:
    """The child of the control process whose program has `name` in it."""
    return next(child for child in children_of(device) if any(name in word for word in child.cmdline()))


def states_until(device: Device, ending: Callable[[LoopRecord], bool], seconds: float) -> list[LoopState]:
    """The follower's states in order, without repetitions, up to the one that `ending` accepts."""
    seen: list[LoopState] = []

    def ended() -> bool:
        loop = device.loop()
        if not seen or seen[-1] != loop.state:
            seen.append(LoopState(loop.state))
        return ending(loop)

    device.wait_for(ended, seconds)
    return seen


def test_a_killed_worker_is_replaced_while_the_last_plan_drives_on(device: Device) -> None:
    device.slot("a", Behaviour())
    device.start("a", OLD)
    child_named(device, "policy_worker").send_signal(signal.SIGKILL)
    device.wait_for(lambda: device.policy().restarts == 1 and device.policy().epoch == 2, 15.0)
    device.wait_for(lambda: device.loop().decision > 20_000_000, 5.0)
    device.applied()
    assert device.loop().state == LoopState.OK
    assert device.plant.longest_silence_ns < 200_000_000


def test_without_any_worker_the_vehicle_slows_then_stops_along_the_plan_then_stands(device: Device) -> None:
    device.slot("a", Behaviour(acceleration_mps2=0.1, curvature_per_m=0.02))
    device.start("a", OLD)
    device.plant.car.speed_mps = 8.0
    device.let_pass(0.5)
    # The slot is gone: the worker that is started next cannot load, as on a broken disk.
    (device.root / "var/lib/roskva/slots/a/simulated.json").unlink()
    device.applied()
    child_named(device, "policy_worker").send_signal(signal.SIGKILL)
    states = states_until(device, lambda loop: loop.state == LoopState.SAFE_STOP, 15.0)
    device.let_pass(0.3)
    assert states == [LoopState.OK, LoopState.DEGRADED, LoopState.MINIMAL_RISK, LoopState.SAFE_STOP]
    assert device.plant.car.speed_mps == 0.0
    braked = [tick for tick in device.applied() if tick.decision and tick.acceleration_mps2 < -1.0]
    assert braked
    assert {round(tick.curvature_per_m, 3) for tick in braked} == {0.02}


def test_a_hung_worker_is_killed_and_the_vehicle_drives_on_with_a_new_one(device: Device) -> None:
    device.slot("a", Behaviour())
    device.start("a", OLD)
    child_named(device, "policy_worker").send_signal(signal.SIGSTOP)
    device.wait_for(lambda: device.policy().epoch == 2 and device.loop().decision > 20_000_000, 20.0)
    device.wait_for(lambda: device.loop().state == LoopState.OK, 3.0)


def test_a_killed_follower_is_back_before_the_plant_gives_up(device: Device) -> None:
    device.slot("a", Behaviour())
    device.start("a", OLD)
    device.let_pass(1.0)
    ticks = device.loop().ticks
    child_named(device, "follower").send_signal(signal.SIGKILL)
    device.wait_for(lambda: device.loop().ticks < ticks and device.policy().restarts == 1, 5.0)
    device.wait_for(lambda: device.loop().state == LoopState.OK, 3.0)
    assert device.plant.longest_silence_ns < 1_000_000_000


def test_a_new_release_takes_over_between_two_ticks(device: Device) -> None:
    device.slot("a", Behaviour(acceleration_mps2=0.3))
    device.slot("b", Behaviour(acceleration_mps2=0.5, curvature_per_m=0.01))
    device.start("a", OLD)
    device.order(SwapOrder.LOAD)
    device.wait_for(lambda: device.policy().candidate == CandidateState.READY, 15.0)
    device.applied()
    missed = device.loop().ticks_missed
    device.order(SwapOrder.GO)
    device.wait_for(lambda: device.policy().candidate == CandidateState.DRIVING, 5.0)
    device.let_pass(2.0)
    ticks, policy = device.applied(), device.policy()
    decided = {record.sequence for place in Worker for record in device.decisions(place)}
    epochs = [tick.decision // 10_000_000 for tick in ticks]
    assert (policy.worker, policy.digest, policy.request) == (Worker.B, raw_from_digest(NEW), 2)
    assert sorted(set(epochs)) == [1, 2]
    assert epochs == sorted(epochs)
    assert device.loop().state == LoopState.OK
    assert device.loop().ticks_missed - missed <= 1
    gaps_ns = [b.mono_ns - a.mono_ns for a, b in pairwise(ticks)]
    assert max(gaps_ns) < 40_000_000
    assert {tick.decision for tick in ticks[:-20]} <= decided
    device.order(SwapOrder.KEEP)
    device.wait_for(lambda: device.policy().candidate == CandidateState.NONE, 5.0)
    assert sum("policy_worker" in " ".join(child.cmdline()) for child in children_of(device)) == 1


def children_of(device: Device) -> list[psutil.Process]:
    assert device.process is not None
    children: list[psutil.Process] = psutil.Process(device.process.pid).children()
    return children


def test_a_release_whose_golden_outputs_differ_is_refused_by_name_and_the_old_one_drives_on(
    device: Device,
) -> None:
    device.slot("a", Behaviour())
    device.slot("b", Behaviour(golden=False))
    device.start("a", OLD)
    device.order(SwapOrder.LOAD)
    device.wait_for(lambda: device.policy().candidate == CandidateState.REFUSED, 15.0)
    policy = device.policy()
    assert text_from(policy.reason) == "golden-mismatch"
    assert "1.3 m/s²" in text_from(policy.detail)
    assert (policy.worker, policy.driving, policy.restarts) == (Worker.A, 1, 0)


@pytest.mark.parametrize("failure", ["not-finite", "wrong-shape", "raises", "hangs"])
def test_a_release_that_breaks_in_its_trial_gives_the_wheel_back(device: Device, failure: str) -> None:
    device.slot("a", Behaviour(acceleration_mps2=0.3))
    device.slot("b", Behaviour(acceleration_mps2=0.5, failure=failure, fail_after=6))
    device.start("a", OLD)
    device.order(SwapOrder.LOAD)
    device.wait_for(lambda: device.policy().candidate == CandidateState.READY, 15.0)
    device.order(SwapOrder.GO)
    device.wait_for(lambda: device.policy().candidate == CandidateState.DRIVING, 10.0)
    device.wait_for(lambda: device.policy().candidate == CandidateState.FAILED, 15.0)
    device.let_pass(1.0)
    policy = device.policy()
    assert (policy.worker, policy.digest, policy.driving) == (Worker.A, raw_from_digest(OLD), 1)
    assert text_from(policy.reason) == "policy-worker"
    assert device.loop().decision // 10_000_000 == 1
    assert device.loop().state == LoopState.OK
    assert all(abs(command.acceleration_mps2) <= 8.0 for command in device.plant.commands)


def test_a_first_release_drives_without_one_before_it(device: Device) -> None:
    device.slot("a", Behaviour())
    device.start()
    device.wait_for(lambda: device.loop().ticks > 100, 10.0)
    assert device.loop().state == LoopState.WAITING
    assert device.plant.car.speed_mps < 5.0
    device.order(SwapOrder.LOAD, slot="a")
    device.wait_for(lambda: device.policy().candidate == CandidateState.READY, 15.0)
    device.order(SwapOrder.GO, slot="a")
    device.wait_for(lambda: device.loop().state == LoopState.OK, 5.0)
    assert device.policy().driving == 1


def test_a_switch_waits_until_the_vehicle_says_that_it_is_safe(device: Device) -> None:
    device.plant.safe_to_swap = False
    device.slot("a", Behaviour())
    device.slot("b", Behaviour())
    device.start("a", OLD)
    device.order(SwapOrder.LOAD)
    device.wait_for(lambda: device.policy().candidate == CandidateState.READY, 15.0)
    device.order(SwapOrder.GO)
    device.let_pass(1.5)
    assert (device.policy().request, device.policy().worker) == (2, Worker.A)
    device.plant.safe_to_swap = True
    device.wait_for(lambda: device.policy().worker == Worker.B, 3.0)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_the_control_process(device: Device, end: signal.Signals) -> None:
    device.slot("a", Behaviour())
    device.start("a", OLD)
    children = children_of(device)
    assert device.process is not None
    start_ns = device.clock.mono_ns()
    os.kill(device.process.pid, end)
    device.process.wait(10)
    gone, alive = psutil.wait_procs(children, timeout=2)
    assert not alive
    assert len(gone) == 2
    assert device.clock.mono_ns() - start_ns < 2 * _S


def test_a_new_control_process_drives_on_with_later_epochs(device: Device) -> None:
    device.slot("a", Behaviour())
    device.start("a", OLD)
    assert device.process is not None
    device.process.kill()
    device.process.wait(10)
    device.start("a", OLD)
    device.wait_for(lambda: device.policy().epoch == 2 and device.loop().decision > 20_000_000, 10.0)
