"""Telemetry into the store: decode, check, keep, acknowledge, in this order.

Owns: what a believable batch is (pure), and that an acknowledgement follows the commit, never the reverse.
Must not know: MQTT clients, SQL.
A batch that cannot be read is set aside and not acknowledged: the device keeps it, so that a newer server can.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from fleet.lanes import Lane, LaneLimits
from fleet.ports import Publisher, TelemetryStore
from fleet.records import Parcel, Receipt, Rejection
from models.digest import digest_from_text
from models.errors import ConfigurationError, MalformedError, MalformedMessageError, NotNowError
from models.wire.messages import MAX_TELEMETRY_BYTES, BatchAck, TelemetryBatch, decode, encode
from models.wire.topics import Channel, check_id, topic

LIMITS = LaneLimits(items=4096, size_bytes=64 << 20, items_per_sender=512)
GROUP = 256
"""Messages that one transaction takes at most: one fsync for all of them."""
HEAD_BYTES = 512
RETRY_S = 1.0
_MAX_INT = (1 << 63) - 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A telemetry message as it came."""

    device: str
    topic: str
    payload: bytes
    received_utc_ns: int


def parcel_from_arrival(arrival: Arrival) -> Parcel:
    """Decode and check one telemetry message.

    Raises:
        MalformedMessageError: not a batch, or it holds a boot id, number or digest that cannot be kept.
    """
    batch = decode(arrival.payload, TelemetryBatch, MAX_TELEMETRY_BYTES)
    try:
        check_id(batch.boot, "boot")
        for decision in batch.decisions:
            digest_from_text(decision.release_digest)
        decisions_json = tuple(msgspec.json.encode(decision).decode() for decision in batch.decisions)
    except (ConfigurationError, MalformedError, ValueError, OverflowError) as error:
        raise MalformedMessageError(f"TelemetryBatch: {error}") from error
    _check_numbers(batch)
    return Parcel(arrival.device, arrival.received_utc_ns, batch, decisions_json)


def _check_numbers(batch: TelemetryBatch) -> None:
    numbers = [batch.sequence, batch.utc_ns, batch.decisions_lost]
    for decision in batch.decisions:
        numbers += (decision.sequence, decision.observed_utc_ns)
    numbers += (event.utc_ns for event in batch.events)
    if not all(0 <= number <= _MAX_INT for number in numbers):
        raise MalformedMessageError("TelemetryBatch: a sequence or a time is negative or above 2^63 - 1")


def rejection_of(arrival: Arrival, reason: str) -> Rejection:
    """What is kept of a message that could not be read."""
    head = arrival.payload[:HEAD_BYTES]
    return Rejection(
        arrival.received_utc_ns, arrival.device, arrival.topic[:200], reason[:500], len(arrival.payload), head
    )


class Ingest:
    """The shell: one thread takes what waits, keeps it in one transaction, then acknowledges."""

    def __init__(self, fleet: str, store: TelemetryStore, publisher: Publisher) -> None:
        self._fleet = fleet
        self._store = store
        self._publisher = publisher
        self._lane: Lane[Arrival | Rejection] = Lane(LIMITS)
        self._closing = threading.Event()
        self.batches = 0
        self.decisions = 0
        self.failures = 0
        self.malformed = 0
        self.failing = False

    def offer(self, arrival: Arrival) -> bool:
        """Queue a telemetry message. What is refused stays unacknowledged, and the device sends it again."""
        return self._lane.offer(arrival.device, len(arrival.payload), arrival)

    def set_aside(self, rejection: Rejection) -> None:
        """Queue a message of another channel that could not be read."""
        self._lane.offer(rejection.device, len(rejection.head), rejection)

    @property
    def refused(self) -> int:
        """Messages that found the lane full."""
        return self._lane.refused

    def run(self) -> None:
        """Until `close`. While the store fails nothing is acknowledged, and it is tried again."""
        while (group := self._lane.take(GROUP)) is not None:
            parcels, rejections = sort_group(group)
            self.malformed += len(rejections) - sum(isinstance(item, Rejection) for item in group)
            while not self._keep(parcels, rejections) and not self._closing.wait(RETRY_S):
                pass

    def close(self) -> None:
        """Take what waits and end `run`."""
        self._closing.set()
        self._lane.close()

    def _keep(self, parcels: Sequence[Parcel], rejections: Sequence[Rejection]) -> bool:
        """Keep the whole group, or else one parcel after the other; False where the store keeps nothing at all."""
        if self._take(parcels, rejections):
            return True
        return self._take((), rejections) and all(self._keep_alone(parcel) for parcel in parcels)

    def _keep_alone(self, parcel: Parcel) -> bool:
        """Keep one parcel; one that the store refuses while it works is set aside and holds nobody up."""
        if self._take((parcel,), ()):
            return True
        reason = "the store refuses this batch"
        identity = f"{parcel.batch.boot}:{parcel.batch.sequence}".encode()
        return self._take(
            (), (Rejection(parcel.received_utc_ns, parcel.device, "telemetry", reason, 0, identity),)
        )

    def _take(self, parcels: Sequence[Parcel], rejections: Sequence[Rejection]) -> bool:
        try:
            receipts = self._store.take(parcels, rejections)
        except NotNowError as error:
            self.failures += 1
            self.failing = True
            _log.error("telemetry is not kept: %s", error)
            return False
        self.failing = False
        for receipt in receipts:
            self._acknowledge(receipt)
        return True

    def _acknowledge(self, receipt: Receipt) -> None:
        self.batches += 1
        self.decisions += receipt.new_decisions
        ack = encode(BatchAck(receipt.boot, receipt.sequence))
        self._publisher.publish(topic(self._fleet, receipt.device, Channel.ACK), ack)


def sort_group(group: Sequence[Arrival | Rejection]) -> tuple[list[Parcel], list[Rejection]]:
    """Parcels, and what is set aside."""
    parcels: list[Parcel] = []
    rejections: list[Rejection] = []
    for item in group:
        if isinstance(item, Rejection):
            rejections.append(item)
            continue
        try:
            parcels.append(parcel_from_arrival(item))
        except MalformedMessageError as error:
            rejections.append(rejection_of(item, str(error)))
    return parcels, rejections
