"""From rings to the spool: decisions complete, losses counted, state from boards."""

import threading
from pathlib import Path

from agent.board.records import (
    APPLIED,
    APPLIED_RING,
    APPLIED_SLOTS,
    DECISION_SLOT_BYTES,
    POWER,
    POWER_BOARD,
    AppliedRecord,
    PowerRecord,
    Worker,
    decisions_ring,
)
from agent.board.ring import RingWriter
from agent.board.seqlock import BoardWriter
from agent.power.limits import Limits
from agent.telemetry.courier import Courier
from agent.telemetry.events import EventLog
from agent.telemetry.recorder import Recorder, TelemetryWorld
from agent.telemetry.spool import Spool
from agent.telemetry.state import Identity, StateReader
from models.wire.messages import DecisionRecord, TelemetryBatch, decode, encode
from tests.fakes.broker import FakeBroker, FakeTransport
from tests.fakes.clock import FakeClock
from tests.fakes.disk import FakeDisk

S = 1_000_000_000


def decision(sequence: int) -> bytes:
    blank = "sha256:" + "0" * 64
    return encode(
        DecisionRecord(sequence, blank, 0, 1, 1, 1, 1, 1, "go", ((0.0, 0.0),), 2, 7, 0, 0, 0, 0, 0, 0)
    )


def applied(number: int, sequence: int, mono_ns: int) -> bytes:
    return APPLIED.packer.pack(*AppliedRecord(number, mono_ns, mono_ns, sequence, 0.5, 0.0, 0))


def rig(run: Path, clock: FakeClock) -> tuple[Recorder, Spool]:
    spool = Spool(FakeDisk(), 1 << 20)
    events = EventLog(clock)
    courier = Courier(spool, FakeTransport(FakeBroker()), clock, events)
    world = TelemetryWorld(run, "boot-1", clock, spool, courier, events, 0.5, threading.Event())
    return Recorder(world), spool


def batches(spool: Spool) -> list[TelemetryBatch]:
    return [decode(spool.read(entry) or b"", TelemetryBatch, 1 << 20) for entry in spool.oldest(1000)]


def test_decisions_of_both_workers_reach_the_spool_with_their_ticks(tmp_path: Path) -> None:
    clock = FakeClock()
    recorder, spool = rig(tmp_path, clock)
    rings = [RingWriter(tmp_path / decisions_ring(w), DECISION_SLOT_BYTES, 16) for w in Worker]
    ticks = RingWriter(tmp_path / APPLIED_RING, APPLIED.packer.size, APPLIED_SLOTS)
    rings[0].push(decision(1))
    rings[1].push(decision(2))
    for number in range(10):
        ticks.push(applied(number, 1 if number < 5 else 2, clock.mono_ns() + number * 10_000_000))
    recorder.record(clock.mono_ns())
    assert batches(spool) == []
    clock.advance(10)
    recorder.record(clock.mono_ns())
    (batch,) = batches(spool)
    assert {d.sequence: d.ticks for d in batch.decisions} == {1: 5, 2: 5}
    assert (batch.boot, batch.sequence, batch.decisions_lost) == ("boot-1", 0, 0)


def test_a_process_that_is_killed_before_the_spool_is_synced_loses_no_decision(tmp_path: Path) -> None:
    clock = FakeClock()
    ring = RingWriter(tmp_path / decisions_ring(Worker.A), DECISION_SLOT_BYTES, 16)
    ticks = RingWriter(tmp_path / APPLIED_RING, APPLIED.packer.size, APPLIED_SLOTS)
    killed, lost_spool = rig(tmp_path, clock)
    for sequence in (1, 2):
        ring.push(decision(sequence))
        for number in range(3):
            ticks.push(applied(number, sequence, clock.mono_ns()))
    killed.record(clock.mono_ns())
    clock.advance(10)
    killed.record(clock.mono_ns())
    assert len(batches(lost_spool)) == 1
    heir, spool = rig(tmp_path, clock)
    heir.record(clock.mono_ns())
    clock.advance(10)
    heir.record(clock.mono_ns())
    assert {d.sequence: d.ticks for b in batches(spool) for d in b.decisions} == {1: 3, 2: 3}
    heir.secure()
    later, empty = rig(tmp_path, clock)
    later.record(clock.mono_ns())
    clock.advance(10)
    later.record(clock.mono_ns())
    assert batches(empty) == []


def test_a_decision_that_still_drives_when_the_process_ends_is_left_for_the_next(tmp_path: Path) -> None:
    clock = FakeClock()
    ring = RingWriter(tmp_path / decisions_ring(Worker.A), DECISION_SLOT_BYTES, 16)
    ticks = RingWriter(tmp_path / APPLIED_RING, APPLIED.packer.size, APPLIED_SLOTS)
    first, _ = rig(tmp_path, clock)
    ring.push(decision(1))
    ticks.push(applied(1, 1, clock.mono_ns()))
    first.close()
    ticks.push(applied(2, 1, clock.mono_ns()))
    heir, spool = rig(tmp_path, clock)
    heir.record(clock.mono_ns())
    clock.advance(10)
    heir.record(clock.mono_ns())
    assert [(d.sequence, d.ticks) for b in batches(spool) for d in b.decisions] == [(1, 2)]


def test_decisions_that_found_no_room_or_do_not_parse_are_counted(tmp_path: Path) -> None:
    clock = FakeClock()
    recorder, spool = rig(tmp_path, clock)
    ring = RingWriter(tmp_path / decisions_ring(Worker.A), DECISION_SLOT_BYTES, 4)
    for sequence in range(6):
        ring.push(decision(sequence) if sequence else b"not json")
    recorder.record(clock.mono_ns())
    assert recorder.lost == 3
    assert batches(spool)[-1].decisions_lost == 3


def test_a_ring_that_is_replaced_is_read_on_and_its_losses_are_kept(tmp_path: Path) -> None:
    clock = FakeClock()
    recorder, spool = rig(tmp_path, clock)
    path = tmp_path / decisions_ring(Worker.A)
    old = RingWriter(path, DECISION_SLOT_BYTES, 1)
    old.push(decision(1))
    old.push(decision(2))
    recorder.record(clock.mono_ns())
    path.unlink()
    RingWriter(path, DECISION_SLOT_BYTES, 8).push(decision(3))
    recorder.record(clock.mono_ns())
    clock.advance(10)
    recorder.record(clock.mono_ns())
    assert [d.sequence for batch in batches(spool) for d in batch.decisions] == [1, 3]
    assert recorder.lost == 1


def test_a_long_outage_of_manage_comes_out_in_batches_that_the_wire_takes(tmp_path: Path) -> None:
    clock = FakeClock()
    recorder, spool = rig(tmp_path, clock)
    ring = RingWriter(tmp_path / decisions_ring(Worker.A), DECISION_SLOT_BYTES, 512)
    for sequence in range(512):
        ring.push(decision(sequence))
    recorder.record(clock.mono_ns())
    clock.advance(10)
    recorder.record(clock.mono_ns())
    assert sum(len(batch.decisions) for batch in batches(spool)) == 512
    assert max(len(batch.decisions) for batch in batches(spool)) <= 64


def test_boards_without_a_living_writer_are_left_out_of_the_state(tmp_path: Path) -> None:
    clock = FakeClock()
    board = BoardWriter(tmp_path / POWER_BOARD, POWER)
    record = PowerRecord(120.0, 70.5, 30.0, 20.0, 55.0, 10.0, 0, 10.0, 32, 8, 1, 0, b"MAXN", b"ok")
    board.write(record, clock.mono_ns())
    reader = StateReader(tmp_path, FakeDisk(), clock, Limits(tmp_path, 120.0))
    who = Identity("boot-1", "thor-t5000", emulated=True)
    state = reader.state(who)
    assert state.power is not None
    assert state.power.module_w == 70.5
    assert state.emulated
    assert (state.loop, state.policy, state.live_digest) == (None, None, "")
    clock.advance(10)
    assert reader.state(who).power is None
