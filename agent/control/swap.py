"""The change of release, as `control` sees it: every step is a row below, nowhere else.

Owns: the steps of a candidate and what each event makes of them. Must not know: processes, boards, time.

    NONE ─load→ LOADING ─loaded→ SHADOW ─admitted→ READY ─go→ GOING ─safe→ DRIVING ─keep→ NONE
                   └──refused, lost─┴──→ REFUSED ←──┘           └─lost→ FAILED ←─breached, died, lost, return─┘
A pair that has no row changes nothing: a late or repeated order is answered with how things stand.
"""

from enum import Enum, auto
from typing import NamedTuple

from agent.board.change import CandidateState


class Step(Enum):
    """How far the candidate is."""

    NONE = auto()
    LOADING = auto()
    SHADOW = auto()
    """Loaded and checked; decides in shadow until its latency is admitted."""
    READY = auto()
    GOING = auto()
    """Told to drive; waits for a plan of its own and a safe moment."""
    DRIVING = auto()
    REFUSED = auto()
    FAILED = auto()


class On(Enum):
    """What can happen to a candidate: orders of `manage`, news of its worker, the moment to switch."""

    LOAD = auto()
    GO = auto()
    KEEP = auto()
    RETURN = auto()
    DROP = auto()
    LOADED = auto()
    ADMITTED = auto()
    DIED = auto()
    """Its process ended without a word, for the first time; the shell starts it again by itself."""
    REFUSED = auto()
    """It said why it cannot drive, or no longer."""
    LOST = auto()
    """It died again, or hangs."""
    SAFE = auto()
    BREACHED = auto()
    """It drives, and does what it must not (`agent.control.trial`)."""


class Do(Enum):
    """What the shell carries out, in the order of the row."""

    START = auto()
    """Start the candidate's worker in the free place."""
    SWITCH = auto()
    """Let the candidate drive; the one that drove stays loaded."""
    SWITCH_BACK = auto()
    """Let the one before drive again."""
    STOP_CANDIDATE = auto()
    STOP_OTHER = auto()
    """End the worker that drove before."""
    RELOAD = auto()
    """Have what is durably live drive, where something else does."""


class Row(NamedTuple):
    """Where an event leads, and what is done on the way."""

    to: Step
    do: tuple[Do, ...] = ()


_FRESH = Row(Step.LOADING, (Do.START,))
_AGAIN = Row(Step.LOADING, (Do.STOP_CANDIDATE, Do.START))
_GONE = Row(Step.NONE, (Do.STOP_CANDIDATE,))
_REFUSED = Row(Step.REFUSED, (Do.STOP_CANDIDATE,))
_BACK = (Do.SWITCH_BACK, Do.STOP_CANDIDATE)

_RELOAD = Row(Step.NONE, (Do.RELOAD,))

ROWS: dict[tuple[Step, On], Row] = {
    (Step.NONE, On.RETURN): _RELOAD,
    (Step.NONE, On.DROP): _RELOAD,
    (Step.NONE, On.LOAD): _FRESH,
    (Step.REFUSED, On.LOAD): _FRESH,
    (Step.FAILED, On.LOAD): _FRESH,
    (Step.LOADING, On.LOAD): _AGAIN,
    (Step.SHADOW, On.LOAD): _AGAIN,
    (Step.READY, On.LOAD): _AGAIN,
    (Step.LOADING, On.LOADED): Row(Step.SHADOW),
    (Step.LOADING, On.ADMITTED): Row(Step.READY),
    (Step.LOADING, On.DIED): Row(Step.LOADING),
    (Step.LOADING, On.REFUSED): _REFUSED,
    (Step.LOADING, On.LOST): _REFUSED,
    (Step.LOADING, On.DROP): _GONE,
    (Step.SHADOW, On.ADMITTED): Row(Step.READY),
    (Step.SHADOW, On.DIED): Row(Step.LOADING),
    (Step.SHADOW, On.REFUSED): _REFUSED,
    (Step.SHADOW, On.LOST): _REFUSED,
    (Step.SHADOW, On.DROP): _GONE,
    (Step.READY, On.GO): Row(Step.GOING),
    (Step.READY, On.DIED): Row(Step.LOADING),
    (Step.READY, On.REFUSED): _REFUSED,
    (Step.READY, On.LOST): _REFUSED,
    (Step.READY, On.DROP): _GONE,
    (Step.GOING, On.SAFE): Row(Step.DRIVING, (Do.SWITCH,)),
    (Step.GOING, On.DIED): Row(Step.GOING),
    (Step.GOING, On.REFUSED): Row(Step.FAILED, (Do.STOP_CANDIDATE,)),
    (Step.GOING, On.LOST): Row(Step.FAILED, (Do.STOP_CANDIDATE,)),
    (Step.GOING, On.RETURN): Row(Step.FAILED, (Do.STOP_CANDIDATE,)),
    (Step.GOING, On.DROP): _GONE,
    (Step.DRIVING, On.KEEP): Row(Step.NONE, (Do.STOP_OTHER,)),
    # The old worker is loaded and sees: nobody waits for another start of one that died with the wheel in its hands.
    (Step.DRIVING, On.DIED): Row(Step.FAILED, _BACK),
    (Step.DRIVING, On.BREACHED): Row(Step.FAILED, _BACK),
    (Step.DRIVING, On.REFUSED): Row(Step.FAILED, _BACK),
    (Step.DRIVING, On.LOST): Row(Step.FAILED, _BACK),
    (Step.DRIVING, On.RETURN): Row(Step.FAILED, _BACK),
    (Step.DRIVING, On.DROP): Row(Step.NONE, _BACK),
    (Step.REFUSED, On.DROP): Row(Step.NONE),
    (Step.FAILED, On.DROP): Row(Step.NONE),
}


def next_row(step: Step, on: On) -> Row:
    """The row for `on` at `step`; where there is none, `step` itself and nothing to do."""
    return ROWS.get((step, on), Row(step))


SHOWN: dict[Step, CandidateState] = {
    Step.NONE: CandidateState.NONE,
    Step.LOADING: CandidateState.LOADING,
    Step.SHADOW: CandidateState.SHADOW,
    Step.READY: CandidateState.READY,
    Step.GOING: CandidateState.READY,
    Step.DRIVING: CandidateState.DRIVING,
    Step.REFUSED: CandidateState.REFUSED,
    Step.FAILED: CandidateState.FAILED,
}
"""What `manage` reads of each step on `policy.board`."""
