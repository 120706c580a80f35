"""The control process as it runs on a device: real processes, a plant in real time, simulated releases.

Nothing here depends on how fast the machine is, apart from deadlines that are many times what an idle one needs.
"""

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
from agent.board.feed import Feed
from agent.board.layout import Layout, text_from
from agent.board.records import (
    APPLIED,
    APPLIED_RING,
    LOOP,
    LOOP_BOARD,
    POWER,
    POWER_BOARD,
    AppliedRecord,
    LoopRecord,
    LoopState,
    Worker,
    decisions_ring,
    raw_from_digest,
)
from agent.board.ring import RingReader
from agent.board.seqlock import BoardWriter, Stamped
from agent.control.worker import DECISIONS_PER_EPOCH
from models.digest import Digest
from models.wire.messages import DecisionRecord, decode
from tests.fakes.memory import directory_in_memory
from tests.fakes.plant import FakePlant, PlantThread
from tests.fakes.policy_worker import Behaviour, write_behaviour

pytestmark = pytest.mark.slow
R = TypeVar("R", bound=NamedTuple)
_S = 1_000_000_000
OLD = Digest("sha256:" + "a1" * 32)
NEW = Digest("sha256:" + "b2" * 32)
CONFIG = '[device]\nid = "truck-1"\nfleet = "yard"\n'


class Device:
    """One device below `root`: a plant thread, a governor that allows everything, and control once started."""

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
        self._power = BoardWriter(self.run / POWER_BOARD, POWER)
        self._request = 0
        self.decided: dict[int, DecisionRecord] = {}

    def slot(self, name: str, behaviour: Behaviour) -> None:
        write_behaviour(self.root / "var/lib/roskva/slots" / name, behaviour)

    def start(self, *live: str) -> None:
        """Start control, with `live` = slot and digest, and wait until that drives."""
        words = ("--slot", live[0], "--digest", live[1]) if live else ()
        program = [sys.executable, "-m", "tests.fakes.control_process", "--root", str(self.root), *words]
        self.process = subprocess.Popen(program)
        if live:
            self.wait_for(lambda: self.loop().state == LoopState.OK, 40.0)

    def order(self, order: SwapOrder, digest: Digest = NEW, slot: str = "b") -> None:
        self._request += 1
        record = SwapRecord(self._request, int(order), raw_from_digest(digest), slot.encode())
        self._swap.write(record, self.clock.mono_ns())

    def loop(self) -> LoopRecord:
        return self._read(LOOP_BOARD, LOOP).record

    def timed_loop(self) -> Stamped[LoopRecord]:
        return self._read(LOOP_BOARD, LOOP)

    def policy(self) -> PolicyRecord:
        return self._read(POLICY_BOARD, POLICY).record

    @property
    def drives_well(self) -> bool:
        """Whether the follower follows a fresh plan of the selected worker."""
        loop = self.loop()
        return loop.state == LoopState.OK and loop.decision // DECISIONS_PER_EPOCH == self.policy().epoch

    def applied(self) -> list[AppliedRecord]:
        """The ticks since the last call."""
        reader = RingReader(self.run / APPLIED_RING)
        records = [AppliedRecord(*APPLIED.packer.unpack(raw)) for raw in reader.drain(100_000)]
        reader.close()
        return records

    def knows(self, ticks: list[AppliedRecord]) -> bool:
        """Whether each decision that `ticks` name was recorded; collects the records in `decided`."""
        for place in Worker:
            if not (self.run / decisions_ring(place)).exists():
                continue
            reader = RingReader(self.run / decisions_ring(place))
            found = (decode(raw, DecisionRecord) for raw in reader.drain(100_000))
            self.decided |= {record.sequence: record for record in found}
            reader.close()
        return {tick.decision for tick in ticks} <= self.decided.keys()

    def let_pass(self, seconds: float) -> None:
        """Wait, and be the governor meanwhile."""
        end_ns = self.clock.mono_ns() + round(seconds * _S)
        while (now_ns := self.clock.mono_ns()) < end_ns:
            blank = POWER.record_from(POWER.packer.unpack(bytes(POWER.packer.size)))
            unbound = blank._replace(decision_rate_hz=30.0, max_reasoning_tokens=64, flow_steps=16)
            self._power.write(unbound, now_ns)
            self.clock.sleep_until(min(end_ns, now_ns + _S // 2))

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

    def _read(self, name: str, layout: Layout[R]) -> Stamped[R]:
        feed: Feed[R] = Feed(self.run / name, layout)
        feed.news(self.clock.mono_ns())
        feed.close()
        if feed.latest is None:
            return Stamped(layout.record_from(layout.packer.unpack(bytes(layout.packer.size))), 0, 0)
        return feed.latest


@pytest.fixture
def device() -> Iterator[Device]:
    with directory_in_memory() as root:
        found = Device(root, speed_mps=5.0)
        yield found
        found.close()


@pytest.fixture(scope="module")
def driving() -> Iterator[Device]:
    """A device that drives, shared by the tests that leave it driving."""
    with directory_in_memory() as root:
        found = Device(root, speed_mps=5.0)
        found.slot("a", Behaviour(acceleration_mps2=0.4, curvature_per_m=0.01))
        found.slot("b", Behaviour(golden=False))
        found.start("a", OLD)
        yield found
        found.close()


def test_a_live_release_drives_and_every_tick_names_its_decision(driving: Device) -> None:
    car = driving.plant.car
    car.speed_mps = 5.0  # far below the limit, so that the plan's acceleration is allowed
    driving.applied()
    driving.let_pass(2.0)
    ticks = driving.applied()
    assert [tick.tick - ticks[0].tick for tick in ticks] == list(range(len(ticks)))
    assert len(ticks) > 50
    assert all(tick.decision for tick in ticks)
    driving.wait_for(lambda: driving.knows(ticks), 10.0)
    assert {driving.decided[tick.decision].release_digest for tick in ticks} == {OLD}
    planned = pytest.approx((0.4, 0.01), abs=1e-3)
    driving.wait_for(lambda: (car.acceleration_mps2, car.curvature_per_m) == planned, 10.0)


def test_the_follower_accounts_for_100_ticks_a_second_and_takes_a_fraction_of_the_processor(
    driving: Device,
) -> None:
    follower = child_named(driving, "follower")
    before, start = follower.cpu_times(), driving.timed_loop()
    driving.let_pass(3.0)
    after, end = follower.cpu_times(), driving.timed_loop()
    seconds = (end.mono_ns - start.mono_ns) / _S
    share = (after.user + after.system - before.user - before.system) / seconds
    due = end.record.ticks + end.record.ticks_missed - start.record.ticks - start.record.ticks_missed
    assert due == pytest.approx(100 * seconds, abs=3 + 0.02 * seconds)
    assert share < 0.3


def test_a_release_whose_golden_outputs_differ_is_refused_by_name_and_the_old_one_drives_on(
    driving: Device,
) -> None:
    driving.order(SwapOrder.LOAD)
    driving.wait_for(lambda: driving.policy().candidate == CandidateState.REFUSED, 30.0)
    policy = driving.policy()
    assert text_from(policy.reason) == "golden-mismatch"
    assert "1.3 m/s²" in text_from(policy.detail)
    assert (policy.worker, policy.digest) == (Worker.A, raw_from_digest(OLD))
    driving.wait_for(lambda: driving.drives_well and driving.policy().driving == 1, 10.0)


def test_a_release_that_is_slower_than_it_promises_is_refused_in_shadow_and_the_old_one_drives_on(
    device: Device,
) -> None:
    device.slot("a", Behaviour())
    device.slot("b", Behaviour(decide_s=0.1))
    device.start("a", OLD)
    device.order(SwapOrder.LOAD)
    device.wait_for(lambda: device.policy().candidate == CandidateState.REFUSED, 30.0)
    assert text_from(device.policy().reason) == "latency-admission"
    device.wait_for(lambda: device.drives_well and device.policy().worker == Worker.A, 10.0)


def test_a_release_that_takes_too_much_memory_fails_alone_and_by_name(device: Device) -> None:
    device.slot("a", Behaviour())
    device.slot("b", Behaviour(takes_bytes=3 << 30))
    device.start("a", OLD)
    device.order(SwapOrder.LOAD)
    device.wait_for(lambda: device.policy().candidate == CandidateState.REFUSED, 30.0)
    assert text_from(device.policy().reason) == "memory-limit"
    device.wait_for(lambda: device.drives_well and device.policy().worker == Worker.A, 10.0)


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
    device.applied()
    child_named(device, "policy_worker").send_signal(signal.SIGKILL)
    device.wait_for(lambda: device.policy().epoch >= 2 and device.drives_well, 30.0)
    ticks = device.applied()
    assert device.policy().restarts >= 1
    assert {tick.decision // DECISIONS_PER_EPOCH for tick in ticks} >= {1, 2}
    assert all(tick.decision for tick in ticks)


def test_without_any_worker_the_vehicle_slows_then_stops_along_the_plan_then_stands(device: Device) -> None:
    device.slot("a", Behaviour(acceleration_mps2=0.1, curvature_per_m=0.02))
    device.start("a", OLD)
    device.plant.car.speed_mps = 8.0
    device.let_pass(0.5)
    # The slot is gone: the worker that is started next cannot load, as on a broken disk.
    (device.root / "var/lib/roskva/slots/a/simulated.json").unlink()
    device.applied()
    child_named(device, "policy_worker").send_signal(signal.SIGKILL)
    states = states_until(device, lambda loop: loop.state == LoopState.SAFE_STOP, 30.0)
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
    device.wait_for(lambda: device.policy().epoch >= 2 and device.drives_well, 40.0)


def test_a_killed_follower_is_replaced_the_new_one_drives_on_and_what_was_lost_is_missed_ticks(
    device: Device,
) -> None:
    device.slot("a", Behaviour())
    device.start("a", OLD)
    device.wait_for(lambda: device.loop().ticks > 100, 10.0)
    killed, before = child_named(device, "follower"), device.loop()
    killed.send_signal(signal.SIGKILL)
    device.wait_for(
        lambda: device.policy().restarts >= 1 and device.loop().ticks_missed > before.ticks_missed, 20.0
    )
    device.wait_for(lambda: device.drives_well, 10.0)
    assert device.loop().ticks > before.ticks
    assert child_named(device, "follower").pid != killed.pid
    assert device.policy().epoch == 1


def test_a_new_release_takes_over_between_two_ticks(device: Device) -> None:
    device.slot("a", Behaviour(acceleration_mps2=0.3))
    device.slot("b", Behaviour(acceleration_mps2=0.5, curvature_per_m=0.01))
    device.start("a", OLD)
    device.order(SwapOrder.LOAD)
    device.wait_for(lambda: device.policy().candidate == CandidateState.READY, 30.0)
    candidate = next(child for child in children_of(device) if NEW in child.cmdline())
    assert candidate.nice() == 15
    device.applied()
    device.order(SwapOrder.GO)
    device.wait_for(lambda: device.policy().candidate == CandidateState.DRIVING, 10.0)
    device.wait_for(lambda: device.drives_well, 10.0)
    assert candidate.nice() == 5
    device.let_pass(1.0)
    ticks, policy = device.applied(), device.policy()
    epochs = [tick.decision // DECISIONS_PER_EPOCH for tick in ticks]
    assert (policy.worker, policy.digest, policy.request) == (Worker.B, raw_from_digest(NEW), 2)
    assert sorted(set(epochs)) == [1, 2]
    assert epochs == sorted(epochs)
    assert all(later.tick == tick.tick + 1 for tick, later in pairwise(ticks))
    device.wait_for(lambda: device.knows(ticks), 10.0)
    device.order(SwapOrder.KEEP)
    device.wait_for(lambda: device.policy().candidate == CandidateState.NONE, 10.0)
    assert sum("policy_worker" in " ".join(child.cmdline()) for child in children_of(device)) == 1


def children_of(device: Device) -> list[psutil.Process]:
    assert device.process is not None
    children: list[psutil.Process] = psutil.Process(device.process.pid).children()
    return children


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("not-finite", "no-plan"),
        ("wrong-shape", "no-plan"),
        ("raises", "no-plan"),
        ("stamped-later", "no-plan"),
        ("hangs", "policy-worker"),
        ("slow", "latency"),
    ],
)
def test_a_release_that_breaks_in_its_trial_gives_the_wheel_back(
    device: Device, failure: str, reason: str
) -> None:
    device.slot("a", Behaviour(acceleration_mps2=0.3))
    # Later than in shadow: what fails there never drives.
    device.slot("b", Behaviour(acceleration_mps2=0.5, failure=failure, fail_after=40))
    device.start("a", OLD)
    device.order(SwapOrder.LOAD)
    device.wait_for(lambda: device.policy().candidate == CandidateState.READY, 30.0)
    device.order(SwapOrder.GO)
    device.wait_for(lambda: device.policy().candidate == CandidateState.DRIVING, 10.0)
    device.wait_for(lambda: device.policy().candidate == CandidateState.FAILED, 30.0)
    device.wait_for(lambda: device.policy().driving == 1 and device.drives_well, 10.0)
    policy = device.policy()
    assert (policy.worker, policy.digest) == (Worker.A, raw_from_digest(OLD))
    assert text_from(policy.reason) == reason
    assert all(abs(command.acceleration_mps2) <= 8.0 for command in device.plant.commands)


def test_a_first_release_drives_without_one_before_it(device: Device) -> None:
    device.slot("a", Behaviour())
    device.start()
    device.wait_for(lambda: device.loop().ticks > 100, 10.0)
    assert device.loop().state == LoopState.WAITING
    assert device.plant.car.speed_mps < 5.0
    device.order(SwapOrder.LOAD, slot="a")
    device.wait_for(lambda: device.policy().candidate == CandidateState.READY, 30.0)
    device.order(SwapOrder.GO, slot="a")
    device.wait_for(lambda: device.loop().state == LoopState.OK, 10.0)
    assert device.policy().driving == 1


def test_a_switch_waits_until_the_vehicle_says_that_it_is_safe(device: Device) -> None:
    device.plant.safe_to_swap = False
    device.slot("a", Behaviour())
    device.slot("b", Behaviour())
    device.start("a", OLD)
    device.order(SwapOrder.LOAD)
    device.wait_for(lambda: device.policy().candidate == CandidateState.READY, 30.0)
    device.order(SwapOrder.GO)
    device.wait_for(lambda: device.policy().request == 2, 10.0)
    device.let_pass(1.0)
    assert device.policy().worker == Worker.A
    device.plant.safe_to_swap = True
    device.wait_for(lambda: device.policy().worker == Worker.B, 10.0)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_the_control_process(device: Device, end: signal.Signals) -> None:
    device.slot("a", Behaviour())
    device.start("a", OLD)
    children = children_of(device)
    assert device.process is not None
    os.kill(device.process.pid, end)
    device.process.wait(10)
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert len(gone) == 2


def test_a_new_control_process_drives_on_with_later_epochs(device: Device) -> None:
    device.slot("a", Behaviour())
    device.start("a", OLD)
    assert device.process is not None
    device.process.kill()
    device.process.wait(10)
    device.start("a", OLD)
    device.wait_for(lambda: device.policy().epoch >= 2 and device.drives_well, 20.0)


def test_a_candidate_that_is_killed_in_its_trial_gives_the_wheel_back(device: Device) -> None:
    device.slot("a", Behaviour(acceleration_mps2=0.3))
    device.slot("b", Behaviour(acceleration_mps2=0.5))
    device.start("a", OLD)
    device.order(SwapOrder.LOAD)
    device.wait_for(lambda: device.policy().candidate == CandidateState.READY, 30.0)
    device.order(SwapOrder.GO)
    device.wait_for(lambda: device.policy().candidate == CandidateState.DRIVING, 10.0)
    next(child for child in children_of(device) if NEW in child.cmdline()).kill()
    device.wait_for(lambda: device.policy().candidate == CandidateState.FAILED, 10.0)
    device.wait_for(lambda: device.policy().driving == 1 and device.drives_well, 10.0)
    assert device.policy().digest == raw_from_digest(OLD)
