"""No message from the broker can crash the server; what cannot be read is counted and set aside."""

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.adapters.repository import RepositoryFiles
from fleet.depot import Depot
from fleet.ingest import Ingest
from fleet.registry import Registry
from fleet.router import Receivers, Router
from models.wire.messages import Connection, ConnectionKind, ContentRequest, RangeRequest, encode
from tests.fakes.fleet_messages import BOOT, batch, state
from tests.fakes.fleet_store import MemoryTelemetryStore
from tests.fakes.fleet_world import SentMessages, SetClock

BASE = "roskva/v1/demo/thor-1"
ONLINE = encode(Connection(ConnectionKind.ONLINE, BOOT, "thor-t5000", "0.1"))


@dataclass
class Junction:
    router: Router
    registry: Registry
    ingest: Ingest
    store: MemoryTelemetryStore
    sent: SentMessages
    greeted: list[str]

    def finish(self) -> None:
        self.ingest.close()
        thread = threading.Thread(target=self.ingest.run)
        thread.start()
        thread.join(10)


@pytest.fixture
def junction(tmp_path: Path) -> Junction:
    clock, store, sent, greeted = SetClock(), MemoryTelemetryStore(), SentMessages(), list[str]()
    registry, ingest = Registry(clock), Ingest("demo", store, sent)
    depot = Depot("demo", RepositoryFiles(tmp_path, tmp_path), sent)
    router = Router("demo", Receivers(registry, ingest, depot, greeted.append), clock)
    return Junction(router, registry, ingest, store, sent, greeted)


def test_each_channel_reaches_its_part(junction: Junction) -> None:
    junction.router.receive(f"{BASE}/connection", ONLINE, True)
    junction.router.receive(f"{BASE}/state", encode(state()), False)
    junction.router.receive(f"{BASE}/telemetry", encode(batch(0)), False)
    junction.finish()
    assert junction.greeted == ["thor-1"]
    assert junction.registry.sight("thor-1").state == state()
    assert len(junction.store.decisions("thor-1", "", 10)) == 5
    assert junction.router.malformed == 0


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (f"{BASE}/state", b"{}"),
        (f"{BASE}/state", b"\xff\x00"),
        (f"{BASE}/connection", b'"online"'),
        (f"{BASE}/connection", ONLINE.replace(b"thor-t5000", b"<script>")),
        (f"{BASE}/request", b""),
        (f"{BASE}/request", encode(ContentRequest("../x", RangeRequest("d", 0, 1)))),
        (f"{BASE}/request", encode(ContentRequest("a/b#", RangeRequest("d", 0, 1)))),
        (f"{BASE}/telemetry", b"x" * (10 << 20)),
        (f"{BASE}/telemetry/tail", encode(batch(0))),
        ("roskva/v1/other/thor-1/state", encode(state())),
        ("roskva/v1/demo/$bad/state", encode(state())),
        ("elsewhere", b"x"),
    ],
)
def test_the_unreadable_is_set_aside_and_never_raises(junction: Junction, topic: str, payload: bytes) -> None:
    junction.router.receive(f"{BASE}/connection", ONLINE, False)
    junction.router.receive(topic, payload, False)
    junction.finish()
    (kept,) = junction.store.rejections()
    assert kept.topic == topic
    assert len(kept.head) <= 512
    assert junction.router.malformed == 1


def test_the_unreadable_is_counted_for_its_device(junction: Junction) -> None:
    junction.router.receive(f"{BASE}/connection", ONLINE, False)
    junction.router.receive(f"{BASE}/state", b"{", False)
    assert junction.registry.sight("thor-1").malformed == 1


def test_a_cleared_retained_message_is_nothing(junction: Junction) -> None:
    junction.router.receive(f"{BASE}/connection", b"", True)
    junction.router.receive(f"{BASE}/state", b"", True)
    assert junction.router.malformed == 0
