"""One emulated device that nobody manages: two releases in its slots, and orders to `control` as `manage` gives them.

Owns: its site, its slots, its processes, one change of release after the other. Must not know: what is measured meanwhile.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.adapters.clock import MonotonicClock
from agent.adapters.files import FileDisk
from agent.app.worker import TRUST_POLICY
from agent.board.change import CandidateState, PolicyRecord, SwapOrder
from agent.board.layout import text_from
from agent.board.records import APPLIED_RING, raw_from_digest
from agent.config import load_config
from agent.update.slots import Slot, SlotStore, StagedSlot
from agent.update.swap import ControlLine
from fleet.demo.commands import Commands
from fleet.demo.devices import Device, DeviceSettings
from fleet.demo.processes import Processes, free_port, pause, program
from fleet.demo.site import BuiltRelease, Site
from models.errors import NotNowError

_SEED = 41
_DECISION_HZ = 10.0
_POLL_S = 0.02
_PATIENCE_S = 120.0
_CONTROL = "control"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Offline:
    """The device below `folder`; `precisions` are those of the releases in slot a, which drives at first, and b."""

    folder: Path
    processes: Processes
    core: int
    precisions: tuple[str, str]
    envelope_w: float = 120.0

    @property
    def root(self) -> Path:
        """Of the device."""
        return self.folder / "device"

    @property
    def run(self) -> Path:
        """Where its boards are."""
        return self.root / load_config(self.root).paths.run

    @property
    def disk(self) -> FileDisk:
        """Its state."""
        return FileDisk(self.root / load_config(self.root).paths.state)

    def start(self) -> tuple[StagedSlot, StagedSlot]:
        """Make the site, its releases and the device, and start the plant and the governor; returns what is in the slots."""
        commands = Commands(self.folder, lambda _: None)
        site = Site(self.folder, commands)
        site.record()
        releases = [site.release(each, f"1.{n}.0", n + 1) for n, each in enumerate(self.precisions)]
        device = Device(self._settings(), self.root, _SEED)
        device.create(site.trust, commands, self.processes.volatile_folder())
        self.run.mkdir(exist_ok=True)
        slots = self._fill(site, releases[0], releases[1])
        for part in ("emulate", "power"):
            device.start_part(part, self.processes)
        return slots

    def _settings(self) -> DeviceSettings:
        """Nobody listens on the port."""
        return DeviceSettings(
            id="thor-1",
            fleet="bench",
            port=free_port(),
            envelope_w=self.envelope_w,
            decision_hz=_DECISION_HZ,
            core=self.core,
        )

    def _fill(self, site: Site, first: BuiltRelease, second: BuiltRelease) -> tuple[StagedSlot, StagedSlot]:
        """Put a release in each slot, the first one live, beside the policy that says whose signatures count."""
        a, b = StagedSlot(Slot.A, first.digest), StagedSlot(Slot.B, second.digest)
        for staged, release in ((a, first), (b, second)):
            shutil.copytree(release.folder, self.disk.path(staged.slot.directory))
        policy = self.disk.path(TRUST_POLICY)
        policy.parent.mkdir(exist_ok=True)
        shutil.copyfile(site.keys / "public/builders.json", policy)
        slots = SlotStore(self.disk)
        slots.flip(a)
        slots.commit()
        return a, b

    def live_first(self, slots: tuple[StagedSlot, StagedSlot]) -> tuple[StagedSlot, StagedSlot]:
        """`slots`, the one that is live before the other."""
        first, second = slots
        return slots if SlotStore(self.disk).pointer().live == first.slot else (second, first)

    @contextmanager
    def control(self, argv: Sequence[str]) -> Iterator[ControlLine]:
        """`control`, started by `argv`, in the block, and its loop; the line to it."""
        self.processes.start(_CONTROL, list(argv))
        line = ControlLine(self.run, MonotonicClock())
        try:
            while (told := line.policy()) is not None and told.driving:  # what the one before said last
                self.processes.check()
                pause(_POLL_S)
            while not (self.run / APPLIED_RING).exists():
                self.processes.check()
                pause(_POLL_S)
            yield line
        finally:
            line.close()
        self.processes.stop(_CONTROL)

    @property
    def ours(self) -> list[str]:
        """The command that starts `control` as it is."""
        return [program("roskva-agent"), "control", "--root", str(self.root)]


@dataclass(frozen=True, slots=True)
class Changing:
    """Changes of release on `line`, one step after the other, while `look` is called 50 times a second.

    The slots' pointer is moved when `manage` moves it. Each step raises `NotNowError` where it is not done in two minutes.
    """

    device: Offline
    line: ControlLine
    look: Callable[[], None]

    def load(self, staged: StagedSlot) -> None:
        """Have it loaded beside the one that drives."""
        self._order(SwapOrder.LOAD, staged)
        told = self._until(CandidateState.READY, CandidateState.REFUSED)
        if told.candidate == CandidateState.REFUSED:
            reason, detail = text_from(told.reason), text_from(told.detail)
            raise NotNowError(
                f"the release in slot {staged.slot} was refused [{reason}]: {detail}; is the machine busy?"
            )

    def go(self, staged: StagedSlot) -> PolicyRecord:
        """Make it durably live, on trial, and let it drive; returns what `control` said then."""
        SlotStore(self.device.disk).flip(staged)
        self._order(SwapOrder.GO, staged)
        return self._until(CandidateState.DRIVING)

    def keep(self, staged: StagedSlot) -> PolicyRecord | None:
        """The trial is passed, unless it fails at this very moment: then what `control` says of that."""
        self._order(SwapOrder.KEEP, staged)
        told = self._until(CandidateState.NONE, CandidateState.FAILED)
        if told.candidate == CandidateState.FAILED:
            return told
        SlotStore(self.device.disk).commit()
        return None

    def failed(self, seconds: float) -> PolicyRecord | None:
        """Wait until `control` says that the candidate failed; None where it does not in so many seconds."""
        return self.wait(lambda: self._answer_in(CandidateState.FAILED), seconds)

    def go_back(self, staged: StagedSlot) -> None:
        """Make the one before durably live, and have `control` forget the candidate."""
        SlotStore(self.device.disk).go_back()
        self._order(SwapOrder.RETURN, staged)
        self._until(CandidateState.FAILED)
        self._order(SwapOrder.DROP, staged)
        self._until(CandidateState.NONE)

    def await_driving(self, staged: StagedSlot) -> None:
        """Return once `control` says that this release drives."""
        raw = raw_from_digest(staged.digest)
        policy = self.line.policy

        def drives() -> PolicyRecord | None:
            told = policy()
            return told if told and told.driving and told.digest == raw else None

        if self.wait(drives, _PATIENCE_S) is None:
            raise NotNowError(f"the release in slot {staged.slot} does not drive; control says {policy()}")

    def wait(self, found: Callable[[], T | None], seconds: float) -> T | None:
        """The first thing that `found` finds; None where it finds nothing in so many seconds."""
        clock = MonotonicClock()
        deadline_ns = clock.mono_ns() + round(seconds * 1e9)
        while (told := found()) is None and clock.mono_ns() < deadline_ns:
            self.device.processes.check()
            self.look()
            pause(_POLL_S)
        return told

    def drive(self, seconds: float) -> None:
        """Let time pass."""
        self.wait(_nothing, seconds)

    def _order(self, order: SwapOrder, staged: StagedSlot) -> None:
        self.line.order(order, staged.digest, str(staged.slot))

    def _answer_in(self, *states: CandidateState) -> PolicyRecord | None:
        answer = self.line.answer()
        return answer if answer is not None and answer.candidate in states else None

    def _until(self, *states: CandidateState) -> PolicyRecord:
        found = self.wait(lambda: self._answer_in(*states), _PATIENCE_S)
        if found is None:
            wanted = " or ".join(state.name for state in states)
            raise NotNowError(f"the candidate is not {wanted}; control says {self.line.policy()}")
        return found


def _nothing() -> None:
    """What is waited for where only time is to pass."""
