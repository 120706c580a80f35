"""The end of a trial in virtual time: what control gives back at the last moment, and what a power cut then leaves."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from agent.board.change import SWAP, SWAP_BOARD, SwapOrder
from agent.board.records import NO_DIGEST, raw_from_digest
from agent.board.seqlock import BoardReader
from agent.config import UpdateSection
from agent.telemetry.events import EventLog
from agent.update.depot import Depot, Patience
from agent.update.floors import FloorStore
from agent.update.slots import POINTER, Pointer, Slot, read_pointer
from agent.update.steps import UpdateWorld
from agent.update.updater import Updater
from models.contract import PlantSpec
from models.digest import Digest, digest_of
from models.errors import NotNowError
from models.release.manifest import MANIFEST_NAME
from models.trust.admit import DeviceIdentity, TrustAnchors
from models.wire.messages import EventRecord
from tests.fakes.broker import FakeBroker, FakeTransport
from tests.fakes.clock import FakeClock
from tests.fakes.control import FakeControl
from tests.fakes.disk import FakeDisk, PowerCutError
from tests.fakes.repositories import Site

OLD = digest_of(b"the release that drove before")
TRIAL_S, COUNTER = 2.0, 7


class Moments(threading.Event):
    """Set when the process is to stop; waiting for that is how time passes here."""

    def __init__(self, pass_s: Callable[[float], None]) -> None:
        super().__init__()
        self._pass_s = pass_s

    def wait(self, timeout: float | None = None) -> bool:
        self._pass_s(timeout or 0.0)
        return self.is_set()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    site = Site(tmp_path_factory.mktemp("site"))
    site.publish(counter=COUNTER)
    return (site.release_dir("1.0.0") / MANIFEST_NAME).read_bytes()


class Device:
    """`manage` and a fake `control` around a disk on which a release is on trial; `control` may be None for a while."""

    def __init__(self, root: Path, manifest: bytes) -> None:
        self.root, self.clock, self.disk = root, FakeClock(), FakeDisk()
        self.new, self.boots = digest_of(manifest), 0
        self.control: FakeControl | None = None
        self.kinds: list[EventRecord] = []
        self.at_every_moment: Callable[[], None] = lambda: None
        for directory in ("slots", "slots/a", "slots/b", "trust"):
            self.disk.make_directory(directory)
        on_trial = Pointer(
            live=Slot.B, live_digest=self.new, fallback=Slot.A, fallback_digest=OLD, trial=True
        )
        for name, data in (
            (POINTER, msgspec.json.encode(on_trial)),
            (f"slots/b/{MANIFEST_NAME}", manifest),
        ):
            self.disk.write_at(name, 0, data)
            self.disk.sync(name)
        for directory in ("", "slots", "slots/b"):
            self.disk.sync_directory(directory)

    def boot(self, drives: Digest) -> FakeControl:
        """The power is back: nothing is on any board, and `control` drives this release."""
        self.boots += 1
        self.disk.reboot()
        return self.start_control(raw_from_digest(drives))

    def start_control(self, drives: bytes) -> FakeControl:
        self.control = FakeControl(self.run, live=drives)
        return self.control

    @property
    def run(self) -> Path:
        return self.root / f"run-{self.boots}"

    def manage(self) -> None:
        """`manage` from its start until there is nothing left to do, or until the power is cut."""
        stopping, events = Moments(self._pass), EventLog(self.clock)
        self._stopping = stopping

        def no_plant() -> PlantSpec:
            raise NotNowError("no plant")

        world = UpdateWorld(
            disk=self.disk,
            state=self.root,
            run=self.run,
            clock=self.clock,
            depot=Depot(FakeTransport(FakeBroker()), Patience()),
            identity=DeviceIdentity("thor-1", "thor"),
            anchors=TrustAnchors(b"", b""),
            boot=f"boot {self.boots}",
            settings=UpdateSection(trial_s=TRIAL_S),
            plant=no_plant,
            stopping=stopping,
        )
        updater = Updater(world, events, self._has_nothing_to_ask)
        updater.ask_soon()
        try:
            updater.run()
        finally:
            self.kinds += events.drain(1000)

    def stop(self) -> None:
        self._stopping.set()

    def _has_nothing_to_ask(self) -> bool:
        """Asked for the first time once what was under way has ended."""
        self.stop()
        return False

    def _pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.at_every_moment()
        if self.control is not None:
            self.control.turn(self.clock.mono_ns())

    def told(self) -> list[str]:
        return [event.kind for event in self.kinds]

    @property
    def pointer(self) -> Pointer:
        return read_pointer(self.disk)

    @property
    def floor(self) -> int:
        return FloorStore(self.disk).read().counter


@pytest.fixture
def device(tmp_path: Path, manifest: bytes) -> Device:
    return Device(tmp_path, manifest)


def is_kept(device: Device) -> bool:
    pointer = device.pointer
    return (pointer.live_digest, pointer.trial, pointer.quarantined) == (device.new, False, ())


def is_returned_from(device: Device) -> bool:
    pointer = device.pointer
    return (pointer.live_digest, pointer.trial, pointer.quarantined) == (OLD, False, (device.new,))


def test_a_candidate_that_drove_well_to_the_end_is_kept(device: Device) -> None:
    control = device.boot(OLD)
    device.manage()
    assert is_kept(device)
    assert control.orders == [SwapOrder.GO, SwapOrder.LOAD, SwapOrder.GO, SwapOrder.KEEP]
    assert device.told()[-1] == "update-passed"
    assert device.floor == COUNTER


def test_a_candidate_that_fails_after_the_last_look_of_its_trial_is_quarantined_and_the_old_one_is_live(
    device: Device,
) -> None:
    control = device.boot(OLD)
    control.fails_before_keep = "taken-over"
    device.manage()
    assert is_returned_from(device)
    assert control.live == raw_from_digest(OLD)
    assert device.told()[-1] == "update-returned"
    assert device.kinds[-1].detail.startswith("[taken-over]")
    assert device.floor == 0


def test_a_candidate_that_was_shown_nothing_on_its_way_to_the_wheel_is_asked_again_and_not_quarantined(
    device: Device,
) -> None:
    """As where the cameras were silent for minutes after the power came back."""
    control = device.boot(OLD)
    control.puts_off = 2
    device.manage()
    assert is_kept(device)
    assert control.orders.count(SwapOrder.LOAD) == 3


class Absence:
    """`control` ends at the moment of the order to keep; after `away_s` it is started anew, and loads what is live for 3 s."""

    def __init__(self, device: Device, away_s: float) -> None:
        self._device, self._away_s = device, away_s
        self.ended_ns, self.loaded = 0, False
        device.at_every_moment = self.look

    def look(self) -> None:
        device, now_ns = self._device, self._device.clock.mono_ns()
        if not self.ended_ns and ordered(device) is SwapOrder.KEEP:
            self.ended_ns, device.control = now_ns, None
        away_s = (now_ns - self.ended_ns) / 1e9 if self.ended_ns else 0.0
        assert device.pointer.trial or self.loaded, "committed, and nobody said that it is kept"
        if device.control is None and away_s >= self._away_s:
            device.start_control(NO_DIGEST)
        if device.control is not None and away_s >= self._away_s + 3.0 and not self.loaded:
            self.loaded, device.control.live = True, raw_from_digest(device.new)


def ordered(device: Device) -> SwapOrder:
    """What `manage` asked of `control` last."""
    with BoardReader(device.run / SWAP_BOARD, SWAP) as board:
        stamped = board.read()
    return SwapOrder(stamped.record.order) if stamped else SwapOrder.NONE


@pytest.mark.parametrize("away_s", [1.0, 10.0, 60.0])
def test_a_control_that_is_away_at_the_last_moment_costs_another_trial_and_not_the_release(
    device: Device, away_s: float
) -> None:
    device.boot(OLD)
    Absence(device, away_s)
    device.manage()
    assert is_kept(device)
    assert device.told().count("update-trial") == 2
    assert device.clock.mono_ns() / 1e9 > 2 * TRIAL_S + away_s


def test_while_control_stays_away_the_release_stays_on_trial(device: Device) -> None:
    device.boot(OLD)
    absence = Absence(device, 1e9)
    look = device.at_every_moment

    def until_stopped() -> None:
        look()
        if absence.ended_ns and device.clock.mono_ns() - absence.ended_ns > 120 * 10**9:
            device.stop()

    device.at_every_moment = until_stopped
    device.manage()
    assert (device.pointer.trial, device.floor) == (True, 0)


def cut_at_keep(device: Device, operations: int) -> bool:
    """Cut the power that many changes of the disk after the order to keep, which `control` takes at once; whether there were
    so many."""
    device.boot(OLD)
    armed: list[bool] = []

    def look() -> None:
        if ordered(device) is SwapOrder.KEEP and not armed:
            armed.append(True)
            device.disk.cut_after(operations)

    device.at_every_moment = look
    with suppress(PowerCutError):
        device.manage()
        return False
    device.at_every_moment = lambda: None
    device.disk.reboot(operations)
    return True


@pytest.mark.parametrize("fails", [False, True])
def test_a_power_cut_between_keep_and_commit_ends_in_a_trial_anew(
    tmp_path: Path, manifest: bytes, fails: bool
) -> None:
    anew = 0
    for operations in range(20):
        device = Device(tmp_path / str(operations), manifest)
        if not cut_at_keep(device, operations):
            break
        cut = device.pointer
        assert cut.live_digest == device.new
        control = device.boot(device.new)
        control.fails_in_trial = "gate" if fails else ""
        device.kinds.clear()
        device.manage()
        assert ("update-trial" in device.told()) == cut.trial
        assert (is_returned_from if cut.trial and fails else is_kept)(device)
        anew += cut.trial
    assert operations > anew >= 3


def test_a_manage_that_ends_between_keep_and_commit_tries_the_release_again(device: Device) -> None:
    assert cut_at_keep(device, 0)
    control = device.control
    assert control is not None
    device.manage()
    assert is_kept(device)
    assert control.orders[-2:] == [SwapOrder.GO, SwapOrder.KEEP]
