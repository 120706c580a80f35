"""The server's MQTT client, on paho. Implements `fleet.ports.Publisher`.

Owns: the connection, the subscriptions, and the bound on what waits to be sent.
Must not know: what messages say. One thread of paho's own does the network (`loop_start`); every other thread
only queues, since paho interleaves packets where two threads write.
"""

import contextlib
import logging
import random
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from models.errors import NotNowError
from models.wire.topics import subscriptions_of_server

MAX_WAITING_BYTES = 48 << 20
"""What may wait to be sent; above it the depot waits, and what it cannot wait for is dropped and counted."""
SMALL_BYTES = 4096
"""Acknowledgements, offers and refusals: never wait; their number is bounded by paho's queue."""
WAIT_S = 5.0
_MAX_INFLIGHT = 256
_KEEPALIVE_S = 20
_QOS = 1
_log = logging.getLogger(__name__)

Receive = Callable[[str, bytes, bool], None]


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker listens."""

    host: str
    port: int


class MqttLink:
    """Connects, subscribes, hands messages on, publishes; an absent broker is normal and waited for."""

    def __init__(self, fleet: str, broker: BrokerAddress, receive: Receive) -> None:
        self._fleet = fleet
        self._broker = broker
        self._receive = receive
        self._sizes: dict[int, int] = {}
        self._early: set[int] = set()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._told_absent = False
        self.dropped = 0
        self._client = self._make_client()

    @property
    def connected(self) -> bool:
        """Whether the broker answers now."""
        return self._client.is_connected()

    def start(self) -> None:
        """Connect in the background and stay connected."""
        self._client.connect_async(self._broker.host, self._broker.port, _KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect and end the network thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        with contextlib.suppress(OSError, ValueError):
            self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Queue at QoS 1; content waits a little where much is queued; False where it was dropped."""
        if not self._client.is_connected() or not self._reserve(len(payload)):
            self.dropped += 1
            return False
        # Not under our lock: paho calls `_on_publish` under its own.
        sent = self._client.publish(topic, payload, qos=_QOS)
        queued = sent.rc == mqtt.MQTT_ERR_SUCCESS
        with self._changed:
            if queued and sent.mid not in self._early:
                self._sizes[sent.mid] = len(payload)
            else:
                self._early.discard(sent.mid)
                self._waiting_bytes -= len(payload)
        self.dropped += not queued
        return queued

    def _reserve(self, size_bytes: int) -> bool:
        with self._changed:
            if size_bytes > SMALL_BYTES:
                room = MAX_WAITING_BYTES - size_bytes
                self._changed.wait_for(lambda: self._closing or self._waiting_bytes <= room, WAIT_S)
                if self._waiting_bytes > room:
                    return False
            self._waiting_bytes += size_bytes
            return not self._closing

    def _make_client(self) -> mqtt.Client:
        identity = f"roskva-fleet-{self._fleet}-{random.getrandbits(32):08x}"
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=identity, clean_session=True)
        client.max_inflight_messages_set(_MAX_INFLIGHT)
        client.max_queued_messages_set(8192)
        client.reconnect_delay_set(min_delay=1, max_delay=random.randint(10, 20))  # noqa: S311 - jitter
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.on_message, client.on_publish = self._on_message, self._on_publish
        client.on_socket_open = _set_no_delay
        return client

    def _on_connect(
        self, client: mqtt.Client, _u: object, _f: object, code: ReasonCode, _p: Properties | None
    ) -> None:
        if code.is_failure:
            _log.warning("the broker refuses: %s", code)
            return
        self._told_absent = False
        _log.info("connected to the broker at %s:%d", self._broker.host, self._broker.port)
        client.subscribe([(topic, _QOS) for topic in subscriptions_of_server(self._fleet)])

    def _on_connect_fail(self, _c: mqtt.Client, _u: object) -> None:
        if not self._told_absent:
            _log.warning(
                "no broker at %s:%d; it is tried again and again", self._broker.host, self._broker.port
            )
        self._told_absent = True

    def _on_disconnect(
        self, _c: mqtt.Client, _u: object, _f: object, code: ReasonCode, _p: Properties | None
    ) -> None:
        if not self._closing:
            _log.warning("the broker is gone: %s", code)

    def _on_message(self, _c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        self._receive(message.topic, bytes(message.payload), message.retain)

    def _on_publish(
        self, _c: mqtt.Client, _u: object, mid: int, _r: ReasonCode, _p: Properties | None
    ) -> None:
        with self._changed:
            if mid in self._sizes:
                self._waiting_bytes -= self._sizes.pop(mid)
                self._changed.notify_all()
            else:
                self._early.add(mid)


def probe(broker: BrokerAddress, timeout_s: float = 2.0) -> None:
    """Raise `NotNowError` where nothing listens at `broker`."""
    try:
        socket.create_connection((broker.host, broker.port), timeout=timeout_s).close()
    except OSError as error:
        raise NotNowError(f"no broker at {broker.host}:{broker.port}: {error.strerror}") from error


def _set_no_delay(_c: mqtt.Client, _u: object, sock: object) -> None:
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
