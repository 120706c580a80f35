"""The control process as it runs on a device: real processes, a plant in real time, simulated releases."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
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
    assert device.process is not None
    children = psutil.Process(device.process.pid).children()
    return next(child for child in children if any(name in word for word in child.cmdline()))
