"""Every store of the fleet server keeps the same promises: in memory, on SQLite, and on PostgreSQL where one is given.

PostgreSQL: set ROSKVA_TEST_POSTGRES to a SQLAlchemy URL of an empty database.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from fleet.ports import EnvelopeStore, InventoryStore, TelemetryStore
from fleet.records import Assignment, AssignmentState, Presence, Rejection, StoredDevice, StoredEnvelope
from fleet.store.connect import connect, sqlite_url
from fleet.store.envelopes import SqlEnvelopeStore
from fleet.store.inventory import SqlInventoryStore
from fleet.store.tables import metadata
from fleet.store.telemetry import SqlTelemetryStore
from models.digest import Digest, digest_of
from models.errors import UnknownObjectError
from models.wire.messages import EventRecord, TelemetryBatch
from tests.fakes.fleet_messages import (
    BOOT,
    RELEASE,
    START_UTC_NS,
    batch,
    decision,
    known_release,
    parcel,
    parcel_of,
    state,
)
from tests.fakes.fleet_store import MemoryEnvelopeStore, MemoryInventoryStore, MemoryTelemetryStore

POSTGRES = os.environ.get("ROSKVA_TEST_POSTGRES", "")
KINDS = ["memory", "sqlite", *(["postgresql"] if POSTGRES else [])]


@dataclass(frozen=True)
class Stores:
    telemetry: TelemetryStore
    inventory: InventoryStore
    envelopes: EnvelopeStore


@pytest.fixture(params=KINDS)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    if request.param == "memory":
        yield Stores(MemoryTelemetryStore(), MemoryInventoryStore(), MemoryEnvelopeStore())
        return
    engine = connect(POSTGRES if request.param == "postgresql" else sqlite_url(tmp_path / "fleet.sqlite"))
    yield Stores(SqlTelemetryStore(engine), SqlInventoryStore(engine), SqlEnvelopeStore(engine))
    if request.param == "postgresql":
        metadata.drop_all(engine)
    engine.dispose()


def test_a_batch_that_comes_twice_is_kept_once_and_acknowledged_twice(stores: Stores) -> None:
    first = stores.telemetry.take([parcel("thor-1", 0)], [])
    second = stores.telemetry.take([parcel("thor-1", 0)], [])
    assert [receipt.new_decisions for receipt in first] == [5]
    assert [(receipt.sequence, receipt.new_decisions) for receipt in second] == [(0, 0)]
    assert len(stores.telemetry.decisions("", "", 100)) == 5
    assert len(stores.telemetry.events("", 100)) == 1


def test_a_batch_that_comes_twice_in_one_group_is_kept_once(stores: Stores) -> None:
    receipts = stores.telemetry.take([parcel("thor-1", 3), parcel("thor-1", 3)], [])
    assert [receipt.new_decisions for receipt in receipts] == [5]


def test_the_same_numbers_of_another_device_or_boot_are_other_decisions(stores: Stores) -> None:
    stores.telemetry.take([parcel("thor-1", 0), parcel("thor-2", 0), parcel("thor-1", 0, boot="boot-2")], [])
    assert len(stores.telemetry.decisions("", "", 100)) == 15
    assert stores.telemetry.decision("thor-1", "boot-2", 4).id == "thor-1:boot-2:4"


def test_a_decision_that_comes_in_two_batches_keeps_its_first_record(stores: Stores) -> None:
    forged = msgspec.structs.replace(decision(2), reasoning="something else")
    stores.telemetry.take([parcel("thor-1", 0)], [])
    late = TelemetryBatch(BOOT, 9, START_UTC_NS, (forged, decision(70)))
    receipts = stores.telemetry.take([parcel_of("thor-1", late)], [])
    assert [receipt.new_decisions for receipt in receipts] == [1]
    assert stores.telemetry.decision("thor-1", BOOT, 2).record == decision(2)


def test_a_decision_comes_back_as_it_was_sent(stores: Stores) -> None:
    stores.telemetry.take([parcel("thor-1", 0)], [])
    assert stores.telemetry.decision("thor-1", BOOT, 3).record == decision(3)


def test_an_unknown_decision_is_refused_by_name(stores: Stores) -> None:
    with pytest.raises(UnknownObjectError, match="thor-9"):
        stores.telemetry.decision("thor-9", BOOT, 1)


def test_decisions_are_newest_first_and_can_be_narrowed(stores: Stores) -> None:
    other = digest_of(b"another release")
    late = TelemetryBatch(BOOT, 9, START_UTC_NS, (decision(70, other),))
    stores.telemetry.take([parcel("thor-1", 0), parcel("thor-2", 1), parcel_of("thor-1", late)], [])
    assert [one.record.sequence for one in stores.telemetry.decisions("thor-1", "", 3)] == [70, 4, 3]
    assert [one.record.sequence for one in stores.telemetry.decisions("", other, 10)] == [70]
    assert {one.device for one in stores.telemetry.decisions("", RELEASE, 100)} == {"thor-1", "thor-2"}


def test_a_drive_adds_up_over_batches_and_counts_a_repeated_batch_once(stores: Stores) -> None:
    for number in (0, 1, 1, 2):
        stores.telemetry.take([parcel("thor-1", number)], [])
    (drive,) = stores.telemetry.drives([RELEASE])
    assert (drive.device, drive.decisions) == ("thor-1", 15)
    assert drive.first_utc_ns == decision(0).observed_utc_ns
    assert drive.last_utc_ns == decision(14).observed_utc_ns
    assert stores.telemetry.drives([digest_of(b"never driven")]) == ()


def test_the_energy_of_a_release_adds_up_and_counts_a_repeated_batch_once(stores: Stores) -> None:
    for number in (0, 1, 1, 2):
        stores.telemetry.take([parcel("thor-2", number)], [])
    stores.telemetry.take([parcel("thor-1", 0), parcel("thor-1", 0)], [])
    again = TelemetryBatch(BOOT, 9, START_UTC_NS, (decision(2), decision(70)))
    stores.telemetry.take([parcel_of("thor-1", again)], [])
    energy = stores.telemetry.energy(RELEASE)
    assert [(one.device, one.decisions) for one in energy] == [("thor-1", 6), ("thor-2", 15)]
    assert sum(one.energy_j for one in energy) == pytest.approx(21 * 9.4)
    assert stores.telemetry.energy(digest_of(b"never driven")) == ()


@pytest.mark.parametrize("energy_j", [0.0, -5.0, 1e300, 100_001.0])
def test_a_decision_that_says_an_absurd_energy_is_kept_and_not_added_up(
    stores: Stores, energy_j: float
) -> None:
    absurd = msgspec.structs.replace(decision(0), energy_j=energy_j)
    in_shadow = msgspec.structs.replace(decision(1), ticks=0)
    made = TelemetryBatch(BOOT, 0, START_UTC_NS, (absurd, in_shadow, decision(2)))
    stores.telemetry.take([parcel_of("thor-1", made)], [])
    (energy,) = stores.telemetry.energy(RELEASE)
    assert energy.decisions == 1
    assert energy.energy_j == pytest.approx(9.4)
    assert stores.telemetry.decision("thor-1", BOOT, 0).record == absurd


def envelope(device: str, envelope_w: float | None, sequence: int) -> StoredEnvelope:
    return StoredEnvelope(0, device, envelope_w, 0, START_UTC_NS, sequence)


def test_envelope_orders_are_numbered_and_the_latest_of_each_device_is_current(stores: Stores) -> None:
    first = stores.envelopes.add_envelopes([envelope("thor-2", 60.5, 1), envelope("thor-1", 70.0, 2)])
    (taken_back,) = stores.envelopes.add_envelopes([envelope("thor-2", None, 3)])
    assert [order.number for order in first] == [1, 2]
    assert first[0].envelope_w == 60.5
    assert stores.envelopes.current_envelopes() == (first[1], taken_back)
    assert stores.envelopes.envelopes(2) == (taken_back, first[1])


def test_a_group_larger_than_any_query_limit_is_kept(stores: Stores) -> None:
    receipts = stores.telemetry.take([parcel("thor-1", number, 20) for number in range(256)], [])
    assert sum(receipt.new_decisions for receipt in receipts) == 5120


def test_text_with_nul_is_kept_without_it(stores: Stores) -> None:
    odd = TelemetryBatch(BOOT, 1, START_UTC_NS, (), (EventRecord(START_UTC_NS, "odd", "", "a\x00b"),))
    stores.telemetry.take([parcel_of("thor-1", odd)], [])
    assert stores.telemetry.events("thor-1", 1)[0].detail == "a\ufffdb"


def test_only_the_last_hundred_rejections_are_kept(stores: Stores) -> None:
    for number in range(130):
        rejection = Rejection(START_UTC_NS + number, "thor-1", "t", "not JSON", 3, b"\x00\xff{")
        stores.telemetry.take([], [rejection])
    kept = stores.telemetry.rejections()
    assert len(kept) == 100
    assert (kept[0].utc_ns, kept[0].head) == (START_UTC_NS + 129, b"\x00\xff{")


def test_the_first_sight_of_a_device_is_kept(stores: Stores) -> None:
    first = StoredDevice("thor-1", "thor-t5000", "0.1", "b1", Presence.ONLINE, 5, 5, None)
    later = StoredDevice("thor-1", "thor-t5000", "0.2", "b2", Presence.BROKEN, 9, 9, state())
    stores.inventory.put_devices([first])
    stores.inventory.put_devices([later])
    (kept,) = stores.inventory.devices()
    assert (kept.first_seen_utc_ns, kept.last_seen_utc_ns, kept.agent_version) == (5, 9, "0.2")
    assert kept.state == state()
    assert kept.presence is Presence.BROKEN


def test_a_release_is_found_by_everything_it_descends_from(stores: Stores) -> None:
    dataset = digest_of(b"dataset")
    one, two = known_release(1), known_release(2)
    stores.inventory.put_release(one, [dataset, digest_of(b"checkpoint")], 1)
    stores.inventory.put_release(one, [dataset, digest_of(b"checkpoint")], 2)
    stores.inventory.put_release(two, [digest_of(b"checkpoint")], 3)
    assert stores.inventory.descended_from(dataset) == (one.digest,)
    assert stores.inventory.descended_from(digest_of(b"checkpoint")) == tuple(
        sorted([one.digest, two.digest])
    )
    assert stores.inventory.descended_from(Digest("sha256:" + "0" * 64)) == ()


def test_the_current_order_of_a_device_is_its_last_signed_one(stores: Stores) -> None:
    for digest, outcome in (
        ("sha256:1", AssignmentState.SIGNED),
        ("sha256:2", AssignmentState.SIGNED),
        ("sha256:3", AssignmentState.FAILED),
    ):
        order = Assignment(0, "thor-1", digest, 7, AssignmentState.ORDERED, "")
        stores.inventory.settle_assignment(stores.inventory.add_assignment(order).number, outcome, "why")
    current = stores.inventory.assignment_of("thor-1")
    assert current is not None
    assert current.release_digest == "sha256:2"
    assert stores.inventory.current_assignments() == (current,)
    assert stores.inventory.assignment_of("thor-2") is None
    assert [one.release_digest for one in stores.inventory.assignments(2)] == ["sha256:3", "sha256:2"]


def test_a_failed_transaction_keeps_nothing_of_the_group(tmp_path: Path) -> None:
    engine = connect(sqlite_url(tmp_path / "fleet.sqlite"))
    store = SqlTelemetryStore(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE events")
    with pytest.raises(Exception, match="events"):
        store.take([parcel("thor-1", 0)], [])
    assert store.decisions("", "", 10) == ()


def test_sqlite_syncs_every_commit_because_an_acknowledged_batch_is_deleted_on_the_device(
    tmp_path: Path,
) -> None:
    engine = connect(sqlite_url(tmp_path / "fleet.sqlite"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()


def test_what_was_taken_is_there_after_the_server_starts_again(tmp_path: Path) -> None:
    engine = connect(sqlite_url(tmp_path / "fleet.sqlite"))
    SqlTelemetryStore(engine).take([parcel_of("thor-1", batch(0))], [])
    engine.dispose()
    again = connect(sqlite_url(tmp_path / "fleet.sqlite"))
    assert len(SqlTelemetryStore(again).decisions("", "", 10)) == 5
    again.dispose()
