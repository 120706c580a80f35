"""Envelope orders of the fleet: numbered so that the later one counts, and sent until the device keeps them."""

from dataclasses import dataclass

import msgspec
import pytest

from fleet.envelopes import EnvelopeParts, Envelopes
from fleet.errors import StoreError
from fleet.registry import Registry
from models.errors import RefusedError, UnknownObjectError
from models.wire.messages import MAX_SEQUENCE, Connection, ConnectionKind, EnvelopeOrder, decode
from tests.fakes.fleet_messages import BOOT, state
from tests.fakes.fleet_store import MemoryEnvelopeStore
from tests.fakes.fleet_world import SentMessages, SetClock


@dataclass
class Office:
    envelopes: Envelopes
    store: MemoryEnvelopeStore
    registry: Registry
    sent: SentMessages
    clock: SetClock

    def says(self, device: str, sequence: int) -> None:
        """The device reports its state, with the order that it keeps."""
        keeping = msgspec.structs.replace(state(), envelope_sequence=sequence)
        self.registry.observe_state(device, keeping, retained=False)

    def orders(self) -> list[EnvelopeOrder]:
        return [decode(payload, EnvelopeOrder) for _, payload in self.sent.sent]


@pytest.fixture
def office() -> Office:
    clock, sent, store = SetClock(), SentMessages(), MemoryEnvelopeStore()
    registry = Registry(clock)
    for device in ("thor-1", "thor-2"):
        registry.observe_connection(device, Connection(ConnectionKind.ONLINE, BOOT, "thor-t5000", "0.1"))
        registry.observe_state(device, state(), retained=False)
    return Office(
        Envelopes("demo", EnvelopeParts(store, registry, sent, clock)), store, registry, sent, clock
    )


def test_a_group_of_devices_is_ordered_at_once_and_each_hears_its_own(office: Office) -> None:
    orders = office.envelopes.order(["thor-2", "thor-1"], 60.0)
    assert office.sent.topics() == ["roskva/v1/demo/thor-2/envelope", "roskva/v1/demo/thor-1/envelope"]
    assert [order.envelope_w for order in office.orders()] == [60.0, 60.0]
    assert office.envelopes.latest(10) == tuple(reversed(orders))


def test_a_group_with_a_device_that_was_never_seen_is_refused_as_a_whole(office: Office) -> None:
    with pytest.raises(UnknownObjectError, match="nobody"):
        office.envelopes.order(["thor-1", "nobody"], 60.0)
    assert (office.envelopes.latest(10), office.sent.sent) == ((), [])


def test_what_the_store_does_not_keep_no_device_hears(office: Office) -> None:
    office.store.broken = True
    with pytest.raises(StoreError):
        office.envelopes.order(["thor-1"], 60.0)
    assert office.sent.sent == []


def test_a_later_order_has_the_higher_number_also_where_the_servers_clock_was_set_back(
    office: Office,
) -> None:
    (first,) = office.envelopes.order(["thor-1"], 60.0)
    office.clock.pass_s(-3600)
    (second,) = office.envelopes.order(["thor-1"], None)
    assert second.sequence > first.sequence


def test_a_server_that_lost_its_store_is_obeyed_all_the_same(office: Office) -> None:
    ahead = office.clock.utc + 10**18
    office.says("thor-1", ahead)
    (order,) = office.envelopes.order(["thor-1"], 60.0)
    assert order.sequence > ahead


def test_a_number_that_none_can_follow_is_refused_by_name(office: Office) -> None:
    office.says("thor-1", MAX_SEQUENCE)
    with pytest.raises(RefusedError, match="thor-1 keeps order"):
        office.envelopes.order(["thor-1"], 60.0)


def test_an_order_is_sent_again_until_the_device_says_that_it_keeps_it(office: Office) -> None:
    (order,) = office.envelopes.order(["thor-1"], 60.0)
    office.envelopes.remind()
    assert len(office.sent.sent) == 1, "not at once: it is on its way"
    for _ in range(3):
        office.clock.pass_s(10)
        office.says("thor-1", 0)
        office.envelopes.remind()
    assert office.orders() == [EnvelopeOrder(order.sequence, 60.0)] * 4
    office.clock.pass_s(10)
    office.says("thor-1", order.sequence)
    office.envelopes.remind()
    assert len(office.sent.sent) == 4


def test_a_device_that_was_off_gets_its_order_when_it_comes_back(office: Office) -> None:
    office.registry.observe_connection("thor-1", Connection(ConnectionKind.BROKEN, BOOT, "thor-t5000", "0.1"))
    (order,) = office.envelopes.order(["thor-1"], 60.0)
    office.clock.pass_s(3600)
    office.envelopes.remind()
    assert len(office.sent.sent) == 1, "nobody is there"
    office.registry.observe_connection("thor-1", Connection(ConnectionKind.ONLINE, BOOT, "thor-t5000", "0.1"))
    office.says("thor-1", 0)
    office.envelopes.remind()
    assert office.orders()[-1].sequence == order.sequence
    assert len(office.sent.sent) == 2


def test_a_device_that_keeps_a_later_order_is_not_sent_the_earlier_one_for_ever(office: Office) -> None:
    """As after a server came back from a backup."""
    (order,) = office.envelopes.order(["thor-1"], 60.0)
    for _ in range(5):
        office.clock.pass_s(60)
        office.says("thor-1", order.sequence + 7)
        office.envelopes.remind()
    assert len(office.sent.sent) == 1
