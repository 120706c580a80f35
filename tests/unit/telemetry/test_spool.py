"""The spool and its courier: what is promised, what is dropped, what is sent again."""

import errno
from contextlib import suppress

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
    return broker, spool, Courier(spool, transport, clock, EventLog(clock)), FakePeer(broker), clock


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
    one = CourierRig()
    one.spool.append(bytes(50), 3, 0)
    whole = put(one.spool)
    one.turn(2)
    assert received(one.peer) == [whole]
    assert one.spool.dropped_decisions == 3
    assert one.kinds() == ["telemetry-unreadable"]


def test_a_bad_sector_under_a_batch_costs_that_batch_and_not_the_process() -> None:
    class BadSector(FakeDisk):
        bad = ""

        def read(self, name: str) -> bytes:
            if self.bad and name.endswith(self.bad):
                raise OSError(errno.EIO, "Input/output error", name)
            return super().read(name)

    disk = BadSector()
    one = CourierRig(disk)
    bad, good = put(one.spool, decisions=2), put(one.spool)
    disk.bad = f"{bad:012d}-2-0"
    one.turn(2)
    assert received(one.peer) == [good]
    assert (one.spool.dropped_decisions, numbers(one.spool)) == (2, [])
    disk.bad = "spool/next"
    assert Spool(disk, 1 << 20).next_sequence > good, "no number is used twice"


class CourierRig:
    """A courier whose server acknowledges, at each turn, all that it received but `poison`."""

    def __init__(self, disk: FakeDisk | None = None, max_bytes: int = 1 << 20) -> None:
        self.broker, self.clock, self.disk = FakeBroker(), FakeClock(), disk or FakeDisk()
        self.spool, self.events = Spool(self.disk, max_bytes), EventLog(self.clock)
        transport = FakeTransport(self.broker)
        transport.start(lambda _: None)
        self.courier = Courier(self.spool, transport, self.clock, self.events)
        self.peer = FakePeer(self.broker)
        self.poison: set[int] = set()
        self.up = True
        self.answered = 0

    def turn(self, times: int, seconds: float = 11) -> None:
        for _ in range(times):
            self.courier.tick()
            for sequence in received(self.peer)[self.answered :]:
                if self.up and sequence not in self.poison:
                    self.courier.acknowledged(BatchAck("boot", sequence))
            self.answered = len(received(self.peer))
            self.clock.advance(seconds)
        self.courier.tick()

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events.drain(100)]


def test_a_batch_that_the_server_passes_over_is_set_aside_on_disk_and_reported() -> None:
    one = CourierRig()
    bad = put(one.spool, decisions=7, events=1)
    data = one.spool.read(one.spool.oldest(1)[0])
    one.poison = {bad}
    for _ in range(4):
        put(one.spool)
        one.turn(1)
        assert numbers(one.spool)[0] == bad, "not given up lightly"
    for _ in range(4):
        put(one.spool)
        one.turn(1)
    assert numbers(one.spool) == []
    (event,) = one.events.drain(10)
    assert event.kind == "telemetry-set-aside"
    assert f"batch {bad} (7 decisions, 1 events)" in event.detail
    assert one.spool.aside == 1
    assert one.disk.read(f"spool/aside/{bad:012d}-7-1") == data
    assert received(one.peer).count(bad) <= 6
    assert one.spool.dropped_decisions == 0, "it is not lost"


def test_a_whole_window_that_the_server_passes_over_does_not_hold_up_the_rest() -> None:
    one = CourierRig()
    one.poison = {put(one.spool) for _ in range(20)}
    good = [put(one.spool) for _ in range(30)]
    for _ in range(30):
        good.append(put(one.spool))  # the robot drives on
        one.turn(1)
    assert numbers(one.spool) == []
    assert set(received(one.peer)) >= set(good)
    assert one.spool.aside == 20


def test_a_server_that_takes_nothing_is_waited_for_and_nothing_is_set_aside() -> None:
    one = CourierRig()
    waiting = [put(one.spool) for _ in range(12)]
    one.up = False
    one.turn(100)
    assert (numbers(one.spool), one.spool.aside) == (waiting, 0)
    one.up = True
    one.turn(5)
    assert (numbers(one.spool), one.spool.aside) == ([], 0)
    assert one.kinds() == []


def test_acknowledgements_from_before_an_outage_say_nothing_about_what_is_sent_after_it() -> None:
    one = CourierRig()
    slow = put(one.spool)
    one.poison = {slow}
    for _ in range(20):
        put(one.spool)
        one.turn(1, seconds=1)
        one.broker.disconnect_all()
        one.courier.tick()
        one.broker.come_back()
    assert numbers(one.spool) == [slow]
    one.poison = set()
    one.turn(2)
    assert numbers(one.spool) == []


def test_what_is_set_aside_survives_power_cuts_and_is_bounded() -> None:
    disk = FakeDisk()
    spool = Spool(disk, 8000)
    entries = []
    for _ in range(30):
        put(spool, decisions=2)
        spool.sync()
        entries.append(spool.oldest(1)[0])
        spool.set_aside(entries[-1])
    kept = spool.aside
    assert 0 < kept < 30
    assert spool.dropped_decisions == 2 * (30 - kept)
    assert sum(disk.size(entry.name_aside) for entry in entries[-kept:]) <= 1000
    disk.reboot()
    again = Spool(disk, 8000)
    assert again.aside >= kept
    assert again.next_sequence > entries[-1].sequence, "no number is used twice"


def test_a_power_cut_while_a_batch_is_set_aside_leaves_it_in_one_of_the_two_places() -> None:
    for n in range(12):
        disk = FakeDisk()
        spool = Spool(disk, 1 << 20)
        put(spool)
        spool.sync()
        entry = spool.oldest(1)[0]
        disk.cut_after(n)
        with suppress(PowerCutError):
            spool.set_aside(entry)
        disk.reboot(seed=n)
        again = Spool(disk, 1 << 20)
        assert len(again) + again.aside == 1


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
