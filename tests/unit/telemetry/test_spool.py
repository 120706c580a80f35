"""The spool and its courier: what is promised, what is dropped, what is sent again."""

from agent.telemetry.courier import Courier
from agent.telemetry.events import EventLog
from agent.telemetry.spool import Spool
from models.wire.messages import BatchAck, TelemetryBatch, decode, encode
from models.wire.topics import Channel, topic
from tests.fakes.broker import FakeBroker, FakePeer, FakeTransport, Weather
from tests.fakes.clock import FakeClock
from tests.fakes.disk import FakeDisk, PowerCutError


def put(spool: Spool, decisions: int = 1, events: int = 0, boot: str = "boot") -> int:
    sequence = spool.next_sequence
    spool.append(encode(TelemetryBatch(boot, sequence, 0)), decisions, events)
    return sequence


def numbers(spool: Spool) -> list[int]:
    return [entry.sequence for entry in spool.oldest(1000)]


def test_numbers_go_on_after_a_restart_even_when_everything_was_sent() -> None:
    disk = FakeDisk()
    spool = Spool(disk, 1 << 20)
    first = put(spool)
    spool.sync()
    spool.remove(first)
    assert Spool(disk, 1 << 20).next_sequence == first + 1


def test_a_killed_process_never_used_a_number_that_the_next_one_uses_again() -> None:
    disk = FakeDisk()
    spool = Spool(disk, 1 << 20)
    sent = put(spool)
    spool.remove(sent)  # acknowledged at once; then the process is killed before any sync
    assert Spool(disk, 1 << 20).next_sequence == sent + 1


def test_what_was_synced_survives_a_power_cut_at_any_moment() -> None:
    for n in range(60):
        disk, promised = FakeDisk(), list[int]()
        try:
            disk.cut_after(n)
            spool = Spool(disk, 1 << 20)
            for _ in range(8):
                waiting = [put(spool), put(spool)]
                spool.sync()
                promised += waiting
        except PowerCutError:
            pass
        disk.reboot(seed=n)
        again = Spool(disk, 1 << 20)
        assert set(promised) <= set(numbers(again))
        for entry in again.oldest(100):
            if entry.sequence in promised:
                assert decode(again.read(entry) or b"", TelemetryBatch).sequence == entry.sequence
        assert again.next_sequence > max(promised, default=-1)


def test_a_full_spool_drops_the_oldest_without_events_first_and_counts() -> None:
    spool = Spool(FakeDisk(), 400)
    with_event = put(spool, decisions=2, events=1)
    sequences = [put(spool, decisions=3) for _ in range(10)]
    kept = numbers(spool)
    assert with_event in kept
    assert kept[-1] == sequences[-1]
    assert spool.size_bytes <= 400
    assert spool.dropped_batches == 11 - len(kept)
    assert spool.dropped_decisions == 3 * spool.dropped_batches


def test_a_full_disk_drops_old_batches_and_goes_on() -> None:
    spool = Spool(FakeDisk(capacity_bytes=600), 1 << 20)
    for _ in range(50):
        put(spool)
    assert spool.dropped_batches > 0
    assert len(spool) > 0


def courier_rig(weather: Weather | None = None) -> tuple[FakeBroker, Spool, Courier, FakePeer, FakeClock]:
    broker, clock, spool = FakeBroker(weather), FakeClock(), Spool(FakeDisk(), 1 << 20)
    transport = FakeTransport(broker)
    transport.start(lambda _: None)
    return broker, spool, Courier(spool, transport, clock), FakePeer(broker), clock


def received(peer: FakePeer) -> list[int]:
    name = topic("yard", "thor-1", Channel.TELEMETRY)
    return [decode(m.payload, TelemetryBatch).sequence for m in peer.heard if m.topic == name]


def test_a_batch_is_deleted_only_after_its_acknowledgement() -> None:
    _, spool, courier, peer, _ = courier_rig()
    first, second = put(spool), put(spool)
    courier.tick()
    assert received(peer) == [first, second]
    courier.acknowledged(BatchAck("boot", first))
    courier.tick()
    assert numbers(spool) == [second]


def test_an_acknowledgement_of_another_boot_deletes_nothing() -> None:
    _, spool, courier, _, _ = courier_rig()
    first = put(spool)
    courier.tick()
    courier.acknowledged(BatchAck("another", first))
    courier.acknowledged(BatchAck("boot", first + 5))
    courier.tick()
    assert numbers(spool) == [first]


def test_what_is_not_acknowledged_is_sent_again_later_and_after_an_outage_at_once() -> None:
    broker, spool, courier, peer, clock = courier_rig()
    first = put(spool)
    courier.tick()
    courier.tick()
    assert received(peer) == [first]
    clock.advance(11)
    courier.tick()
    assert received(peer) == [first, first]
    broker.disconnect_all()
    courier.tick()
    broker.come_back()
    courier.tick()
    assert received(peer) == [first, first, first]


def test_a_batch_that_a_power_cut_left_in_pieces_is_counted_and_does_not_block_the_rest() -> None:
    _, spool, courier, peer, _ = courier_rig()
    spool.append(bytes(50), 1, 0)
    whole = put(spool)
    courier.tick()
    courier.tick()
    assert courier.unreadable == 1
    assert received(peer) == [whole]


def test_a_flood_of_one_event_is_cut_and_counted_and_other_events_pass() -> None:
    clock = FakeClock()
    events = EventLog(clock)
    for _ in range(1000):
        events.record("malformed-message", "x" * 10_000)
    events.record("update-passed")
    clock.advance(2)
    events.record("malformed-message", "again")
    drained = events.drain(100)
    assert [event.kind for event in drained].count("malformed-message") == 5
    assert "update-passed" in [event.kind for event in drained]
    assert "996 more" in drained[-1].detail
    assert max(len(event.detail) for event in drained) <= 500
