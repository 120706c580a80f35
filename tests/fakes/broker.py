"""A broker in memory: it duplicates, delays, drops what is not sure, and disconnects before acknowledging.

Everything happens on the caller's thread, in order, so that a test sees the same run every time. `Peer` is the
other side, usually the server; `FakeTransport` is a device.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.ports import Inbound
from models.errors import TransferError
from models.wire.messages import Connection, ConnectionKind, encode
from models.wire.topics import Channel, subscriptions_of_device, topic


@dataclass(frozen=True)
class Weather:
    """How bad it is: shares of messages that come twice, late (after the next one), or, unsure ones, never."""

    duplicated: float = 0.0
    delayed: float = 0.0
    dropped: float = 0.0


def matches(pattern: str, name: str) -> bool:
    """MQTT topic filters with `+` and a last `#`."""
    wanted, parts = pattern.split("/"), name.split("/")
    if wanted[-1] == "#":
        wanted, parts = wanted[:-1], parts[: len(wanted) - 1]
    return len(wanted) == len(parts) and all(w in ("+", p) for w, p in zip(wanted, parts, strict=True))


@dataclass(eq=False)
class Subscriber:
    patterns: tuple[str, ...]
    deliver: Callable[[Inbound], None]


class FakeBroker:
    """Topics, retained messages, subscribers, weather."""

    def __init__(self, weather: Weather | None = None, seed: int = 0) -> None:
        self.weather = weather or Weather()
        self.up = True
        self.retained: dict[str, bytes] = {}
        self._draw = random.Random(seed)
        self._subscribers: list[Subscriber] = []
        self._late: list[tuple[str, bytes]] = []
        self._devices: list[FakeTransport] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.append(subscriber)
        for name, payload in list(self.retained.items()):
            self._hand(subscriber, name, payload)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)

    def publish(self, name: str, payload: bytes, *, sure: bool = True, retain: bool = False) -> None:
        if retain:
            self.retained[name] = payload
        if not sure and self._draw.random() < self.weather.dropped:
            return
        if self._draw.random() < self.weather.delayed:
            self._late.append((name, payload))
            return
        times = 2 if sure and self._draw.random() < self.weather.duplicated else 1
        for _ in range(times):
            self._route(name, payload)
        self.settle()

    def settle(self) -> None:
        """Deliver what was held back."""
        late, self._late = self._late, []
        for name, payload in late:
            self._route(name, payload)

    def disconnect_all(self) -> None:
        """End every device's connection as a network would: last wills are published."""
        self.up = False
        for device in list(self._devices):
            device.lose()

    def come_back(self) -> None:
        """The broker is reachable again; devices reconnect at once."""
        self.up = True
        for device in list(self._devices):
            device.join()

    def attach(self, device: "FakeTransport") -> None:
        self._devices.append(device)

    def detach(self, device: "FakeTransport") -> None:
        self._devices.remove(device)

    def _route(self, name: str, payload: bytes) -> None:
        for subscriber in list(self._subscribers):
            self._hand(subscriber, name, payload)

    def _hand(self, subscriber: Subscriber, name: str, payload: bytes) -> None:
        if any(matches(pattern, name) for pattern in subscriber.patterns):
            subscriber.deliver(Inbound(name, payload))


class FakeTransport:
    """`agent.ports.Transport` on a `FakeBroker`."""

    def __init__(self, broker: FakeBroker, fleet: str = "yard", device: str = "thor-1") -> None:
        self._broker, self._fleet, self._device = broker, fleet, device
        self._subscriber: Subscriber | None = None
        self._deliver: Callable[[Inbound], None] | None = None

    @property
    def connected(self) -> bool:
        return self._subscriber is not None

    def start(self, deliver: Callable[[Inbound], None]) -> None:
        self._deliver = deliver
        self._broker.attach(self)
        self.join()

    def publish(
        self, channel: Channel, payload: bytes, tail: str = "", *, sure: bool = True, retain: bool = False
    ) -> None:
        if not self.connected:
            raise TransferError("no connection to the broker")
        self._broker.publish(self._topic(channel, tail), payload, sure=sure, retain=retain)

    def stop(self) -> None:
        if self.connected:
            self._says(ConnectionKind.OFFLINE)
        self._leave()
        self._broker.detach(self)

    def join(self) -> None:
        """Connect where the broker is up."""
        if self._broker.up and self._deliver is not None and not self.connected:
            self._subscriber = Subscriber(subscriptions_of_device(self._fleet, self._device), self._contained)
            self._broker.subscribe(self._subscriber)
            self._says(ConnectionKind.ONLINE)

    def lose(self) -> None:
        """The connection is gone; the broker publishes the last will."""
        if self.connected:
            self._leave()
            self._says(ConnectionKind.BROKEN)

    def _contained(self, message: Inbound) -> None:
        assert self._deliver is not None
        try:
            self._deliver(message)
        except Exception:  # noqa: BLE001 - as the real one: what a receiver raises does not end the connection
            return

    def _leave(self) -> None:
        if self._subscriber is not None:
            self._broker.unsubscribe(self._subscriber)
            self._subscriber = None

    def _says(self, kind: ConnectionKind) -> None:
        message = encode(Connection(kind, "boot-1", "thor-t5000", "test"))
        self._broker.publish(self._topic(Channel.CONNECTION), message, retain=True)

    def _topic(self, channel: Channel, tail: str = "") -> str:
        return topic(self._fleet, self._device, channel, tail)


@dataclass
class FakePeer:
    """The other side: hears everything of the fleet, and answers through `publish`."""

    broker: FakeBroker
    heard: list[Inbound] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker.subscribe(Subscriber(("roskva/v1/#",), self.heard.append))

    def publish(self, name: str, payload: bytes) -> None:
        self.broker.publish(name, payload)
