"""A real Mosquitto on a free loopback port, for tests that want no fake."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from agent.ports import Inbound

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
_PAUSE = threading.Event()
"""Never set: waiting on it is a pause with a deadline."""


def wait_until(holds: Callable[[], bool], deadline_s: float = 10.0, what: str = "condition") -> None:
    """Return once `holds()`; fail after `deadline_s` of wall time."""
    for _ in range(round(deadline_s / 0.02)):
        if holds():
            return
        _PAUSE.wait(0.02)
    raise AssertionError(f"not within {deadline_s} s: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """The process; `restart` cuts every connection and comes back on the same port."""

    def __init__(self, directory: Path) -> None:
        assert PROGRAM is not None
        self.port = free_port()
        self._config = directory / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
            f"persistence false\nlog_dest stderr\nlog_type error\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([str(PROGRAM), "-c", str(self._config)], stderr=subprocess.DEVNULL)
        wait_until(self._answers, what="mosquitto answers")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2):
                return True
        except OSError:
            return False


class RealPeer:
    """The other side, by paho; `respond` sees every message on paho's thread and may publish."""

    def __init__(self, port: int, respond: Callable[[Inbound, "RealPeer"], None] | None = None) -> None:
        self.heard: list[Inbound] = []
        self._respond = respond
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_socket_open = _without_delay
        self._client.on_connect = lambda client, *_: client.subscribe("roskva/v1/#", 1) and None
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.max_inflight_messages_set(1000)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def publish(self, name: str, payload: bytes) -> None:
        self._client.publish(name, payload, qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Client, _user: Any, message: MQTTMessage) -> None:
        inbound = Inbound(message.topic, bytes(message.payload))
        if self._respond is not None:
            self._respond(inbound, self)
        else:
            self.heard.append(inbound)


def _without_delay(_client: Client, _user: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
