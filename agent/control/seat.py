"""A seat: one child process, watched through its board.

Owns: what can be said of a worker or the follower from outside (loading, ready, refused, dead, hung, late), and when to
start it again. Must not know: which seat drives, orders, what a plan says.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from agent.board.feed import Feed
from agent.board.layout import text_from
from agent.board.records import (
    LIMITS,
    LOOP,
    LOOP_BOARD,
    PLAN,
    WORKER,
    LimitsRecord,
    LoopRecord,
    PlanRecord,
    Worker,
    WorkerRecord,
    WorkerState,
    limits_board,
    plan_board,
    worker_board,
)
from agent.control.plan import FollowRules
from models.digest import Digest

_S = 1_000_000_000
HUNG_NS = 3 * _S
_HUNG_ON_TRIAL_NS = 1 * _S
_HUNG_DECISIONS = 3
_SLOWEST_NS = 30 * _S
"""The slowest decision that a release may promise for itself: what a policy of tens of billions of weights takes."""
_LATE_MAX = 10
"""So many plans in a row that the follower calls old when they come are no hiccup: as many as a worker may fail to make."""
_FOLLOWER_HUNG_NS = 2 * _S
_FOLLOWER_PAUSE_NS = _S // 2
LOAD_NS = 120 * _S
_SETTLED_NS = 30 * _S
_BACKOFF_NS = (0, _S // 5, _S, 2 * _S, 5 * _S)
_REFUSED_NS = 10 * _S


def hung_after_ns(promised_ns: int, *, on_trial: bool) -> int:
    """How long a worker that promises `promised_ns` a decision may say nothing: it says nothing while it decides."""
    least_ns = _HUNG_ON_TRIAL_NS if on_trial else HUNG_NS
    return max(least_ns, _HUNG_DECISIONS * min(promised_ns, _SLOWEST_NS))


class Child(Protocol):
    """A process that we started; `subprocess.Popen` is one."""

    pid: int

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...

    def wait(self) -> int:
        """Reap it."""
        ...


class _Occupied:
    """What all seats can do with the child in them."""

    _child: Child | None = None

    @property
    def pid(self) -> int:
        """The number of the process that is in the seat, 0 where none is."""
        return self._child.pid if self._child else 0

    def end(self) -> None:
        """Kill the child and reap it: it has nothing to save."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def ask_to_end(self) -> None:
        """SIGTERM; `end` makes sure of it."""
        if self._child is not None and self.runs:
            self._child.terminate()

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._child is not None and self._child.poll() is None


@dataclass(frozen=True, slots=True)
class Release:
    """A release in a slot of this device."""

    slot: str
    digest: Digest


class Pulse(Enum):
    """How a worker is, from outside."""

    LOADING = auto()
    SHADOW = auto()
    READY = auto()
    REFUSED = auto()
    DEAD = auto()
    HUNG = auto()
    LATE = auto()
    """It lives and decides, on what it saw too long ago: nothing that it says is of use."""


_LOADED: dict[int, Pulse] = {WorkerState.SHADOW: Pulse.SHADOW, WorkerState.READY: Pulse.READY}


class Seat(_Occupied):
    """One place, taken by a worker for `release` as long as the seat exists; the worker may be started again."""

    def __init__(self, run: Path, place: Worker, release: Release) -> None:
        self.place, self.release = place, release
        self.epoch = 0
        self.deaths = 0
        self.reason, self.detail = "", ""
        self.on_trial = False
        self._board: Feed[WorkerRecord] = Feed(run / worker_board(place), WORKER)
        self._limits: Feed[LimitsRecord] = Feed(run / limits_board(place), LIMITS)
        self._plans: Feed[PlanRecord] = Feed(run / plan_board(place), PLAN)
        self._started_ns = self._late = 0
        self._decided = False
        self._row = 0
        self.due_ns: int | None = 0
        """When to start a worker here; None while one runs."""

    def started(self, child: Child, epoch: int, mono_ns: int) -> None:
        """A worker with this `epoch` was started in the seat."""
        self._child, self.epoch, self._started_ns, self.due_ns = child, epoch, mono_ns, None
        self._late, self._decided = 0, False

    def promised_ns(self, mono_ns: int) -> int:
        """The latency that the release of the worker that sits here promises, 0 while that isn't known."""
        limits = self._promised(mono_ns)
        return limits.decision_p99_ns if limits else 0

    def promised_j(self, mono_ns: int) -> float:
        """The energy a decision that it promises, NaN where it promises none or that isn't known."""
        limits = self._promised(mono_ns)
        return limits.max_decision_j if limits else math.nan

    def _promised(self, mono_ns: int) -> LimitsRecord | None:
        self._limits.news(mono_ns)
        told = self._limits.latest
        return told.record if told and told.record.epoch == self.epoch else None

    def silence_ns(self, mono_ns: int) -> int:
        """How long the worker that sits here may say nothing now."""
        return hung_after_ns(self.promised_ns(mono_ns), on_trial=self.on_trial)

    def overdue_ns(self, mono_ns: int) -> int:
        """How long the worker that sits here has said nothing, beyond what it promises for a decision."""
        return self._silent_ns(mono_ns) - self.promised_ns(mono_ns)

    def _silent_ns(self, mono_ns: int) -> int:
        """Since it spoke last, or was started."""
        spoke = self._board.latest if self.figures(mono_ns) else None
        return mono_ns - (spoke.mono_ns if spoke else self._started_ns)

    def fresh_ns(self, mono_ns: int) -> int:
        """Up to which age the follower calls a plan of this worker fresh."""
        rules = FollowRules(latency_ns=max(self.promised_ns(mono_ns), 0))
        return rules.fresh_ns(self.plan.steps * self.plan.dt_ns if self.plan else 0)

    @property
    def plan(self) -> PlanRecord | None:
        """The latest plan of the worker that sits here, as `pulse` found it."""
        told = self._plans.latest
        return told.record if told and told.record.epoch == self.epoch else None

    def pulse(self, mono_ns: int) -> Pulse:
        """How the worker is now; of one that is no longer of use `reason` and `detail` tell why."""
        # The process before the board: one that ends says why before it ends.
        status = self._child.poll() if self._child else None
        record = self.figures(mono_ns)
        state = record.state if record else WorkerState.LOADING
        self._decided = bool(record and record.decisions)
        if record and state == WorkerState.REFUSED:
            self.reason, self.detail = text_from(record.reason), text_from(record.detail)
            return Pulse.REFUSED
        if self._child is None or status is not None:
            self.reason, self.detail = "policy-worker", f"the policy worker ended with status {status}"
            return Pulse.DEAD
        age_ns = self._silent_ns(mono_ns)
        if age_ns > (self.silence_ns(mono_ns) if state in _LOADED else LOAD_NS):
            self.reason, self.detail = (
                "policy-worker",
                f"the policy worker said nothing for {age_ns / _S:.1f} s",
            )
            return Pulse.HUNG
        loaded = _LOADED.get(state, Pulse.LOADING)
        return Pulse.LATE if loaded is Pulse.READY and self._is_late(mono_ns) else loaded

    def _is_late(self, mono_ns: int) -> bool:
        """Whether the last plans, as far as they were seen here, were all old when they came."""
        told = self._plans.news(mono_ns)
        if told is None or self.plan is None:
            return False
        age_ns, fresh_ns = told.mono_ns - told.record.observation_ns, self.fresh_ns(mono_ns)
        self._late = self._late + 1 if age_ns > fresh_ns else 0
        if self._late < _LATE_MAX:
            return False
        self.reason, self.detail = (
            "policy-worker",
            f"{self._late} plans in a row were on what it saw more than {fresh_ns / _S:.2f} s before",
        )
        return True

    def vacate(self, pulse: Pulse, mono_ns: int) -> None:
        """End what is left of the worker after `pulse` and say when the next one is due.

        At once the first time; the waits grow with each death until a worker has lived 30 s. What refused before it
        ever decided is a release that cannot be loaded, and waits longer: another try will hardly help.
        """
        self.end()
        if pulse is Pulse.REFUSED and not self._decided:
            self.due_ns = mono_ns + _REFUSED_NS
            return
        self._row = 0 if mono_ns - self._started_ns > _SETTLED_NS else self._row
        self.due_ns = mono_ns + _BACKOFF_NS[min(self._row, len(_BACKOFF_NS) - 1)]
        self._row += 1

    def figures(self, mono_ns: int) -> WorkerRecord | None:
        """What the worker that sits here now says of itself, None where it has not spoken yet."""
        self._board.news(mono_ns)
        stamped = self._board.latest
        return stamped.record if stamped and stamped.record.epoch == self.epoch else None


class FollowerSeat(_Occupied):
    """The follower's place: never left empty, for without it nobody steers."""

    def __init__(self, run: Path, spawn: Callable[[], Child]) -> None:
        self._spawn = spawn
        self._board: Feed[LoopRecord] = Feed(run / LOOP_BOARD, LOOP)
        self._started_ns = 0

    def start(self, mono_ns: int) -> None:
        """Start a follower."""
        self._child, self._started_ns = self._spawn(), mono_ns

    def watch(self, mono_ns: int, forgiving: bool) -> bool:
        """Start the follower again where it died or its board stands still; whether that was so.

        At once, except that one which cannot start is tried twice a second and no more. While `forgiving`, a
        board that stands still is no reason.
        """
        self._board.news(mono_ns)
        settled = mono_ns - self._started_ns > 2 * _FOLLOWER_HUNG_NS
        hung = settled and not forgiving and self._board.recent(mono_ns, _FOLLOWER_HUNG_NS) is None
        too_soon = mono_ns - self._started_ns < _FOLLOWER_PAUSE_NS
        if too_soon or (self.runs and not hung):
            return False
        self.end()
        self.start(mono_ns)
        return True
