"""The Director orders what makes sense, signs before it offers, and keeps metadata fresh."""

import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fleet.director import REFRESH_AFTER_NS, RETRY_AFTER_NS, Director, DirectorParts
from fleet.records import Assignment, AssignmentState
from fleet.registry import Registry
from models.errors import DeviceClassMismatchError, MetadataError, UnknownObjectError
from models.wire.messages import Connection, ConnectionKind, ReleaseOffer, decode
from tests.fakes.fleet_messages import BOOT
from tests.fakes.fleet_store import MemoryInventoryStore
from tests.fakes.fleet_world import ObedientSigner, SentMessages, SetClock, catalogue_of


@dataclass
class Office:
    director: Director
    parts: DirectorParts
    signer: ObedientSigner
    sent: SentMessages
    clock: SetClock
    digest: str


@pytest.fixture
def office(tmp_path: Path) -> Office:
    clock, signer, sent = SetClock(), ObedientSigner(), SentMessages()
    catalogue, registry = catalogue_of(tmp_path, 1), Registry(clock)
    registry.observe_connection("thor-1", Connection(ConnectionKind.ONLINE, BOOT, "thor-t5000", "0.1"))
    registry.observe_connection("orin-1", Connection(ConnectionKind.ONLINE, BOOT, "orin", "0.1"))
    parts = DirectorParts(MemoryInventoryStore(), catalogue, registry, signer, sent, clock)
    return Office(Director("demo", parts), parts, signer, sent, clock, catalogue.releases()[0].digest)


def test_an_order_is_written_signed_and_then_offered(office: Office) -> None:
    order = office.director.assign("thor-1", office.digest)
    assert order.state is AssignmentState.SIGNED
    assert office.signer.assigned == [("thor-1", office.digest)]
    assert office.sent.topics() == ["roskva/v1/demo/thor-1/offer"]
    assert decode(office.sent.sent[0][1], ReleaseOffer).release_digest == office.digest
    assert office.parts.store.assignment_of("thor-1") == order


def test_an_order_that_cannot_be_signed_is_kept_as_failed_and_not_offered(office: Office) -> None:
    office.signer.broken = True
    with pytest.raises(MetadataError, match="key is gone"):
        office.director.assign("thor-1", office.digest)
    (order,) = office.parts.store.assignments(10)
    assert (order.state, order.detail) == (AssignmentState.FAILED, "the key is gone")
    assert office.sent.sent == []
    assert office.parts.store.assignment_of("thor-1") is None


def test_orders_for_unknown_devices_or_releases_or_other_hardware_are_refused(office: Office) -> None:
    with pytest.raises(UnknownObjectError):
        office.director.assign("nobody", office.digest)
    with pytest.raises(UnknownObjectError):
        office.director.assign("thor-1", "sha256:" + "0" * 64)
    with pytest.raises(DeviceClassMismatchError, match="orin"):
        office.director.assign("orin-1", office.digest)
    assert office.parts.store.assignments(10) == ()
    assert office.signer.assigned == []


def test_a_device_seen_for_the_first_time_has_metadata_before_anything_is_ordered(office: Office) -> None:
    office.director.greet("thor-1")
    assert "thor-1" in office.signer.refreshed
    assert office.sent.sent == []


def test_a_device_that_comes_back_is_reminded_of_its_order(office: Office) -> None:
    office.director.assign("thor-1", office.digest)
    office.sent.sent.clear()
    office.director.greet("thor-1")
    assert office.sent.topics() == ["roskva/v1/demo/thor-1/offer"]


def test_metadata_is_refreshed_well_before_it_expires_and_no_more_often(office: Office) -> None:
    office.director.refresh_due()
    office.director.refresh_due()
    assert office.signer.refreshed == ["orin-1", "thor-1"]
    office.clock.pass_s(REFRESH_AFTER_NS / 1e9)
    office.director.refresh_due()
    assert office.signer.refreshed == ["orin-1", "thor-1"] * 2


def test_a_refresh_that_fails_is_tried_again_soon(office: Office) -> None:
    office.signer.broken = True
    office.director.refresh_due()
    office.signer.broken = False
    office.director.refresh_due()
    assert office.signer.refreshed == []
    office.clock.pass_s(RETRY_AFTER_NS / 1e9)
    office.director.refresh_due()
    assert office.signer.refreshed == ["orin-1", "thor-1"]


def test_an_order_that_the_server_did_not_live_to_settle_is_finished_at_the_next_start(
    office: Office,
) -> None:
    interrupted = Assignment(0, "thor-1", office.digest, 1, AssignmentState.ORDERED, "")
    office.parts.store.add_assignment(interrupted)
    office.director.finish_interrupted()
    (order,) = office.parts.store.assignments(10)
    assert order.state is AssignmentState.SIGNED
    assert office.signer.assigned == [("thor-1", office.digest)]


def test_an_interrupted_order_never_undoes_a_later_one_and_an_impossible_one_fails(office: Office) -> None:
    for device in ("thor-1", "nobody"):
        office.parts.store.add_assignment(
            Assignment(0, device, office.digest, 1, AssignmentState.ORDERED, "")
        )
    later = office.director.assign("thor-1", office.digest)
    office.director.finish_interrupted()
    assert office.signer.assigned == [("thor-1", office.digest)]
    states = {order.number: order.state for order in office.parts.store.assignments(10)}
    assert states == {
        1: AssignmentState.FAILED,
        2: AssignmentState.FAILED,
        later.number: AssignmentState.SIGNED,
    }


def test_an_image_repository_that_cannot_be_renewed_holds_no_device_up_and_is_tried_again_soon(
    office: Office,
) -> None:
    office.signer.image_broken = True
    office.director.refresh_due()
    assert office.signer.refreshed == ["orin-1", "thor-1"]
    office.signer.image_broken = False
    office.clock.pass_s(RETRY_AFTER_NS / 1e9)
    office.director.refresh_due()
    assert office.signer.image_refreshes == 1


def test_two_orders_at_once_are_written_and_signed_one_after_the_other(office: Office) -> None:
    both_written = threading.Barrier(2, timeout=0.3)

    class SlowStore(MemoryInventoryStore):
        """Waits for the other order to be written before either is signed."""

        def add_assignment(self, assignment: Assignment) -> Assignment:
            added = super().add_assignment(assignment)
            with suppress(threading.BrokenBarrierError):
                both_written.wait()
            return added

    director = Director("demo", replace(office.parts, store=SlowStore()))

    def order() -> None:
        director.assign("thor-1", office.digest)

    threads = [threading.Thread(target=order) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert both_written.broken, "the later order could have been signed before the earlier one"
    assert len(office.signer.assigned) == 2
