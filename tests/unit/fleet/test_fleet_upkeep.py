"""What the server does by itself goes on after a failure, and forgets nothing over it."""

import threading
from collections.abc import Sequence
from pathlib import Path

from fleet.director import Director, DirectorParts
from fleet.envelopes import EnvelopeParts, Envelopes
from fleet.errors import StoreError
from fleet.records import StoredDevice
from fleet.registry import Registry
from fleet.upkeep import Upkeep, UpkeepParts
from models.wire.messages import Connection, ConnectionKind
from tests.fakes.fleet_messages import BOOT
from tests.fakes.fleet_store import MemoryEnvelopeStore, MemoryInventoryStore
from tests.fakes.fleet_world import ObedientSigner, SentMessages, SetClock, catalogue_of

PATIENCE_S = 20.0


class FullDiskStore(MemoryInventoryStore):
    """Keeps no device until `room` is set; `refused` and `kept` say what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.room, self.refused, self.kept = threading.Event(), threading.Event(), threading.Event()

    def put_devices(self, devices: Sequence[StoredDevice]) -> None:
        if not self.room.is_set():
            self.refused.set()
            raise StoreError("the disk is full")
        super().put_devices(devices)
        self.kept.set()


def test_a_device_that_was_seen_while_the_disk_was_full_is_kept_once_there_is_room(tmp_path: Path) -> None:
    store, clock, catalogue = FullDiskStore(), SetClock(), catalogue_of(tmp_path, 1)
    registry = Registry(clock)
    registry.observe_connection("thor-1", Connection(ConnectionKind.OFFLINE, BOOT, "thor-t5000", "0.1"))
    director = Director(
        "demo", DirectorParts(store, catalogue, registry, ObedientSigner(), SentMessages(), clock)
    )
    envelopes = Envelopes("demo", EnvelopeParts(MemoryEnvelopeStore(), registry, SentMessages(), clock))
    upkeep = Upkeep(UpkeepParts(catalogue, registry, director, envelopes, store, clock))
    thread = threading.Thread(target=upkeep.run, daemon=True)
    thread.start()
    upkeep.greet("thor-1")
    assert store.refused.wait(PATIENCE_S)
    store.room.set()
    upkeep.greet("thor-1")
    assert store.kept.wait(PATIENCE_S)
    upkeep.close()
    thread.join(PATIENCE_S)
    assert [device.device for device in store.devices()] == ["thor-1"]
