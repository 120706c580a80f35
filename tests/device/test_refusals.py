"""What a driving device refuses, with everything real: the code is named, the old release drives on, nothing is left.

One device drives with a first release for the whole module; each test offers it something bad.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest

from agent.board.layout import text_from
from agent.board.records import LOOP, LOOP_BOARD, LoopRecord
from agent.board.seqlock import BoardReader
from bench.misses import Misses
from fleet.demo.commands import Commands
from fleet.demo.journey import Journey, Settings
from fleet.demo.processes import Processes, mosquitto
from fleet.demo.server import DeviceStatus
from fleet.demo.site import BuiltRelease
from models.digest import digest_of, hex_of
from models.release.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    ReleaseManifest,
    bytes_from_manifest,
    manifest_from_bytes,
)

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(mosquitto() is None, reason="Mosquitto is not installed"),
]

_READS = 10_000
PATIENCE_S = 60.0


@dataclass
class Driving:
    """A device that drives with `live`, and how to offer it another release."""

    journey: Journey
    processes: Processes
    live: BuiltRelease
    counter: int = 1

    def publish(self, change: Callable[[ReleaseManifest], ReleaseManifest]) -> BuiltRelease:
        """Publish the live release under the next version, with its manifest changed, signed anew."""
        self.counter += 1
        version = f"1.{self.counter}.0"
        site = self.journey.site
        folder = site.folder / "releases" / version
        shutil.copytree(self.live.folder, folder)
        (folder / SIGNATURE_NAME).unlink()
        renamed = msgspec.structs.replace(self.live.manifest, version=version, counter=self.counter)
        (folder / MANIFEST_NAME).chmod(0o644)
        (folder / MANIFEST_NAME).write_bytes(bytes_from_manifest(change(renamed)))
        run = site.commands.run
        run("roskva", "release", "sign", folder, "--keys", "keys")
        run("roskva", "release", "publish", folder, "--repo", "repo", "--keys", "keys")
        manifest, digest = manifest_from_bytes((folder / MANIFEST_NAME).read_bytes())
        self.journey.await_release(digest)
        return BuiltRelease(folder, digest, manifest)

    def refusal_of(self, release: BuiltRelease) -> str:
        """Order `release` and wait for the code that it is refused with."""
        self.journey.assign(release)
        refused: list[str] = []

        def is_refused(device: DeviceStatus) -> bool:
            update = device.state.update if device.state else None
            ended = update is not None and update.release_digest == release.digest and update.reason != ""
            if ended and update is not None:
                refused.append(update.reason)
            return ended

        self.journey.await_all(is_refused, "refused", PATIENCE_S)
        return refused[-1]

    @property
    def root(self) -> Path:
        return self.journey.devices[0].root

    def loop(self) -> LoopRecord:
        """The loop's record; asked again where the follower was put aside in the middle of writing one."""
        with BoardReader(self.root / "run/roskva" / LOOP_BOARD, LOOP) as board:
            reads = (board.read() for _ in range(_READS))
            stamped = next((stamped for stamped in reads if stamped is not None), None)
        assert stamped is not None, f"{LOOP_BOARD} was never whole in {_READS} reads"
        return stamped.record

    def stored(self, digest: str) -> Path:
        """Where the operator's repository keeps the content `digest`."""
        return self.journey.site.repo / "content" / digest.removeprefix("sha256:")


@pytest.fixture(scope="module")
def driving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driving]:
    folder = tmp_path_factory.mktemp("refusals")
    with Processes(folder / "logs") as processes:
        journey = Journey(
            folder, processes, Settings(devices=1, trial_s=2.0), Commands(folder, lambda _: None)
        )
        journey.site.record()
        live = journey.site.release("int8", "1.0.0", 1)
        journey.start_server()
        journey.start_witnesses()
        journey.start_devices()
        journey.assign(live)
        journey.await_driving(live.digest, PATIENCE_S)
        yield Driving(journey, processes, live)


@pytest.fixture(autouse=True)
def unharmed(driving: Driving) -> Iterator[None]:
    """Whatever was offered: the first release drives on, no tick is missed, the other slot holds no release."""
    before, misses = driving.loop(), Misses([driving.root / "run/roskva" / LOOP_BOARD])
    yield
    driving.journey.drive(1.0, lambda _: misses.look())
    after = driving.loop()
    assert after.ticks > before.ticks + 50
    if text_from(after.realtime).startswith("fifo"):
        machine = driving.journey.testimony()
        assert misses.unexplained(machine) == 0, misses.told(machine)
    state = driving.journey.server.devices()[0].state
    assert state is not None
    assert state.policy is not None
    assert state.live_digest == state.policy.release_digest == driving.live.digest
    slots = driving.root / "var/lib/roskva/slots"
    whole = [slot.name for slot in slots.iterdir() if slot.is_dir() and (slot / MANIFEST_NAME).exists()]
    assert len(whole) == 1, f"a refused release was left behind: {whole}"


def test_a_flipped_byte_in_a_file_is_named_and_never_lands(driving: Driving) -> None:
    release = driving.publish(_another_moment)
    action = driving.stored(release.manifest.file_of("action").digest)
    honest = action.read_bytes()
    _overwrite(action, _flipped(honest))
    try:
        assert driving.refusal_of(release) == "digest-mismatch"
    finally:
        _overwrite(action, honest)


def test_a_flipped_byte_in_the_signature_is_named_and_never_lands(driving: Driving) -> None:
    release = driving.publish(_another_moment)
    signature = driving.stored(_hex_of_file(release.folder / SIGNATURE_NAME))
    honest = signature.read_bytes()
    _overwrite(signature, _flipped(honest))
    try:
        assert driving.refusal_of(release) in {"digest-mismatch", "model-signature"}
    finally:
        _overwrite(signature, honest)


def test_a_release_for_another_contract_is_refused_before_anything_is_fetched(driving: Driving) -> None:
    def with_another_camera(manifest: ReleaseManifest) -> ReleaseManifest:
        camera, *others = manifest.contract.cameras
        cameras = (msgspec.structs.replace(camera, name="rear_wide_120"), *others)
        contract = msgspec.structs.replace(manifest.contract, cameras=cameras)
        return msgspec.structs.replace(manifest, contract=contract)

    sent_before = driving.journey.server.get("health")["content_sent_bytes"]
    assert driving.refusal_of(driving.publish(with_another_camera)) == "contract-mismatch"
    sent = driving.journey.server.get("health")["content_sent_bytes"] - sent_before
    assert sent < driving.live.size_bytes / 2


def test_a_release_for_another_device_class_is_not_even_ordered(driving: Driving) -> None:
    release = driving.publish(lambda m: msgspec.structs.replace(m, hardware=("thor-t4000",)))
    order = {"device": driving.journey.devices[0].id, "release_digest": release.digest}
    answer = driving.journey.server.client.post("assignments", json=order)
    assert httpx.codes.is_client_error(answer.status_code)
    assert answer.json()["code"] == "device-class-mismatch"


def test_a_broker_that_goes_away_costs_the_loop_nothing_and_is_found_again(driving: Driving) -> None:
    driving.processes.kill("broker")
    before = driving.loop().ticks
    device = driving.journey.devices[0].id
    while driving.loop().ticks < before + 300:
        driving.processes.check()
    driving.journey.restart_broker()
    newest = max(d.record.sequence for d in driving.journey.server.decisions(device, limit=1000))
    driving.journey.await_all(lambda d: d.connection == "online" and d.state is not None, "back", PATIENCE_S)
    driving.journey.await_decision_after(device, newest, PATIENCE_S)


def _another_moment(manifest: ReleaseManifest) -> ReleaseManifest:
    return msgspec.structs.replace(manifest, created_utc="2026-01-01T00:00:00Z")


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def _hex_of_file(path: Path) -> str:
    return hex_of(digest_of(path.read_bytes()))
