"""The router: each message from the broker to the part that reads it; the unreadable is counted and set aside.

Owns: which channel goes where, and the bound on each. Must not know: MQTT clients.
Runs in the client's thread, so nothing here waits.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fleet.depot import Depot
from fleet.ingest import Arrival, Ingest, rejection_of
from fleet.ports import Clock
from fleet.registry import Registry
from models.errors import ConfigurationError, MalformedMessageError
from models.wire.messages import (
    MAX_TELEMETRY_BYTES,
    Connection,
    ConnectionKind,
    ContentRequest,
    DeviceState,
    decode,
)
from models.wire.topics import Address, Channel, address_from_topic, check_id


@dataclass(frozen=True, slots=True)
class Receivers:
    """Where messages go; `greet` is called, with the device, for every device that comes online."""

    registry: Registry
    ingest: Ingest
    depot: Depot
    greet: Callable[[str], None]


class Router:
    """Takes every message that the server subscribes to."""

    def __init__(self, fleet: str, receivers: Receivers, clock: Clock) -> None:
        self._fleet = fleet
        self._receivers = receivers
        self._clock = clock
        self.messages = 0
        self.malformed = 0

    def receive(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message; never raises for what is in it."""
        self.messages += 1
        device = ""
        try:
            address = address_from_topic(topic)
            device = address.device
            self._route(address, topic, payload, retained)
        except MalformedMessageError as error:
            self.malformed += 1
            self._receivers.registry.count_malformed(device)
            arrival = Arrival(device, topic, payload, self._clock.utc_ns())
            self._receivers.ingest.set_aside(rejection_of(arrival, str(error)))

    def _route(self, address: Address, topic: str, payload: bytes, retained: bool) -> None:
        if address.fleet != self._fleet or address.tail:
            raise MalformedMessageError("another fleet, or a channel that has no tail")
        if len(payload) > MAX_TELEMETRY_BYTES:
            raise MalformedMessageError(f"{len(payload)} bytes; at most {MAX_TELEMETRY_BYTES} are read")
        match address.channel:
            case Channel.TELEMETRY:
                arrival = Arrival(address.device, topic, payload, self._clock.utc_ns())
                self._receivers.ingest.offer(arrival)
            case Channel.CONNECTION if payload:
                self._connection(address.device, decode(payload, Connection))
            case Channel.STATE if payload:
                state = decode(payload, DeviceState)
                self._receivers.registry.observe_state(address.device, state, retained)
            case Channel.REQUEST:
                self._request(address.device, decode(payload, ContentRequest))
            case _:
                return  # a retained message was cleared

    def _connection(self, device: str, connection: Connection) -> None:
        try:
            check_id(connection.hardware, "hardware")
        except ConfigurationError as error:
            raise MalformedMessageError(str(error)) from error
        self._receivers.registry.observe_connection(device, connection)
        if connection.kind is ConnectionKind.ONLINE:
            self._receivers.greet(device)

    def _request(self, device: str, request: ContentRequest) -> None:
        try:
            check_id(request.id, "request id")
        except ConfigurationError as error:
            raise MalformedMessageError(str(error)) from error
        self._receivers.depot.offer(device, request)
