"""The updater over a real site: what it does about refusals, full disks and a broker that offers again and again."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.adapters.files import FileDisk
from agent.app.inbox import Inbox, Receivers
from agent.config import UpdateSection
from agent.ports import Disk
from agent.telemetry.events import EventLog
from agent.update.depot import Depot, Patience
from agent.update.slots import Pointer, Slot, SlotStore, StagedFile, read_pointer
from agent.update.steps import UpdateWorld
from agent.update.updater import Updater
from models.contract import CameraSpec, JointActions, PlantSpec, PolicyContract, SamplingSpec
from models.digest import digest_of
from models.errors import NoSpaceError
from models.release.manifest import MANIFEST_NAME
from models.release.precision import GraphFormat
from models.runtime.load import RUNTIMES, check_runtime
from models.trust.admit import DeviceIdentity
from models.trust.policy import bytes_from_policy
from models.wire.messages import EventRecord, RangeRequest, ReleaseOffer, encode
from models.wire.topics import Channel, topic
from tests.fakes.broker import FakeBroker, FakeTransport, Subscriber
from tests.fakes.clock import FakeClock
from tests.fakes.depot import DepotResponder
from tests.fakes.disk import FakeDisk
from tests.fakes.manage import DEVICE, FLEET, SiteStore
from tests.fakes.mosquitto import wait_until
from tests.fakes.repositories import HARDWARE, NOW, Recipe, Site, small_contract

OLD = digest_of(b"the release that drives")
MINUTE_S = 60.0


@dataclass
class CountingStore(SiteStore):
    """Keeps which targets were asked for, and the bytes of them."""

    targets: list[tuple[str, int]] = field(default_factory=list)

    def target(self, path: str) -> bytes:
        data = super().target(path)
        self.targets.append((path.rpartition("/")[2].partition(".")[2], len(data)))
        return data


class ShrinkingDisk(FakeDisk):
    """Somebody else fills it: from the n-th append on there is no room for another."""

    appends_left = 1 << 30

    def append(self, name: str, data: bytes) -> None:
        self.appends_left -= 1
        if self.appends_left < 0:
            self._capacity_bytes = 0
        super().append(name, data)


@dataclass
class Rig:
    site: Site
    disk: Disk
    clock: FakeClock = field(default_factory=lambda: FakeClock(utc_ns=int(NOW.timestamp() * 1e9)))

    def __post_init__(self) -> None:
        self.broker, self.stopping = FakeBroker(), threading.Event()
        self.store = CountingStore(self.site)
        self.responder = DepotResponder(self.store, self.broker.publish)
        self.broker.subscribe(Subscriber(("roskva/v1/#",), self.responder.hear))
        transport, self.events = FakeTransport(self.broker), EventLog(self.clock)
        depot = Depot(transport, Patience(timeout_s=0.02, attempts=2, pause_s=0.001))
        contract, self.seen = small_contract(), list[EventRecord]()
        self.runtimes = RUNTIMES
        self.plant = PlantSpec(
            "test", contract.cameras, contract.ego_history, contract.instructions, contract.action_space
        )
        world = UpdateWorld(
            disk=self.disk,
            state=self.site.root / "device",
            run=self.site.root,
            clock=self.clock,
            depot=depot,
            identity=DeviceIdentity(DEVICE, HARDWARE),
            anchors=self.site.anchors,
            boot="boot",
            settings=UpdateSection(window=4),
            plant=lambda: self.plant,
            stopping=self.stopping,
            can_run=lambda precision: check_runtime(precision, self.runtimes),
        )
        world.state.mkdir(exist_ok=True)
        self.updater = Updater(world, self.events, lambda: True)
        receivers = Receivers(self.updater.offer, lambda _: None, depot.answered, lambda _: None)
        transport.start(Inbox(receivers, self.events).deliver)
        self.thread = threading.Thread(target=self.updater.run, daemon=True)

    def drive_with_old(self) -> Pointer:
        """The device drives a release already, in slot a."""
        self.disk.make_directory("slots/a")
        self.disk.write_at("slots/a/old", 0, b"drives")
        pointer = Pointer(live=Slot.A, live_digest=OLD)
        self.disk.write_at("slots/pointer.json", 0, msgspec.json.encode(pointer))
        return pointer

    def kinds(self) -> list[str]:
        self.seen += self.events.drain(1000)
        return [event.kind for event in self.seen]

    def wait_for(self, kind: str, times: int = 1) -> EventRecord:
        wait_until(lambda: self.kinds().count(kind) >= times, 20, f"{kind} {times} times")
        return [event for event in self.seen if event.kind == kind][-1]

    def ask_again(self, digest: str = "") -> None:
        """Somebody at the broker offers it once more, and the device goes through with it."""
        self.offer_until_asked(digest)
        wait_until(lambda: self.updater.status.phase.value == "idle", 20, "idle again")

    def offer_until_asked(self, digest: str = "") -> None:
        """Somebody at the broker offers it once more, and the device asks the repositories."""
        asked = self.responder.timestamps
        self.broker.publish(topic(FLEET, DEVICE, Channel.OFFER), encode(ReleaseOffer(digest)))

        def asks() -> bool:
            self.clock.advance(0.5)  # again and again: the thread may not have begun to wait yet
            return self.responder.timestamps > asked

        wait_until(asks, 20, "asked again")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@pytest.fixture
def rigs() -> Iterator[list[Rig]]:
    started: list[Rig] = []
    yield started
    for rig in started:
        rig.stopping.set()
        rig.thread.join(10)


def start(rig: Rig, rigs: list[Rig]) -> None:
    rigs.append(rig)
    rig.thread.start()


def small_contract_with(**changes: Any) -> PolicyContract:
    return msgspec.structs.replace(small_contract(), **changes)


def untrusted(site: Site) -> str:
    """An assigned release that only `verify` can refuse: every byte is as signed, its publisher is trusted no more."""
    release = site.publish()
    site.assign(DEVICE, release.digest)
    site.image.publish_policy(msgspec.structs.replace(site.image.policy(), publishers=()))
    return release.digest


def test_a_refused_release_is_not_fetched_again_however_often_the_broker_offers_it(
    site: Site, rigs: list[Rig]
) -> None:
    digest, rig = untrusted(site), Rig(site, FileDisk(site.root / "device"))
    start(rig, rigs)
    rig.wait_for("update-refused")
    fetched = rig.responder.bytes_served
    assert fetched
    for _ in range(5):
        rig.ask_again(digest)
    assert rig.responder.bytes_served == fetched
    assert rig.kinds().count("update-refused") == 1
    assert rig.updater.status.reason == "model-signature"


def test_after_its_pause_it_is_tried_once_more_and_the_next_pause_is_longer(
    site: Site, rigs: list[Rig]
) -> None:
    digest, rig = untrusted(site), Rig(site, FileDisk(site.root / "device"))
    start(rig, rigs)
    rig.wait_for("update-refused")
    once = rig.responder.bytes_served
    rig.clock.advance(10 * MINUTE_S)
    rig.ask_again(digest)
    rig.wait_for("update-refused", 2)
    assert rig.responder.bytes_served == 2 * once
    rig.clock.advance(10 * MINUTE_S)
    rig.ask_again(digest)
    assert rig.responder.bytes_served == 2 * once


def test_another_order_is_fetched_at_once_and_so_is_the_refused_one_when_ordered_anew(
    site: Site, rigs: list[Rig]
) -> None:
    first, second = site.publish("1.0.0", 1).digest, site.publish("2.0.0", 2).digest
    site.image.publish_policy(msgspec.structs.replace(site.image.policy(), publishers=()))
    rig = Rig(site, FileDisk(site.root / "device"))
    site.assign(DEVICE, first)
    start(rig, rigs)
    for times, digest in enumerate((first, second, first), start=1):
        site.assign(DEVICE, digest)
        rig.ask_again()
        assert rig.wait_for("update-refused", times).release_digest == digest


UNFIT: dict[str, PolicyContract] = {
    "a camera that the plant has not": small_contract_with(cameras=(CameraSpec("rear", 4, 4, 2, 10.0),)),
    "a sampling that is not done here": small_contract_with(sampling=SamplingSpec(0.6, 0.98, 1)),
    "more waypoints than are followed": small_contract_with(horizon_steps=129),
    "joints": small_contract_with(action_space=JointActions(("elbow",), ("rad",), (-1.0,), (1.0,))),
}


@pytest.mark.parametrize("unfit", list(UNFIT))
def test_a_contract_that_does_not_fit_is_refused_before_any_content_is_asked_for_and_not_again_in_vain(
    site: Site, rigs: list[Rig], unfit: str
) -> None:
    release = site.publish(recipe=Recipe(contract=UNFIT[unfit]))
    site.assign(DEVICE, release.digest)
    rig = Rig(site, FakeDisk())
    pointer = rig.drive_with_old()
    start(rig, rigs)
    refusal = rig.wait_for("update-refused")
    assert refusal.detail.startswith("[contract-mismatch] ")
    assert refusal.release_digest == release.digest
    for _ in range(3):
        rig.ask_again(release.digest)
    assert rig.responder.timestamps >= 4
    assert rig.responder.ranges == []
    manifest = (site.release_dir("1.0.0") / MANIFEST_NAME).read_bytes()
    policy_bytes = len(bytes_from_policy(site.image.policy()))
    assert rig.store.targets == [(MANIFEST_NAME, len(manifest)), ("builders.json", policy_bytes)]
    assert rig.kinds().count("update-refused") == 1
    assert "update-fetching" not in rig.kinds()
    assert rig.updater.status.reason == "contract-mismatch"
    assert rig.disk.list("slots") == ["a", "pointer.json"]
    assert read_pointer(rig.disk) == pointer


def test_it_is_fetched_once_the_plant_offers_what_was_missing(site: Site, rigs: list[Rig]) -> None:
    contract = UNFIT["a camera that the plant has not"]
    site.assign(DEVICE, site.publish(recipe=Recipe(contract=contract)).digest)
    rig = Rig(site, FileDisk(site.root / "device"))
    start(rig, rigs)
    rig.wait_for("update-refused")
    left = [path for path in (site.root / "device").rglob("*") if path.is_file()]
    assert {path.relative_to(site.root / "device").parts[0] for path in left} == {"trust"}
    manifest = (site.release_dir("1.0.0") / MANIFEST_NAME).read_bytes()
    assert manifest not in [path.read_bytes() for path in left], "TUF's metadata, and nothing of the release"
    rig.plant = msgspec.structs.replace(rig.plant, cameras=(*rig.plant.cameras, *contract.cameras))
    rig.offer_until_asked()
    rig.wait_for("update-verifying")
    assert len(rig.store.targets) == 2, "release.json and the trust policy were here already"


def test_a_release_whose_runtime_is_missing_is_refused_unfetched_and_fetched_once_that_is_installed(
    site: Site, rigs: list[Rig]
) -> None:
    site.assign(DEVICE, site.publish(recipe=Recipe()).digest)
    rig = Rig(site, FakeDisk())
    without = replace(RUNTIMES[GraphFormat.ONNX], packages=lambda: ("no_such_package",))
    rig.runtimes = {**RUNTIMES, GraphFormat.ONNX: without}
    start(rig, rigs)
    assert rig.wait_for("update-refused").detail.startswith("[runtime-missing] ")
    assert rig.responder.ranges == []
    rig.runtimes = RUNTIMES
    rig.offer_until_asked()
    rig.wait_for("update-verifying")


def test_a_network_that_fails_is_no_refusal_and_the_fetch_goes_on_at_the_next_offer(
    site: Site, rigs: list[Rig]
) -> None:
    rig = Rig(site, FakeDisk())
    arrived: list[RangeRequest] = []
    asked: list[RangeRequest] = []

    def half(ask: RangeRequest, data: bytes) -> bytes | None:
        if ask.offset_bytes:
            return None
        arrived.append(ask)
        return data

    rig.responder.mangle = half
    release = site.publish(recipe=Recipe(chunk_bytes=64))
    site.assign(DEVICE, release.digest)
    start(rig, rigs)
    wait_until(lambda: rig.responder.bytes_served > 0, 20, "some of it served")

    def put_off() -> bool:
        rig.clock.advance(20)  # again and again: what was served may still be on its way
        return "update-put-off" in rig.kinds()

    wait_until(put_off, 20, "put off")
    assert "[transfer]" in rig.wait_for("update-put-off").detail

    def listen(ask: RangeRequest, data: bytes) -> bytes:
        asked.append(ask)
        return data

    rig.responder.mangle = listen
    rig.offer_until_asked(release.digest)
    rig.wait_for("update-verifying")
    assert arrived
    assert asked
    assert not [ask for ask in asked if ask in arrived], "what had arrived was kept"


def test_a_disk_without_room_is_named_and_the_old_release_stays(site: Site, rigs: list[Rig]) -> None:
    disk = FakeDisk(capacity_bytes=1000)
    rig = Rig(site, disk)
    pointer = rig.drive_with_old()
    site.assign(DEVICE, site.publish().digest)
    start(rig, rigs)
    assert "[no-space]" in rig.wait_for("update-put-off").detail
    assert read_pointer(disk) == pointer
    assert disk.read("slots/a/old") == b"drives"
    assert disk.list("slots") == ["a", "pointer.json"]


@pytest.mark.parametrize("appends", range(4))
def test_a_disk_that_fills_up_in_the_middle_of_a_fetch_gets_its_room_back(
    site: Site, rigs: list[Rig], appends: int
) -> None:
    disk = ShrinkingDisk(64 << 20)
    disk.appends_left = appends
    rig = Rig(site, disk)
    pointer = rig.drive_with_old()
    site.assign(DEVICE, site.publish(recipe=Recipe(chunk_bytes=64)).digest)
    start(rig, rigs)
    assert "[no-space]" in rig.wait_for("update-put-off").detail
    assert read_pointer(disk) == pointer
    assert disk.read("slots/a/old") == b"drives"
    assert disk.list("slots") == ["a", "pointer.json"]
    disk.appends_left, disk._capacity_bytes = 1 << 30, 64 << 20
    rig.offer_until_asked()
    rig.wait_for("update-verifying")
    assert read_pointer(disk) == pointer


def test_a_journal_that_finds_no_room_leaves_no_slot_behind() -> None:
    class FullAtTheJournal(FakeDisk):
        def write_at(self, name: str, offset_bytes: int, data: bytes) -> None:
            if name.endswith(".journal.new"):
                self._capacity_bytes = 0
            super().write_at(name, offset_bytes, data)

    disk = FullAtTheJournal(64 << 20)
    with pytest.raises(NoSpaceError):
        SlotStore(disk).stage(OLD, [StagedFile("release.json", 100, 1)])
    assert not disk.exists("slots/a")
