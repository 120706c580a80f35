"""One suite for the `Transport` port: the broker in memory, and paho against a real Mosquitto."""

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from agent.adapters.mqtt import Caller, MqttTransport
from agent.config import MqttSection
from agent.ports import Inbound, Transport
from models.errors import TransferError
from models.wire.messages import Connection, decode
from models.wire.topics import Channel, topic
from tests.fakes.broker import FakeBroker, FakePeer, FakeTransport, Weather
from tests.fakes.mosquitto import PROGRAM, Mosquitto, RealPeer, wait_until


class Peer(Protocol):
    heard: list[Inbound]

    def publish(self, name: str, payload: bytes) -> None: ...


class Rig(Protocol):
    """A broker with one device and one peer on it."""

    @property
    def transport(self) -> Transport: ...

    @property
    def peer(self) -> Peer: ...

    def interrupt(self) -> None: ...

    def restore(self) -> None: ...


@dataclass
class FakeRig:
    broker: FakeBroker
    transport: FakeTransport
    peer: FakePeer

    def interrupt(self) -> None:
        self.broker.disconnect_all()

    def restore(self) -> None:
        self.broker.come_back()


@dataclass
class RealRig:
    broker: Mosquitto
    transport: MqttTransport
    peer: RealPeer

    def interrupt(self) -> None:
        self.broker.stop()

    def restore(self) -> None:
        self.broker.start()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.broker)])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "fake":
        broker = FakeBroker()
        yield FakeRig(broker, FakeTransport(broker), FakePeer(broker))
        return
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed")
    real = Mosquitto(tmp_path)
    real.start()
    section = MqttSection(port=real.port, reconnect_cap_s=0.3, keepalive_s=5)
    transport = MqttTransport(section, Caller("yard", "thor-1", "thor-t5000", "boot-1", "test"))
    peer = RealPeer(real.port)
    yield RealRig(real, transport, peer)
    peer.close()
    real.stop()


def address(channel: Channel, tail: str = "") -> str:
    return topic("yard", "thor-1", channel, tail)


def kinds(peer: Peer) -> list[str]:
    """What `connection` said so far."""
    said = [m for m in peer.heard if m.topic == address(Channel.CONNECTION)]
    return [decode(m.payload, Connection).kind.value for m in said]


def started(rig: Rig) -> list[Inbound]:
    received: list[Inbound] = []
    rig.transport.start(received.append)
    wait_until(lambda: rig.transport.connected, what="connected")
    return received


def test_a_device_says_online_when_it_comes_and_offline_when_it_goes(rig: Rig) -> None:
    started(rig)
    wait_until(lambda: kinds(rig.peer) == ["online"], what="online")
    rig.transport.stop()
    wait_until(lambda: kinds(rig.peer) == ["online", "offline"], what="offline")
    assert not rig.transport.connected


def test_what_is_published_on_its_topics_reaches_the_device(rig: Rig) -> None:
    received = started(rig)
    names = [address(Channel.OFFER), address(Channel.REPLY, "r-1"), address(Channel.REFUSAL, "r-2")]
    for name in names:
        rig.peer.publish(name, b"payload of " + name.encode())
    wait_until(lambda: len(received) == 3, what="three messages")
    assert [m.topic for m in received] == names
    assert received[1].payload == b"payload of " + names[1].encode()
    rig.transport.stop()


def test_what_is_for_another_device_does_not_reach_this_one(rig: Rig) -> None:
    received = started(rig)
    rig.peer.publish(topic("yard", "thor-2", Channel.OFFER), b"not mine")
    rig.peer.publish(address(Channel.OFFER), b"mine")
    wait_until(lambda: bool(received), what="one message")
    assert [m.payload for m in received] == [b"mine"]
    rig.transport.stop()


def test_what_the_device_publishes_reaches_the_peer_whole(rig: Rig) -> None:
    started(rig)
    large = bytes(range(256)) * 2048
    rig.transport.publish(Channel.TELEMETRY, large)
    rig.transport.publish(Channel.STATE, b"now", sure=False, retain=True)
    wait_until(lambda: len(rig.peer.heard) >= 3, what="birth, batch, state")
    bodies = {m.topic: m.payload for m in rig.peer.heard}
    assert bodies[address(Channel.TELEMETRY)] == large
    assert bodies[address(Channel.STATE)] == b"now"
    rig.transport.stop()


def test_without_a_connection_publishing_is_refused_and_nothing_is_queued(rig: Rig) -> None:
    with pytest.raises(TransferError):
        rig.transport.publish(Channel.TELEMETRY, b"x")


def test_the_device_comes_back_by_itself_and_hears_again(rig: Rig) -> None:
    received = started(rig)
    # Wait for the word, or the broker dies with it.
    wait_until(lambda: kinds(rig.peer).count("online") >= 1, what="online")
    rig.interrupt()
    wait_until(lambda: not rig.transport.connected, what="noticed the loss")
    with pytest.raises(TransferError):
        rig.transport.publish(Channel.TELEMETRY, b"x")
    rig.restore()
    wait_until(lambda: rig.transport.connected, what="connected again")
    wait_until(lambda: kinds(rig.peer).count("online") >= 2, 15, what="online again")
    rig.peer.publish(address(Channel.OFFER), b"after")
    wait_until(lambda: any(m.payload == b"after" for m in received), what="heard after the outage")
    rig.transport.stop()


def test_a_receiver_that_raises_does_not_end_the_connection(rig: Rig) -> None:
    received: list[bytes] = []

    def deliver(message: Inbound) -> None:
        received.append(message.payload)
        if message.payload == b"bad":
            raise ValueError("a bug of ours")

    rig.transport.start(deliver)
    wait_until(lambda: rig.transport.connected, what="connected")
    rig.peer.publish(address(Channel.OFFER), b"bad")
    rig.peer.publish(address(Channel.OFFER), b"good")
    wait_until(lambda: b"good" in received, what="the message after")
    assert rig.transport.connected
    rig.transport.stop()


def test_ten_megabytes_in_one_message_are_survived(rig: Rig) -> None:
    received = started(rig)
    rig.peer.publish(address(Channel.OFFER), bytes(10_000_000))
    rig.peer.publish(address(Channel.OFFER), b"after")
    wait_until(lambda: any(m.payload == b"after" for m in received), 20, what="the message after")
    assert rig.transport.connected
    rig.transport.stop()


@pytest.mark.broker
@pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_client_thread_is_noticed_and_replaced(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    transport = MqttTransport(
        MqttSection(port=broker.port, reconnect_cap_s=0.2), Caller("yard", "thor-1", "thor-t5000", "b", "t")
    )
    received: list[bytes] = []

    def deliver(message: Inbound) -> None:
        received.append(message.payload)
        if message.payload == b"die":
            raise SystemExit

    transport.start(deliver)
    peer = RealPeer(broker.port)
    try:
        wait_until(lambda: transport.connected, what="connected")
        peer.publish(address(Channel.OFFER), b"die")
        wait_until(lambda: b"die" in received, what="the message that kills")
        wait_until(lambda: kinds(peer).count("online") == 2, what="noticed, and connected again")
        peer.publish(address(Channel.OFFER), b"alive")
        wait_until(lambda: b"alive" in received, what="heard again")
    finally:
        transport.stop()
        peer.close()
        broker.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_transport_that_will_never_connect_again_says_so() -> None:
    class Broken(random.Random):
        def uniform(self, a: float, b: float) -> float:
            raise ArithmeticError(f"nothing between {a} and {b}")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    caller = Caller("yard", "thor-1", "thor-t5000", "boot-1", "test")
    transport = MqttTransport(MqttSection(port=port), caller, Broken())
    assert transport.alive
    transport.start(lambda _: None)
    wait_until(lambda: not transport.alive, 10, "the supervising thread died")
    transport.stop()
    sound = MqttTransport(MqttSection(port=port), caller)
    sound.start(lambda _: None)
    assert sound.alive
    sound.stop()
    assert sound.alive, "stopped on purpose is no fault"


def test_the_fake_duplicates_delays_and_drops() -> None:
    broker = FakeBroker(Weather(duplicated=0.5, delayed=0.3, dropped=0.5), seed=1)
    transport, peer = FakeTransport(broker), FakePeer(broker)
    transport.start(lambda _: None)
    for n in range(100):
        transport.publish(Channel.TELEMETRY, b"%d" % n)
        transport.publish(Channel.STATE, b"%d" % n, sure=False)
    broker.settle()
    sure = [m.payload for m in peer.heard if m.topic == address(Channel.TELEMETRY)]
    unsure = [m.payload for m in peer.heard if m.topic == address(Channel.STATE)]
    assert set(sure) == {b"%d" % n for n in range(100)}
    assert len(sure) > 100
    assert 0 < len(unsure) < 100
    broker.disconnect_all()
    assert b'"broken"' in broker.retained[address(Channel.CONNECTION)]
