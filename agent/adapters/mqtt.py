"""The broker, by paho-mqtt: the `Transport` port over MQTT 3.1.1.

Owns: the connection, its last will and birth, subscriptions, reconnecting with full jitter, and the watch over
paho's thread. Traps that shape this file, all measured: publishing from a second thread while no loop thread
runs interleaves partial packets (so: `loop_start` only, and nothing is sent before its thread runs it);
Nagle's algorithm costs a factor of ten (so: TCP_NODELAY); paho's thread may die in a long outage (so: paho
does not reconnect, we do, and a dead thread is just a lost connection).
Must not know: what messages mean.
"""

import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from agent.config import MqttSection
from agent.ports import Inbound
from models.errors import TransferError
from models.wire.messages import Connection, ConnectionKind, encode
from models.wire.topics import Channel, subscriptions_of_device, topic

_FIRST_DELAY_S = 0.5
_STEADY_S = 10.0
"""A connection that lasted this long starts the back-off anew."""
_FAREWELL_S = 1.0
_QUEUED_MAX = 512
_IN_FLIGHT_MAX = 128
_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who connects, as the `connection` message says it."""

    fleet: str
    device: str
    hardware: str
    boot: str
    version: str

    def says(self, kind: ConnectionKind) -> bytes:
        """The `connection` message."""
        return encode(Connection(kind, self.boot, self.hardware, self.version))


class MqttTransport:
    """`agent.ports.Transport`. One supervising thread of ours, one loop thread of paho's."""

    def __init__(self, broker: MqttSection, caller: Caller, draw: random.Random | None = None) -> None:
        self._broker, self._caller = broker, caller
        self._draw = draw or random.Random()  # noqa: S311 - jitter, not a secret
        self._deliver: Callable[[Inbound], None] = _drop
        self._up, self._stopping, self._down = threading.Event(), threading.Event(), threading.Event()
        self._link = threading.Lock()
        self._supervisor = threading.Thread(target=self._supervise, name="mqtt-supervisor", daemon=True)
        self.faults = 0
        """Exceptions that `deliver` let escape: bugs of ours, survived and counted."""
        self._client = self._new_client()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the loop thread runs."""
        return self._up.is_set()

    @property
    def alive(self) -> bool:
        """Whether we still try to be connected; False where the supervising thread died, which it never should."""
        return self._supervisor.is_alive() or self._supervisor.ident is None or self._stopping.is_set()

    def start(self, deliver: Callable[[Inbound], None]) -> None:
        """Begin to connect; returns at once."""
        self._deliver = deliver
        self._supervisor.start()

    def publish(
        self, channel: Channel, payload: bytes, tail: str = "", *, sure: bool = True, retain: bool = False
    ) -> None:
        """Hand a message to paho's thread. Raises `TransferError` where there is no connection or no room."""
        if not self._up.is_set():
            raise TransferError("no connection to the broker")
        with self._link:
            sent = self._client.publish(self._topic(channel, tail), payload, qos=int(sure), retain=retain)
        if sent.rc != MQTT_ERR_SUCCESS:
            raise TransferError(f"the broker's queue takes nothing now (paho code {int(sent.rc)})")

    def stop(self) -> None:
        """Publish `offline`, disconnect, end both threads."""
        self._stopping.set()
        self._down.set()
        if self._supervisor.is_alive():
            self._supervisor.join(_FAREWELL_S / 2)
        if self._supervisor.is_alive():
            return  # it waits for a broker that does not answer; its thread ends with the process
        if self._up.is_set():
            said = self._client.publish(
                self._topic(Channel.CONNECTION), self._caller.says(ConnectionKind.OFFLINE), qos=1, retain=True
            )
            with suppress(RuntimeError, ValueError):  # the connection went first: then the last will speaks
                said.wait_for_publish(_FAREWELL_S)
        self._client.disconnect()
        self._client.loop_stop()
        self._up.clear()

    # The supervising thread.

    def _supervise(self) -> None:
        """Connect, wait until the connection ends for any reason, back off, again."""
        attempt = 0
        while not self._stopping.is_set():
            since = monotonic()
            if self._connect():
                self._wait_until_down()
            attempt = 0 if monotonic() - since > _STEADY_S else attempt + 1
            self._stopping.wait(self._delay_s(attempt))

    def _delay_s(self, attempt: int) -> float:
        """Full jitter: anything from nothing to the exponential bound."""
        bound_s = _FIRST_DELAY_S * 2.0 ** min(attempt, 16)
        return self._draw.uniform(0.0, min(self._broker.reconnect_cap_s, bound_s))

    def _connect(self) -> bool:
        with self._link:
            self._client.loop_stop()
            self._down.clear()
            if self._stopping.is_set():
                return False
            try:
                self._client.connect(self._broker.host, self._broker.port, self._broker.keepalive_s)
            except (OSError, ValueError):
                return False
            self._client.loop_start()
            return True

    def _wait_until_down(self) -> None:
        """Until the connection ends or paho's thread is dead, whichever is seen first."""
        while not self._down.wait(1.0):
            thread = self._client._thread  # noqa: SLF001 - paho has no public word on whether it lives
            if thread is None or not thread.is_alive():
                break
        if not self._stopping.is_set():
            self._up.clear()

    # Callbacks, on paho's thread.

    def _new_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"roskva-{self._caller.fleet}-{self._caller.device}",
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_queued_messages_set(_QUEUED_MAX)
        client.max_inflight_messages_set(_IN_FLIGHT_MAX)
        client.will_set(
            self._topic(Channel.CONNECTION), self._caller.says(ConnectionKind.BROKEN), qos=1, retain=True
        )
        client.on_socket_open = _without_delay
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, client: Client, _user: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._down.set()
            return
        client.subscribe(
            [(name, 1) for name in subscriptions_of_device(self._caller.fleet, self._caller.device)]
        )
        online = self._caller.says(ConnectionKind.ONLINE)
        client.publish(self._topic(Channel.CONNECTION), online, qos=1, retain=True)
        self._up.set()

    def _on_disconnect(self, *_: object) -> None:
        self._up.clear()
        self._down.set()

    def _on_message(self, _client: Client, _user: Any, message: MQTTMessage) -> None:
        try:
            self._deliver(Inbound(message.topic, bytes(message.payload)))
        except Exception:  # noqa: BLE001 - the edge of our code on paho's thread, which must not die of it
            self.faults += 1

    def _topic(self, channel: Channel, tail: str = "") -> str:
        return topic(self._caller.fleet, self._caller.device, channel, tail)


def _without_delay(_client: Client, _user: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _drop(_message: Inbound) -> None:
    """Before `start` nobody listens."""
