"""The update state machine: every transition is a row below, nowhere else.

Owns: which event leads from which phase to which, and what is to be done on the way. The phases are those
that the wire reports (`models.wire.messages.UpdatePhase`).
Must not know: how anything is done, time, the disk, the network.

The last effect of a row ends in the next event; the ones before it, and all of a row that leads to IDLE, do not
fail (where the disk itself fails, the process ends and starts anew). A row that leads to IDLE ends the update:
the release that was live before is live, unless the trial was passed.
"""

from dataclasses import dataclass
from enum import Enum, auto

from models.wire.messages import UpdatePhase as At


class On(Enum):
    """What happened."""

    DUE = auto()
    """An offer came, or it is time to ask."""
    NOTHING_NEW = auto()
    ADMITTED = auto()
    """Both repositories name one release for this device, and nothing speaks against it."""
    FETCHED = auto()
    """Every chunk is durable in the free slot."""
    VERIFIED = auto()
    READY = auto()
    """Control has the candidate loaded, warmed, checked and admitted."""
    FLIPPED = auto()
    """The candidate is durably live, on trial."""
    DRIVING = auto()
    """Control let the candidate take over at a safe point."""
    PASSED = auto()
    """The trial is over and nothing was wrong."""
    KEPT = auto()
    """Control keeps the candidate: it was not given back at the last moment."""
    BREACHED = auto()
    """The candidate broke its contract, or control went back by itself."""
    RETURNED = auto()
    """The release before drives again, or stands ready to."""
    REFUSED = auto()
    """Something is wrong with the release, or it is not for this device."""
    NOT_NOW = auto()
    """The world is in the way; what is fetched stays."""
    TRIAL_FOUND = auto()
    """After a start: the pointer says that a trial was under way."""
    RESTARTED = auto()
    """The process or the device started anew."""


class Do(Enum):
    """What is to be done, in the order given."""

    ADMIT = auto()
    FETCH = auto()
    VERIFY = auto()
    LOAD = auto()
    """Ask control to load the candidate beside the one that drives, and to admit it."""
    FLIP = auto()
    """Durably make the verified slot live, on trial."""
    GO = auto()
    """Tell control that it may switch at the next safe point, and wait for that as long as it takes."""
    JUDGE = auto()
    """Watch the candidate drive."""
    KEEP = auto()
    """Tell control that the trial is passed, and wait for whether it was."""
    COMMIT = auto()
    """Durably end the trial."""
    RAISE_FLOORS = auto()
    POINT_BACK = auto()
    """Durably make the fallback live again and quarantine what was on trial."""
    RETURN = auto()
    """Tell control to drive the one before."""
    QUARANTINE = auto()
    DROP = auto()
    """Tell control to forget the candidate."""
    DISCARD = auto()
    """Empty the free slot."""
    REPORT = auto()
    """Say how the update ended."""
    RECONCILE = auto()
    """Find out from the pointer and from control where things stand."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where a row leads, and what to do on the way."""

    next: At
    effects: tuple[Do, ...] = ()


_ROWS: dict[tuple[At, On], Step] = {
    (At.IDLE, On.DUE): Step(At.ADMITTING, (Do.ADMIT,)),
    (At.IDLE, On.TRIAL_FOUND): Step(At.SWITCHING, (Do.GO,)),
    (At.ADMITTING, On.NOTHING_NEW): Step(At.IDLE),
    (At.ADMITTING, On.ADMITTED): Step(At.FETCHING, (Do.FETCH,)),
    (At.ADMITTING, On.REFUSED): Step(At.IDLE, (Do.REPORT,)),
    (At.ADMITTING, On.NOT_NOW): Step(At.IDLE, (Do.REPORT,)),
    (At.FETCHING, On.FETCHED): Step(At.VERIFYING, (Do.VERIFY,)),
    (At.FETCHING, On.REFUSED): Step(At.IDLE, (Do.DISCARD, Do.REPORT)),
    (At.FETCHING, On.NOT_NOW): Step(At.IDLE, (Do.REPORT,)),
    (At.VERIFYING, On.VERIFIED): Step(At.WARMING, (Do.LOAD,)),
    (At.VERIFYING, On.REFUSED): Step(At.IDLE, (Do.DISCARD, Do.REPORT)),
    (At.VERIFYING, On.NOT_NOW): Step(At.IDLE, (Do.REPORT,)),
    (At.WARMING, On.READY): Step(At.WARMING, (Do.FLIP,)),
    (At.WARMING, On.FLIPPED): Step(At.SWITCHING, (Do.GO,)),
    (At.WARMING, On.REFUSED): Step(At.IDLE, (Do.DROP, Do.QUARANTINE, Do.DISCARD, Do.REPORT)),
    (At.WARMING, On.NOT_NOW): Step(At.IDLE, (Do.DROP, Do.REPORT)),
    (At.SWITCHING, On.DRIVING): Step(At.TRIAL, (Do.JUDGE,)),
    (At.SWITCHING, On.BREACHED): Step(At.RETURNING, (Do.POINT_BACK, Do.RETURN)),
    (At.TRIAL, On.PASSED): Step(At.TRIAL, (Do.KEEP,)),
    (At.TRIAL, On.KEPT): Step(At.IDLE, (Do.COMMIT, Do.RAISE_FLOORS, Do.REPORT)),
    (At.TRIAL, On.NOT_NOW): Step(At.SWITCHING, (Do.GO,)),  # nobody knows whether it was kept: a trial anew
    (At.TRIAL, On.BREACHED): Step(At.RETURNING, (Do.POINT_BACK, Do.RETURN)),
    (At.RETURNING, On.RETURNED): Step(At.IDLE, (Do.DISCARD, Do.REPORT)),
} | {(phase, On.RESTARTED): Step(At.IDLE, (Do.RECONCILE,)) for phase in At}


def step(phase: At, event: On) -> Step:
    """The row for `event` in `phase`; an event that has no row there changes nothing and does nothing."""
    return _ROWS.get((phase, event), Step(phase))


def events_of(phase: At) -> frozenset[On]:
    """The events that have a row in `phase`."""
    return frozenset(event for at, event in _ROWS if at is phase)
