"""A device as the broker sees it: paho, the wire's messages, nothing of the agent.

It keeps batches until they are acknowledged, and gathers replies, refusals, offers and envelope orders.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from models.wire.messages import (
    BatchAck,
    Connection,
    ConnectionKind,
    ContentRequest,
    DeviceState,
    EnvelopeOrder,
    MetadataRequest,
    RangeRequest,
    Refusal,
    ReleaseOffer,
    TargetRequest,
    TelemetryBatch,
    decode,
    encode,
)
from models.wire.topics import Address, Channel, address_from_topic, subscriptions_of_device, topic
from tests.fakes.fleet_messages import BOOT

T = TypeVar("T")
WAIT_S = 10.0


class WireDevice:
    """One device on a real broker; `online` connects, `close` disconnects politely."""

    def __init__(self, fleet: str, device: str, port: int) -> None:
        self.fleet, self.device = fleet, device
        self.acknowledged: list[int] = []
        self.offers: list[str] = []
        self.envelopes: list[EnvelopeOrder] = []
        self.answers: dict[str, bytes | Refusal] = {}
        self._heard = threading.Condition()
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=device)
        self._client.max_inflight_messages_set(64)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.will_set(
            self._topic(Channel.CONNECTION), self._connection(ConnectionKind.BROKEN), 1, True
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def online(self) -> "WireDevice":
        """Subscribe, then say that it is there."""
        self._client.subscribe([(name, 1) for name in subscriptions_of_device(self.fleet, self.device)])
        assert self._subscribed.wait(WAIT_S)
        self.send(Channel.CONNECTION, self._connection(ConnectionKind.ONLINE), retain=True)
        return self

    def send(self, channel: Channel, payload: bytes, retain: bool = False) -> None:
        """Any bytes on a channel."""
        self._client.publish(self._topic(channel), payload, qos=1, retain=retain)

    def publish_to(self, device: str, tail: str, payload: bytes) -> None:
        """What only the server sends: a reply to another device."""
        self._client.publish(topic(self.fleet, device, Channel.REPLY, tail), payload, qos=1)

    def report(self, state: DeviceState) -> None:
        """Its state."""
        self.send(Channel.STATE, encode(state), retain=True)

    def deliver(self, *batches: TelemetryBatch) -> None:
        """Send batches and wait until each was acknowledged anew."""
        self.acknowledged.clear()
        for batch in batches:
            self.send(Channel.TELEMETRY, encode(batch))
        wanted = {batch.sequence for batch in batches}
        self.wait(lambda: wanted <= set(self.acknowledged) or None)

    def ask(self, identity: str, question: MetadataRequest | TargetRequest | RangeRequest) -> bytes | Refusal:
        """Ask the depot and wait for its answer."""
        self.send(Channel.REQUEST, encode(ContentRequest(identity, question)))
        self.wait(lambda: identity in self.answers or None)
        return self.answers[identity]

    def wait(self, look: Callable[[], T | None]) -> T:
        """What `look` finds, looked for whenever something comes."""
        with self._heard:
            assert self._heard.wait_for(lambda: look() is not None, WAIT_S), "nothing came in time"
        found = look()
        assert found is not None
        return found

    def close(self) -> None:
        """Go offline politely."""
        self.send(Channel.CONNECTION, self._connection(ConnectionKind.OFFLINE), retain=True)
        self._client.disconnect()
        self._client.loop_stop()

    def _topic(self, channel: Channel) -> str:
        return topic(self.fleet, self.device, channel)

    def _connection(self, kind: ConnectionKind) -> bytes:
        return encode(Connection(kind, BOOT, "thor-t5000", "0.1.0"))

    def _on_message(self, _c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        with self._heard:
            self._take(address_from_topic(message.topic), bytes(message.payload))
            self._heard.notify_all()

    def _take(self, address: Address, payload: bytes) -> None:
        match address.channel:
            case Channel.ACK:
                self.acknowledged.append(decode(payload, BatchAck).sequence)
            case Channel.OFFER:
                self.offers.append(decode(payload, ReleaseOffer).release_digest)
            case Channel.ENVELOPE:
                self.envelopes.append(decode(payload, EnvelopeOrder))
            case Channel.REPLY:
                self.answers[address.tail] = payload
            case _:
                self.answers[address.tail] = decode(payload, Refusal)
