"""Updates on a device: when to look for one, and the walk through the machine.

Owns: the update thread, the state of the machine, and what is reported of it.
Must not know: how a step is done (`steps`), what leads where (`machine`).
"""

import random
import threading
from collections.abc import Callable

from agent.telemetry.events import EventLog
from agent.update.job import Job
from agent.update.machine import Do, On, step
from agent.update.refusals import Refused, may_fetch, refused, still_ordered
from agent.update.steps import Steps, StoppedError, UpdateWorld
from models.wire.messages import ReleaseOffer, UpdatePhase, UpdateStatus

_RETRY_S = 2.0
_IDLE_S = 0.25
_OFFERS_NS = 1_000_000_000
"""Offers come from anybody on the broker: they bring the question forward once a second at most."""


class Updater:
    """Call `run` on a thread of its own; `offer` and `status` from anywhere."""

    def __init__(self, world: UpdateWorld, events: EventLog, connected: Callable[[], bool]) -> None:
        self._world, self._events, self._connected = world, events, connected
        self._steps = Steps(world)
        self._phase, self._job = UpdatePhase.IDLE, Job()
        self._offered = threading.Event()
        self._refused: Refused | None = None
        self._said = ("", "")
        """Digest and reason of the last refusal that was reported."""
        self._failures = 0
        self._draw = random.Random()  # noqa: S311 - jitter, not a secret
        self._told = Job()
        """How the last update ended; shown while nothing is under way."""

    @property
    def status(self) -> UpdateStatus:
        """Where the update stands."""
        phase = self._phase
        return (self._told if phase is UpdatePhase.IDLE else self._job).status(phase)

    def offer(self, _offer: ReleaseOffer) -> None:
        """The server hints that something is new. What it says is not believed; it only brings the question forward."""
        self._offered.set()

    def ask_soon(self) -> None:
        """Offers may have been missed while there was no connection."""
        self._offered.set()

    def run(self) -> None:
        """Until the process stops: take up what was under way, then ask at each offer, connect and poll."""
        try:
            self._take(On.RESTARTED)
            while not self._world.stopping.is_set():
                self._wait_until_due()
                self._take(On.DUE)
        except StoppedError:
            pass
        finally:
            self._steps.close()

    def _wait_until_due(self) -> None:
        """Until there is a connection and either an offer or the time to ask by ourselves."""
        since_ns = self._world.clock.mono_ns()
        due_ns = since_ns + int(self._pause_s() * 1e9)
        while not self._world.stopping.is_set():
            now_ns = self._world.clock.mono_ns()
            asked = now_ns >= due_ns or (self._offered.is_set() and now_ns >= since_ns + _OFFERS_NS)
            if asked and self._connected():
                self._offered.clear()
                return
            waited = self._world.stopping if asked or self._offered.is_set() else self._offered
            waited.wait(_IDLE_S)
        raise StoppedError

    def _pause_s(self) -> float:
        """The poll interval; nothing at the first time; after a failure, a pause with full jitter."""
        if self._failures < 0:
            return self._world.settings.poll_s
        bound_s = min(self._world.settings.poll_s, _RETRY_S * 2.0 ** min(self._failures, 16))
        return self._draw.uniform(0.0, bound_s) if self._failures else 0.0

    def _take(self, event: On | None) -> None:
        """Walk the machine until an effect leaves nothing to react to."""
        if event is On.DUE:
            self._job = Job()
        while event is not None:
            event = self._known(event)
            row = step(self._phase, event)
            # An open update is shown in its phase from its first effect on; a closed one after its last.
            if row.next is not UpdatePhase.IDLE:
                self._enter(row.next)
            following: On | None = None
            for effect in row.effects:
                if effect is Do.REPORT:
                    self._report(event)
                else:
                    following = self._steps.perform(effect, self._job)
            if row.next is UpdatePhase.IDLE:
                self._close(event)
            event = following

    def _known(self, event: On) -> On:
        """A release that was fetched and refused is fetched again when its pause is over or the order changed."""
        if event is On.NOTHING_NEW:
            self._refused = None
        if event is not On.ADMITTED:
            return event
        self._refused = still_ordered(self._refused, self._job.order)
        now_ns = self._world.clock.mono_ns()
        return event if may_fetch(self._refused, self._job.order, now_ns) else On.NOTHING_NEW

    def _enter(self, phase: UpdatePhase) -> None:
        if phase is not self._phase:
            self._phase = phase
            if phase is UpdatePhase.ADMITTING:
                return  # asked every few minutes: no event
            detail = self._job.shadow if phase is UpdatePhase.TRIAL else ""
            self._events.record(f"update-{phase.value}", detail, self._job.digest or "")

    def _close(self, event: On) -> None:
        if event is not On.REFUSED:
            self._said = ("", "")
        if event is not On.RESTARTED:
            self._failures = max(self._failures, 0) + 1 if event is On.NOT_NOW else -1
        if event not in (On.NOTHING_NEW, On.RESTARTED):
            self._told = self._job
        elif event is On.RESTARTED and self._job.reason:
            self._told = self._job
            self._events.record(self._job.reason, self._job.detail)
        self._phase = UpdatePhase.IDLE

    def _report(self, event: On) -> None:
        """Say how it ended: the reason is the error's code, empty where the trial was passed."""
        digest = self._job.digest or ""
        if event is On.KEPT:
            self._job.reason = self._job.detail = ""
            self._events.record("update-passed", "", digest)
            return
        if event is On.REFUSED and not self._is_news(digest):
            return
        kind = {On.REFUSED: "update-refused", On.NOT_NOW: "update-put-off"}.get(event, "update-returned")
        self._events.record(kind, f"[{self._job.reason}] {self._job.detail}", digest)

    def _is_news(self, digest: str) -> bool:
        """Whether this refusal is to be reported: each one of fetched content, of the others only the first in a row."""
        said, self._said = self._said, (digest, self._job.reason)
        if self._phase is UpdatePhase.ADMITTING:
            return said != self._said
        self._refused = refused(self._refused, self._job.order, self._world.clock.mono_ns())
        return True
