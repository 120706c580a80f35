"""Envelopes: orders how many watts devices may take, and sends each until its device keeps it.

Owns: which orders make sense, their numbers, and when they are sent again.
Must not know: MQTT clients, SQL. A device takes the lower of an order and its own configuration: an order only limits.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.ports import Clock, EnvelopeStore, Publisher
from fleet.records import Presence, StoredEnvelope
from fleet.registry import DeviceSight, Registry
from models.errors import RefusedError, UsageError
from models.wire.messages import MAX_SEQUENCE, EnvelopeOrder, encode
from models.wire.topics import Channel, topic

MAX_DEVICES = 1000
"""In one order."""
AGAIN_AFTER_NS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class EnvelopeParts:
    """What orders are made of."""

    store: EnvelopeStore
    registry: Registry
    publisher: Publisher
    clock: Clock


class Envelopes:
    """One per fleet; orders are serial."""

    def __init__(self, fleet: str, parts: EnvelopeParts) -> None:
        self._fleet, self._parts = fleet, parts
        self._lock = threading.Lock()
        self._sent_mono_ns: dict[str, int] = {}

    def order(
        self, devices: Sequence[str], envelope_w: float | None, expires_utc_ns: int = 0
    ) -> tuple[StoredEnvelope, ...]:
        """Order that each of `devices` takes `envelope_w` at most (None takes the order back); all or none.

        Raises:
            UsageError: no device, too many, one twice, or an end that is past.
            UnknownObjectError: a device that was never seen.
            RefusedError: a device keeps a number that none can follow.
        """
        utc_ns = self._parts.clock.utc_ns()
        _check(devices, expires_utc_ns, utc_ns)
        with self._lock:
            latest = {order.device: order.sequence for order in self._parts.store.current_envelopes()}
            sequences = {device: self._next(device, latest.get(device, 0), utc_ns) for device in devices}
            orders = self._parts.store.add_envelopes(
                [
                    StoredEnvelope(0, device, envelope_w, expires_utc_ns, utc_ns, sequences[device])
                    for device in devices
                ]
            )
        for order in orders:
            self._send(order)
        return orders

    def utc_ns(self) -> int:
        """Now, by the clock that orders are judged by."""
        return self._parts.clock.utc_ns()

    def current(self) -> dict[str, StoredEnvelope]:
        """The latest order of every device."""
        return {order.device: order for order in self._parts.store.current_envelopes()}

    def latest(self, limit: int) -> tuple[StoredEnvelope, ...]:
        """The latest orders, newest first."""
        return self._parts.store.envelopes(limit)

    def remind(self) -> None:
        """Send its order again to every device that is there and does not say that it keeps it."""
        current, now_ns = self.current(), self._parts.clock.mono_ns()
        for sight in self._parts.registry.sights():
            order = current.get(sight.device)
            due_ns = self._sent_mono_ns.get(sight.device, -AGAIN_AFTER_NS) + AGAIN_AFTER_NS
            if order is not None and now_ns >= due_ns and _waits_for(sight, order):
                self._send(order)

    def _next(self, device: str, latest: int, utc_ns: int) -> int:
        """A number above all before it, also after the store or the clock of this server was lost."""
        state = self._parts.registry.sight(device).state
        kept = state.envelope_sequence if state else 0
        number = max(utc_ns, latest + 1, kept + 1)
        if number > MAX_SEQUENCE:
            raise RefusedError(
                f"{device} keeps order {max(kept, latest)}; remove envelope.json from its state"
            )
        return number

    def _send(self, order: StoredEnvelope) -> None:
        self._sent_mono_ns[order.device] = self._parts.clock.mono_ns()
        message = EnvelopeOrder(order.sequence, order.envelope_w, order.expires_utc_ns)
        where = topic(self._fleet, order.device, Channel.ENVELOPE)
        self._parts.publisher.publish(where, encode(message))


def is_kept(sight: DeviceSight, order: StoredEnvelope) -> bool:
    """Whether the device said that it keeps `order`."""
    return sight.state is not None and sight.state.envelope_sequence == order.sequence


def _waits_for(sight: DeviceSight, order: StoredEnvelope) -> bool:
    """One that keeps a later order, as after a server came back from a backup, would only call this one stale."""
    kept = sight.state.envelope_sequence if sight.state else 0
    return sight.presence is Presence.ONLINE and kept < order.sequence


def _check(devices: Sequence[str], expires_utc_ns: int, utc_ns: int) -> None:
    if not 1 <= len(devices) <= MAX_DEVICES or len(set(devices)) != len(devices):
        raise UsageError(f"an envelope order names 1 to {MAX_DEVICES} devices, each once")
    if expires_utc_ns and not utc_ns < expires_utc_ns <= MAX_SEQUENCE:
        raise UsageError("expires_utc_ns is 0 for never, or a time to come in UTC nanoseconds")
