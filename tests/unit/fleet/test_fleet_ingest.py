"""Telemetry is kept before it is acknowledged, and what cannot be read harms nobody."""

import threading

import msgspec
import pytest

from fleet.ingest import Arrival, Ingest, parcel_from_arrival
from fleet.records import Rejection
from models.errors import MalformedMessageError
from models.wire.messages import BatchAck, TelemetryBatch, decode, encode
from tests.fakes.fleet_messages import BOOT, START_UTC_NS, batch, decision
from tests.fakes.fleet_store import MemoryTelemetryStore
from tests.fakes.fleet_world import SentMessages

TOPIC = "roskva/v1/demo/thor-1/telemetry"


def arrival(payload: bytes) -> Arrival:
    return Arrival("thor-1", TOPIC, payload, START_UTC_NS)


def run_until_empty(ingest: Ingest) -> None:
    ingest.close()
    thread = threading.Thread(target=ingest.run)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_batch_is_acknowledged_to_its_own_device_once_it_is_kept() -> None:
    store, sent = MemoryTelemetryStore(), SentMessages()
    ingest = Ingest("demo", store, sent)
    assert ingest.offer(arrival(encode(batch(7))))
    run_until_empty(ingest)
    assert len(store.decisions("thor-1", "", 10)) == 5
    ((topic, payload),) = sent.sent
    assert topic == "roskva/v1/demo/thor-1/ack"
    assert decode(payload, BatchAck) == BatchAck(BOOT, 7)


def test_nothing_is_acknowledged_while_the_store_fails() -> None:
    store, sent = MemoryTelemetryStore(), SentMessages()
    store.broken = True
    ingest = Ingest("demo", store, sent)
    ingest.offer(arrival(encode(batch(7))))
    run_until_empty(ingest)
    assert sent.sent == []
    assert ingest.failing


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b'{"boot":"b"}',
        b"\xff\xfe",
        b"[" * 100_000,
        encode(TelemetryBatch("../../etc", 1, 1)),
        encode(TelemetryBatch("a:b", 1, 1)),
        encode(TelemetryBatch(BOOT, -1, 1)),
        encode(TelemetryBatch(BOOT, 1 << 63, 1)),
        encode(TelemetryBatch(BOOT, 1, 1, (decision(1, "sha256:no"),))),
        encode(TelemetryBatch(BOOT, 1, 1, (msgspec.structs.replace(decision(1), sequence=-5),))),
        b" " * ((1 << 20) + 1),
    ],
)
def test_a_message_that_is_no_batch_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        parcel_from_arrival(arrival(payload))


def test_a_bad_message_is_set_aside_and_the_good_ones_beside_it_are_kept() -> None:
    store, sent = MemoryTelemetryStore(), SentMessages()
    ingest = Ingest("demo", store, sent)
    ingest.offer(arrival(encode(batch(1))))
    ingest.offer(arrival(b"garbage " * 500))
    ingest.set_aside(Rejection(START_UTC_NS, "thor-2", "t", "from another channel", 3, b"abc"))
    ingest.offer(arrival(encode(batch(2))))
    run_until_empty(ingest)
    assert len(sent.sent) == 2
    assert {one.device for one in store.rejections()} == {"thor-1", "thor-2"}
    garbage = next(one for one in store.rejections() if one.device == "thor-1")
    assert (garbage.size_bytes, len(garbage.head)) == (4000, 512)
    assert ingest.malformed == 1


def test_a_flood_of_one_device_leaves_room_for_the_others() -> None:
    ingest = Ingest("demo", MemoryTelemetryStore(), SentMessages())
    flood = [ingest.offer(arrival(b"x")) for _ in range(5000)]
    assert not all(flood)
    assert ingest.refused
    assert ingest.offer(Arrival("thor-2", TOPIC, encode(batch(1)), START_UTC_NS))


def test_a_batch_that_the_store_refuses_holds_up_no_other() -> None:
    store, sent = MemoryTelemetryStore(), SentMessages()
    store.poison = 2
    ingest = Ingest("demo", store, sent)
    for number in (1, 2, 3):
        ingest.offer(arrival(encode(batch(number))))
    run_until_empty(ingest)
    assert [decode(payload, BatchAck).sequence for _, payload in sent.sent] == [1, 3]
    assert [one.head for one in store.rejections()] == [f"{BOOT}:2".encode()]
    assert not ingest.failing
