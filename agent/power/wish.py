"""The wish for a power mode: when the device is asked for it, and what became of that. Every step is a row below.

Owns: the steps, the pauses between two tries, the words. Must not know: boards, commands; times are arguments.

    NONE ─wished→ WAITING ─parked→ HELD ─quiet→ ASKED ─taken→ NONE
                     ↑└────moves─────┘            ├─reboot→ REBOOT
                     └────────────due─────────────┴─ignored, failed→ IGNORED, FAILED
A pair that has no row changes nothing. Nothing is asked for in motion: the vehicle has to be parked for a while, then
nothing is decided for another while, and only then, and meanwhile, is the device asked.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from agent.power.modes import ModeAnswer

_S = 1_000_000_000
PARKED_NS = 5 * _S
"""So long a vehicle is parked before it counts as that."""
QUIET_NS = 5 * _S
"""So long nothing is decided before the device is asked: what was begun before has ended, or ends in no plan in time."""
PAUSES_NS = (60 * _S, 600 * _S, 3600 * _S)
"""Between two tries; after the last pause it is tried once more, and then no more for this wish."""
_NEVER_NS = 1 << 62


class Step(Enum):
    """How far the wish is."""

    NONE = auto()
    """Nothing is wished, or what is wished is in force."""
    BLIND = auto()
    """Nobody could say yet which modes there are and which is in force."""
    NO_SUCH = auto()
    WAITING = auto()
    HELD = auto()
    """Parked: nothing is decided any more."""
    ASKED = auto()
    REBOOT = auto()
    """Only a boot brings it: pending until then, and not asked for again."""
    IGNORED = auto()
    FAILED = auto()


class On(Enum):
    """What can happen to a wish."""

    WISHED = auto()
    REACHED = auto()
    """It is in force, or nothing is wished any more."""
    BLIND = auto()
    NO_SUCH = auto()
    PARKED = auto()
    MOVES = auto()
    QUIET = auto()
    TAKEN = auto()
    REBOOT = auto()
    IGNORED = auto()
    FAILED = auto()
    DUE = auto()
    """The pause after a try that brought nothing is over."""


_FAILED = (Step.IGNORED, Step.FAILED)
_BEFORE = (Step.NONE, Step.BLIND, Step.NO_SUCH, Step.WAITING, Step.HELD)
ROWS: dict[tuple[Step, On], Step] = {
    **{(step, On.REACHED): Step.NONE for step in Step if step is not Step.ASKED},
    **{(step, On.BLIND): Step.BLIND for step in _BEFORE},
    **{(step, On.NO_SUCH): Step.NO_SUCH for step in _BEFORE},
    (Step.NONE, On.WISHED): Step.WAITING,
    (Step.BLIND, On.WISHED): Step.WAITING,
    (Step.NO_SUCH, On.WISHED): Step.WAITING,
    (Step.WAITING, On.PARKED): Step.HELD,
    (Step.HELD, On.MOVES): Step.WAITING,
    (Step.HELD, On.QUIET): Step.ASKED,
    (Step.ASKED, On.TAKEN): Step.NONE,
    (Step.ASKED, On.REBOOT): Step.REBOOT,
    (Step.ASKED, On.IGNORED): Step.IGNORED,
    (Step.ASKED, On.FAILED): Step.FAILED,
    (Step.IGNORED, On.DUE): Step.WAITING,
    (Step.FAILED, On.DUE): Step.WAITING,
}
_ANSWERS = {
    ModeAnswer.TAKEN: On.TAKEN,
    ModeAnswer.REBOOT: On.REBOOT,
    ModeAnswer.IGNORED: On.IGNORED,
}
_WORDS = {
    Step.BLIND: "waits for nvpmodel to answer",
    Step.NO_SUCH: "is no mode of this device",
    Step.WAITING: "waits for the vehicle to park",
    Step.HELD: "is next, nothing is decided",
    Step.ASKED: "is asked for, nothing is decided",
    Step.REBOOT: "needs a reboot",
    Step.IGNORED: "is ignored by nvpmodel",
    Step.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known now. `in_force` is empty and `modes` are none where nobody could say; `failure` says why asking failed."""

    mono_ns: int
    wished: str
    in_force: str
    modes: tuple[str, ...]
    parked: bool
    answer: ModeAnswer | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class ModeWish:
    """One wish and how far it is; the empty name is none."""

    name: str = ""
    step: Step = Step.NONE
    since_ns: int = 0
    parked_ns: int | None = None
    """Since when the vehicle is parked; None where it is not."""
    tries: int = 0
    due_ns: int = 0
    """Not asked for again before."""
    failure: str = ""

    @property
    def holds(self) -> bool:
        """Whether nothing may be decided now."""
        return self.step in (Step.HELD, Step.ASKED)

    @property
    def said(self) -> str:
        """The wish in words; empty where there is nothing to say."""
        if self.step is Step.NONE:
            return ""
        over = ", given up" if self.step in _FAILED and self.due_ns == _NEVER_NS else ""
        why = f": {self.failure}" if self.step is Step.FAILED else ""
        return f"mode: {self.name} {_WORDS[self.step]}{over}{why}"


def turned(wish: ModeWish, seen: Seen) -> ModeWish:
    """The wish after `seen`; where its step is `ASKED`, the device is to be asked, once."""
    since_ns = seen.mono_ns if wish.parked_ns is None else wish.parked_ns
    wish = replace(wish, parked_ns=since_ns if seen.parked else None)
    if seen.wished != wish.name and wish.step is not Step.ASKED:  # what runs cannot be called back
        wish = ModeWish(seen.wished, parked_ns=wish.parked_ns)
    on = _event(wish, seen)
    to = ROWS.get((wish.step, on)) if on else None
    if to is None or to is wish.step:
        return wish
    wish = replace(wish, step=to, since_ns=seen.mono_ns, failure=seen.failure)
    if to is Step.ASKED:
        again = wish.tries < len(PAUSES_NS)
        due_ns = seen.mono_ns + PAUSES_NS[wish.tries] if again else _NEVER_NS
        return replace(wish, tries=wish.tries + 1, due_ns=due_ns)
    if to is Step.NONE:  # it was worth the tries; a pause stays, should another program turn it back at once
        return replace(wish, tries=0, due_ns=min(wish.due_ns, seen.mono_ns + PAUSES_NS[0]))
    return wish


def _event(wish: ModeWish, seen: Seen) -> On | None:
    """What `seen` means for the wish."""
    if wish.step is Step.ASKED:
        if seen.answer is not None:
            return _ANSWERS[seen.answer]
        return On.FAILED if seen.failure else None
    if wish.name in {"", seen.in_force}:
        return On.REACHED
    if not seen.in_force:
        return On.BLIND
    if wish.name not in seen.modes:
        return On.NO_SUCH
    return _patience(wish, seen)


def _patience(wish: ModeWish, seen: Seen) -> On | None:
    """What waiting has come to."""
    now, due = seen.mono_ns, seen.mono_ns >= wish.due_ns
    if wish.step is Step.WAITING:
        parked = wish.parked_ns is not None and now - wish.parked_ns >= PARKED_NS
        return On.PARKED if parked and due else None
    if wish.step is Step.HELD:
        if not seen.parked:
            return On.MOVES
        return On.QUIET if now - wish.since_ns >= QUIET_NS else None
    if wish.step in _FAILED:
        return On.DUE if due else None
    return On.WISHED
