"""A device with a real `manage` process, a real broker, and a depot that serves a real site."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent.ports import Inbound
from agent.update.slots import Pointer
from models.contract import PlantSpec
from models.digest import Digest, hex_of
from models.errors import UnknownObjectError
from models.wire.messages import BatchAck, DeviceState, Repository, TelemetryBatch, decode, encode
from models.wire.topics import Channel, address_from_topic, topic
from tests.fakes.depot import DepotResponder, Store
from tests.fakes.mosquitto import Mosquitto, RealPeer, wait_until
from tests.fakes.repositories import Recipe, Site, small_contract

FLEET, DEVICE = "yard", "thor-1"
SETTINGS = "[update]\nwindow = 8\ntrial_s = 1.0\nrequest_timeout_s = 2.0\n[telemetry]\nbatch_s = 0.2\n"
CHUNK = 4096


@dataclass
class SiteStore(Store):
    """An honest depot's store over a site."""

    site: Site
    cache: dict[Digest, bytes] = field(default_factory=dict)

    def metadata(self, repository: Repository, name: str, device: str) -> bytes:
        return self.site.source(device).metadata(repository, name, 1 << 20)

    def target(self, path: str) -> bytes:
        return self.site.source(DEVICE).target(path, 1 << 20)

    def content(self, digest: Digest) -> bytes:
        path = self.site.repo / "content" / hex_of(digest)
        if not path.is_file():
            raise UnknownObjectError(digest)
        if digest not in self.cache:
            self.cache[digest] = path.read_bytes()
        return self.cache[digest]


@dataclass
class Server:
    """What the fleet server would do: serve, acknowledge, remember."""

    site: Site
    port: int
    batches: dict[tuple[str, int], TelemetryBatch] = field(default_factory=dict)
    states: list[DeviceState] = field(default_factory=list)
    connections: list[bytes] = field(default_factory=list)
    acknowledges: bool = True

    def __post_init__(self) -> None:
        self.depot = DepotResponder(SiteStore(self.site), self._publish)
        self.peer = RealPeer(self.port, self._hear)

    def offer(self, payload: bytes = b'{"release_digest":""}') -> None:
        self.peer.publish(topic(FLEET, DEVICE, Channel.OFFER), payload)

    def events(self) -> list[str]:
        return [event.kind for batch in list(self.batches.values()) for event in batch.events]

    def reasons(self) -> list[str]:
        return [event.detail for batch in list(self.batches.values()) for event in batch.events]

    def _publish(self, name: str, payload: bytes) -> None:
        self.peer.publish(name, payload)

    def _hear(self, message: Inbound, peer: RealPeer) -> None:
        address = address_from_topic(message.topic)
        if address.channel is Channel.REQUEST:
            self.depot.hear(message)
        elif address.channel is Channel.TELEMETRY:
            batch = decode(message.payload, TelemetryBatch, 1 << 20)
            self.batches[batch.boot, batch.sequence] = batch
            if self.acknowledges:
                ack = encode(BatchAck(batch.boot, batch.sequence))
                peer.publish(topic(FLEET, DEVICE, Channel.ACK), ack)
        elif address.channel is Channel.STATE:
            self.states.append(decode(message.payload, DeviceState))
        elif address.channel is Channel.CONNECTION:
            self.connections.append(message.payload)


@dataclass
class ManagedDevice:
    """The root directory of a device, and the process that manages it."""

    root: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def run(self) -> Path:
        return self.root / "run/roskva"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/roskva"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent.app.main", "manage", "--root", str(self.root)],
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


def managed_device(root: Path, site: Site, port: int, settings: str = "") -> ManagedDevice:
    """Write the configuration, the pinned roots, the plant, and a boot id; start nothing."""
    etc = root / "etc/roskva"
    (etc / "trust").mkdir(parents=True)
    (etc / "trust/image-root.json").write_bytes(site.anchors.image_root)
    (etc / "trust/director-root.json").write_bytes(site.anchors.director_root)
    (etc / "agent.toml").write_text(
        f'[device]\nid = "{DEVICE}"\nfleet = "{FLEET}"\n[mqtt]\nport = {port}\nreconnect_cap_s = 0.3\n{settings}'
    )
    (root / "proc/sys/kernel/random").mkdir(parents=True)
    (root / "proc/sys/kernel/random/boot_id").write_text("11111111-2222-3333-4444-555555555555\n")
    contract = small_contract()
    plant = PlantSpec(
        "test", contract.cameras, contract.ego_history, contract.instructions, contract.action_space
    )
    (root / "run/roskva").mkdir(parents=True)
    (root / "run/roskva/plant.json").write_bytes(msgspec.json.encode(plant))
    return ManagedDevice(root)


def site_now(root: Path) -> Site:
    """A site whose metadata is valid by the clock of this machine."""
    return Site(root, datetime.now(UTC))


class Rig:
    """Broker, site, server, and a device that is not started; everything but control."""

    def __init__(self, directory: Path, settings: str = SETTINGS) -> None:
        self.broker = Mosquitto(directory)
        self.broker.start()
        self.site: Site = site_now(directory / "site")
        self.server = Server(self.site, self.broker.port)
        self.device: ManagedDevice = managed_device(
            directory / "device", self.site, self.broker.port, settings
        )

    def pointer(self) -> Pointer:
        path = self.device.state / "slots/pointer.json"
        return msgspec.json.decode(path.read_bytes(), type=Pointer) if path.exists() else Pointer()

    def wait_for_event(self, kind: str, deadline_s: float = 30.0) -> None:
        try:
            wait_until(lambda: kind in self.server.events(), deadline_s)
        except AssertionError:
            raise AssertionError(f"no {kind}: {self.server.events()} {self.server.reasons()}") from None

    def close(self) -> None:
        self.device.kill()
        self.server.peer.close()
        self.broker.stop()


def large() -> Recipe:
    """A release of half a megabyte, in chunks of 4 KiB."""
    return Recipe(
        files={
            "visual": bytes(range(256)) * 1500,
            "reason": b"r" * 100_000,
            "action": b"a" * 30_000,
            "golden": b"g" * 5_000,
        },
        contract=small_contract(),
        chunk_bytes=CHUNK,
    )
