"""How each effect of the update machine is carried out on a device.

Owns: the order of durable writes and orders to `control` inside an effect. A release goes through here as
`AdmittedRelease` → fetched files → `VerifiedRelease` → `StagedSlot` → live on trial.
Must not know: which effect follows which (that is `machine`), topics, MQTT.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from agent.board.change import CandidateState, PolicyRecord, SwapOrder
from agent.board.layout import text_from
from agent.board.records import raw_from_digest
from agent.config import UpdateSection
from agent.errors import BoardError, QuarantinedError, SensorError
from agent.ports import Clock, Disk
from agent.update.depot import Depot
from agent.update.drivable import check_drivable
from agent.update.fetch import FetchWorld, WantedRelease, fetch
from agent.update.floors import FloorStore
from agent.update.job import Job
from agent.update.machine import Do, On
from agent.update.remembered import RememberedTargets
from agent.update.slots import MAX_TRIAL_BOOTS, SlotStore, StagedSlot, staged_from_pointer
from agent.update.swap import ControlLine
from agent.update.trial import Trial, Verdict, judged
from agent.update.window import FetchLimits
from models.contract import PlantSpec
from models.digest import Digest
from models.errors import DigestMismatchError, DiskError, NoSpaceError, NotNowError, RoskvaError
from models.release.manifest import MANIFEST_NAME, ReleaseManifest, manifest_from_bytes
from models.release.verify import verify
from models.runtime.load import check_runtime
from models.trust.admit import DeviceIdentity, TrustAnchors, admit

_LOOK_S = 0.1
_LOAD_S = 900.0
"""A worker may take this long to load, warm and check a release, and to have its latency admitted."""
_CONTROL_S = 15.0
"""How long an absent `control` is waited for before the update is put off, or the trial begins anew."""
_REMIND_LOOKS = 50
_RETURN_ATTEMPTS = 10
_PATIENCE_S = 2.0


_OVER = (CandidateState.FAILED, CandidateState.REFUSED, CandidateState.NONE)
"""Where nothing is loaded that could drive."""
_WORLD = frozenset(kind.code for kind in (NotNowError, BoardError, DiskError, NoSpaceError, SensorError))
"""Reasons of a worker that say nothing about its release: it is tried again, and not quarantined."""
_MAY_FAIL = frozenset({Do.ADMIT, Do.FETCH, Do.VERIFY, Do.LOAD, Do.FLIP})


class StoppedError(Exception):
    """The process ends; whatever was under way goes on after the next start."""


@dataclass(frozen=True, slots=True)
class UpdateWorld:
    """What the steps work with.

    `disk` is the state directory and `state` its path; `run` is where boards are; `plant` says what is driven, or
    raises `BoardError` while nobody does. `can_run` raises `RuntimeMissingError` where no runtime is installed for a
    precision.
    """

    disk: Disk
    state: Path
    run: Path
    clock: Clock
    depot: Depot
    identity: DeviceIdentity
    anchors: TrustAnchors
    boot: str
    settings: UpdateSection
    plant: Callable[[], PlantSpec]
    stopping: threading.Event
    can_run: Callable[[str], None] = check_runtime


class Steps:
    """The doings, one method an effect; each returns the event that it ends in, or None where others follow."""

    def __init__(self, world: UpdateWorld) -> None:
        self._world = world
        self.slots, self.floors = SlotStore(world.disk), FloorStore(world.disk)
        self._line = ControlLine(world.run, world.clock)
        self._repositories = RememberedTargets(world.depot)
        self._doings: dict[Do, Callable[[Job], On | None]] = {
            Do.ADMIT: self._admit,
            Do.FETCH: self._fetch,
            Do.VERIFY: self._verify,
            Do.LOAD: self._load,
            Do.FLIP: self._flip,
            Do.GO: self._go,
            Do.JUDGE: self._judge,
            Do.KEEP: self._keep,
            Do.COMMIT: self._commit,
            Do.RAISE_FLOORS: self._raise_floors,
            Do.POINT_BACK: self._point_back,
            Do.RETURN: self._return,
            Do.QUARANTINE: self._quarantine,
            Do.DROP: self._drop,
            Do.DISCARD: self._discard,
            Do.RECONCILE: self._reconcile,
        }

    def perform(self, effect: Do, job: Job) -> On | None:
        """Carry out `effect`. What may fail becomes an event with the reason noted in `job`; what may not, raises."""
        try:
            return self._doings[effect](job)
        except (RoskvaError, OSError) as error:
            if effect not in _MAY_FAIL:
                raise
            return job.blame(error)

    def close(self) -> None:
        """Unmap the boards."""
        self._line.close()

    # Before the switch.

    def _admit(self, job: Job) -> On:
        world, pointer = self._world, self.slots.pointer()
        utc_ns = self.floors.trusted_utc_ns(world.clock.utc_ns())
        now, floor = datetime.fromtimestamp(utc_ns / 1e9, UTC), self.floors.read().counter
        trust = world.state / "trust"
        admitted = admit(self._repositories, world.anchors, world.identity, trust, floor, now)
        if admitted is None or admitted.digest == pointer.live_digest:
            return On.NOTHING_NEW
        job.admitted, job.digest, job.manifest = admitted, admitted.digest, admitted.manifest
        if admitted.digest in pointer.quarantined:
            raise QuarantinedError(f"release {admitted.manifest.version} failed on this device before")
        check_drivable(admitted.manifest.contract, world.plant())
        world.can_run(admitted.manifest.precision)
        return On.ADMITTED

    def _fetch(self, job: Job) -> On:
        admitted, world = job.admitted, self._world
        assert admitted is not None
        wanted = WantedRelease(
            admitted.digest,
            admitted.manifest,
            admitted.manifest_bytes,
            admitted.signature_digest,
            admitted.signature_size_bytes,
        )

        def progress(done: int, total: int) -> None:
            job.bytes_done, job.bytes_total = done, total

        job.bytes_total = wanted.size_bytes
        limits = _limits_from(world.settings)
        try:
            staging = self.slots.stage(admitted.digest, wanted.files())
            job.staged = fetch(
                wanted, staging, FetchWorld(world.depot, world.clock, limits, world.stopping, progress)
            )
        except NoSpaceError:
            # What is here of it would keep the room from everything else, and from its own next attempt.
            self.slots.discard_free()
            raise
        return On.FETCHED

    def _verify(self, job: Job) -> On:
        assert job.admitted is not None
        directory = self._world.state / job.slot.directory
        with verify(directory, job.admitted.digest, job.admitted.policy):
            return On.VERIFIED

    def _load(self, job: Job) -> On:
        assert job.admitted is not None
        self.floors.store_builders(job.admitted.policy_bytes)
        return self._load_slot(job)

    def _load_slot(self, job: Job) -> On:
        self._order(SwapOrder.LOAD, job)
        absent_s = waited_s = 0.0
        while waited_s < _LOAD_S and absent_s < _CONTROL_S:
            self._pause()
            waited_s += _LOOK_S
            absent_s = 0.0 if self._line.policy() else absent_s + _LOOK_S
            policy = self._line.answer()
            if policy is None:
                continue
            if policy.candidate == CandidateState.READY:
                return On.READY
            if policy.candidate not in (CandidateState.LOADING, CandidateState.SHADOW):
                return self._refused_by(policy, job)
        job.reason, job.detail = "control", "control does not run, or did not get the release ready in time"
        return On.NOT_NOW

    # The switch and the trial.

    def _flip(self, job: Job) -> On:
        assert job.staged is not None
        self.slots.flip(job.staged)
        return On.FLIPPED

    def _go(self, job: Job) -> On:
        """Order, then wait until the candidate drives, for as long as the vehicle needs: deny by default."""
        if job.manifest is None:
            return On.BREACHED
        if self.slots.pointer().trial_boots > MAX_TRIAL_BOOTS:
            job.reason, job.detail = "trial-boots", "the device started again and again on trial"
            return On.BREACHED
        assert job.digest is not None
        self._order(SwapOrder.GO, job)
        for look in count(1):
            self._pause()
            policy = self._line.answer()
            if policy is None:
                continue
            if policy.candidate == CandidateState.DRIVING:
                job.shadow = self._line.shadow(job.digest)
                break
            if policy.candidate in _OVER and not self._asked_again(policy, job):
                return On.BREACHED
            if policy.candidate == CandidateState.READY and look % _REMIND_LOOKS == 0:
                self._order(SwapOrder.GO, job)  # its worker may have died and come back while we asked
        return On.DRIVING

    def _asked_again(self, policy: PolicyRecord, job: Job) -> bool:
        """Ask for the candidate again where control forgot it, or where the world was in its way; whether that was so."""
        if policy.candidate == CandidateState.NONE:
            return self._remind(policy, job) is not On.REFUSED
        if self._refused_by(policy, job) is On.REFUSED:
            return False
        if self._load_slot(job) is On.READY:
            self._order(SwapOrder.GO, job)
        return True

    def _remind(self, policy: PolicyRecord, job: Job) -> On | None:
        """Control was started anew and has forgotten; where it drives another release, it must load ours first."""
        if policy.driving and policy.digest != raw_from_digest(job.digest):
            loaded = self._load_slot(job)
            if loaded is not On.READY:
                return loaded
        self._order(SwapOrder.GO, job)
        return None

    def _judge(self, job: Job) -> On:
        assert job.digest is not None
        trial, trial_ns = Trial(), round(self._world.settings.trial_s * 1e9)
        while trial.verdict is Verdict.OPEN:
            self._pause()
            sample = self._line.sample(job.digest)
            if sample is None:
                continue
            if sample.candidate is CandidateState.NONE:
                self._order(SwapOrder.GO, job)  # control was started anew in the trial
            trial = judged(trial, sample, trial_ns)
        job.reason, job.detail = trial.reason, trial.detail
        return On.PASSED if trial.verdict is Verdict.PASSED else On.BREACHED

    def _keep(self, job: Job) -> On:
        """Order, then see what became of the candidate, for control may have given the wheel back meanwhile.

        Where control is absent, or was started anew and has forgotten the trial, nobody knows: the pointer stays on trial.
        """
        assert job.digest is not None
        self._order(SwapOrder.KEEP, job)
        self._wait(lambda: self._line.answer() is not None, _CONTROL_S)
        sample = self._line.sample(job.digest)
        if sample is None or (sample.candidate is CandidateState.NONE and not sample.drives):
            return On.NOT_NOW
        if sample.candidate is CandidateState.NONE:
            return On.KEPT
        job.reason, job.detail = sample.reason or "candidate-failed", sample.detail
        return On.BREACHED

    def _commit(self, _job: Job) -> None:
        self.slots.commit()

    def _raise_floors(self, job: Job) -> None:
        assert job.manifest is not None
        self.floors.raise_counter(job.manifest.counter)

    # The way back.

    def _point_back(self, _job: Job) -> None:
        self.slots.go_back()

    def _return(self, job: Job) -> On:
        """Have the live release drive again: back from the candidate, or loaded anew where it is not in memory."""
        live = self.slots.pointer().live_digest
        self._order(SwapOrder.RETURN, job)
        self._wait(lambda: self._line.answer() is not None)
        for _ in range(_RETURN_ATTEMPTS):
            # The first one makes control forget the failure, later ones make it load what is durably live.
            self._order(SwapOrder.DROP, job)
            if self._wait(lambda: self._drives_live(live)):
                break
        return On.RETURNED

    def _drives_live(self, live: str) -> bool:
        policy = self._line.answer()
        if policy is None or policy.candidate != CandidateState.NONE:
            return False
        return not live or (bool(policy.driving) and policy.digest == raw_from_digest(Digest(live)))

    def _wait(self, holds: Callable[[], bool], seconds: float = _PATIENCE_S) -> bool:
        """Whether `holds` came true within so many seconds."""
        for _ in range(round(seconds / _LOOK_S)):
            if holds():
                return True
            self._pause()
        return holds()

    def _quarantine(self, job: Job) -> None:
        assert job.digest is not None
        self.slots.quarantine(job.digest)

    def _drop(self, job: Job) -> None:
        self._order(SwapOrder.DROP, job)

    def _discard(self, _job: Job) -> None:
        self.slots.discard_free()

    # After a start.

    def _reconcile(self, job: Job) -> On | None:
        """Take up the trial that was under way; otherwise tell `control` to forget what it may have been told."""
        if self.slots.set_aside_broken_pointer():
            job.reason, job.detail = "malformed", "the slot pointer was broken and was set aside"
        pointer = self.slots.count_trial_boot(self._world.boot)
        staged = staged_from_pointer(pointer)
        if staged is None or not pointer.trial:
            self._tidy(Job(digest=staged.digest, staged=staged) if staged else Job())
            return None
        job.digest, job.staged = staged.digest, staged
        try:
            job.manifest = self._manifest_of(staged)
        except (RoskvaError, OSError) as error:
            job.blame(error)  # without a manifest there is nothing to judge by: `_go` sends it back
        return On.TRIAL_FOUND

    def _manifest_of(self, staged: StagedSlot) -> ReleaseManifest:
        manifest, digest = manifest_from_bytes(
            self._world.disk.read(f"{staged.slot.directory}/{MANIFEST_NAME}")
        )
        if digest != staged.digest:
            raise DigestMismatchError(f"slot {staged.slot} does not hold {staged.digest}")
        return manifest

    def _tidy(self, live: Job) -> None:
        """No trial is under way; a candidate that control still has is kept if it is live, and else sent back."""
        policy = self._line.policy()
        if policy is None or policy.candidate == CandidateState.NONE:
            return
        if policy.candidate != CandidateState.DRIVING:
            self._order(SwapOrder.DROP, live)
        elif policy.digest == raw_from_digest(live.digest):
            self._order(SwapOrder.KEEP, live)
        else:
            self._return(live)

    # Small things.

    def _order(self, order: SwapOrder, job: Job) -> int:
        return self._line.order(order, job.digest, str(job.slot) if job.staged else "")

    def _pause(self) -> None:
        if self._world.stopping.wait(_LOOK_S):
            raise StoppedError

    def _refused_by(self, policy: PolicyRecord, job: Job) -> On:
        """Note control's reason; where the world was in the way (no plant, a disk that fails), the release is not to blame."""
        job.reason = text_from(policy.reason) or "candidate-failed"
        job.detail = text_from(policy.detail)
        return On.NOT_NOW if job.reason in _WORLD else On.REFUSED


def _limits_from(settings: UpdateSection) -> FetchLimits:
    return FetchLimits(settings.window, int(settings.request_timeout_s * 1e9), settings.max_bytes_per_s)
