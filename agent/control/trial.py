"""Judging a candidate while it drives: what the boards say of it, against what its release promises.

Owns: what is a breach, each with its name. Must not know: boards, clocks, what follows from a breach.

A breach is told the moment it shows, for the release before is loaded and sees: what is wrongly given back costs a second
look at a release, what is given back too late may cost more.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from agent.board.records import LoopState

_S = 1_000_000_000
_SETTLING_NS = 3 * _S // 10
"""From the change of hands, or from a decision, until the loop's board can only speak of what came after it."""
_HELD_UP_NS = _S // 5
"""Looks further apart than this were not ours to take: the machine stood still, and ticks lost then are nobody's."""
_DECISIONS, _SLOW_MAX = 20, 4
"""Of the last 20 decisions 4 may take longer than promised. Where one in a hundred does, five do in one window of a million
(C(20, 5) · 0.01⁵ · 0.99¹⁵ = 1.3·10⁻⁶)."""
_TICKS, _CHANGED_MAX = 200, 100
_MISSED_MAX = 20
_HOT_NS = 5 * _S
"""The governor has this long to turn its knobs."""
_METERED_MIN = 20
"""Decisions before their energy is judged: the board of the governor may be a tenth of a second old at both ends."""
_OVERDUE_NS = _S
"""A worker that keeps silent for so much longer than it promises is why there is no fresh plan, called hung by then or not."""
_STOPPED = (LoopState.MINIMAL_RISK, LoopState.SAFE_STOP)


class Look(NamedTuple):
    """The boards at `mono_ns`. The counts are of the loop and of the candidate's worker, since whenever they began.

    `slow` decisions took longer than promised, `failed` ones gave no plan that could be followed. `may_drive`: somebody
    shows the world, and decisions are allowed; a stop without that is not the candidate's. `takeovers`: how often a
    person took the wheel. `over_envelope`: above a limit that stands still (`agent.control.lowering`). `energy_j` is the
    module's, since whenever that began, NaN where it is unknown; `beside` are the decisions of the worker that drove before,
    which takes its share; `max_decision_j` is promised, NaN where nothing is. `overdue_ns`: how long the candidate's worker has
    said nothing, beyond what it promises for a decision.
    """

    mono_ns: int
    state: LoopState
    may_drive: bool
    ticks: int
    ticks_missed: int
    interventions: int
    decisions: int
    slow: int
    failed: int
    takeovers: int
    over_envelope: bool
    energy_j: float = math.nan
    beside: int = 0
    max_decision_j: float = math.nan
    overdue_ns: int = 0


class Breach(NamedTuple):
    """An error code, and what was seen."""

    reason: str
    detail: str


Mark = tuple[int, int]


def _marked(marks: tuple[Mark, ...], mark: Mark, span: int) -> tuple[Mark, ...]:
    """`marks` and `mark`, without those that are not needed to look back `span` of what is counted first."""
    if marks[-1] == mark:
        return marks
    late = [index for index, (count, _) in enumerate(marks) if count <= mark[0] - span]
    return (*marks[late[-1] if late else 0 :], mark)


def _lately(marks: tuple[Mark, ...]) -> Mark:
    """What was counted since the first of `marks`."""
    (count, of_those), (before, of_before) = marks[-1], marks[0]
    return count - before, of_those - of_before


@dataclass(frozen=True, slots=True)
class Trial:
    """The trial so far. `decided` and `ticked` are earlier counts, as far back as they are looked at."""

    first: Look
    last: Look
    decided: tuple[Mark, ...]
    ticked: tuple[Mark, ...]
    held_up_ns: int = -_S
    """When the machine was last seen to have stood still."""
    excused: int = 0
    """Missed ticks that this explains."""
    hot_ns: int = 0
    metered: Look | None = None
    """Since when energy and decisions are counted without a gap, where they are."""
    settling_ns: int = 0
    """From here on, and some time for it to be told, a stop is the candidate's."""
    awaited: int = -1
    """A stop that nobody could have helped, and what the gate does meanwhile, goes on until a decision beyond this many."""


def begun(look: Look) -> Trial:
    """The trial of a candidate that drives since `look`."""
    decided, ticked = ((look.decisions, look.slow),), ((look.ticks, look.interventions),)
    awaited = -1 if look.may_drive else look.decisions
    return Trial(look, look, decided, ticked, settling_ns=look.mono_ns, awaited=awaited)


def judged(trial: Trial, look: Look) -> Trial | Breach:
    """`trial` after `look`, or the first breach that it shows."""
    if look.ticks < trial.last.ticks or look.decisions < trial.last.decisions:
        return begun(look)  # another follower or worker counts anew
    grown = _grown(trial, look)
    return next((breach for check in _CHECKS if (breach := check(grown))), grown)


def _grown(trial: Trial, look: Look) -> Trial:
    before = trial.last
    since_ns = look.mono_ns - before.mono_ns
    held_up_ns = look.mono_ns if since_ns > _HELD_UP_NS else trial.held_up_ns
    # The loop's board is a few ticks old: what it tells shortly after a standstill is of the standstill.
    excuses = look.mono_ns - held_up_ns <= _HELD_UP_NS
    awaited = trial.awaited if look.may_drive and not excuses else look.decisions
    settled, tick = look.decisions > awaited, (look.ticks, look.interventions)
    hot = look.over_envelope and before.over_envelope and look.may_drive
    return Trial(
        trial.first,
        look,
        _marked(trial.decided, (look.decisions, look.slow), _DECISIONS),
        _marked(trial.ticked, tick, _TICKS) if settled else (tick,),
        held_up_ns,
        trial.excused + (look.ticks_missed - before.ticks_missed if excuses else 0),
        trial.hot_ns + since_ns if hot else 0,
        (trial.metered or before) if _counts_on(before, look) else None,
        trial.settling_ns if settled else look.mono_ns,
        awaited,
    )


def _counts_on(before: Look, look: Look) -> bool:
    """Whether the energy and the decisions of both workers were counted all the while from `before` to `look`, and decisions
    could be made: an idle module takes joules that nobody decides for."""
    counted = look.energy_j >= before.energy_j and look.beside >= before.beside
    return counted and before.may_drive and look.may_drive


def _failed(trial: Trial) -> Breach | None:
    failed = trial.last.failed - trial.first.failed
    return Breach("no-plan", f"{failed} decision(s) gave no plan that can be followed") if failed else None


def _stopped(trial: Trial) -> Breach | None:
    look = trial.last
    settled = look.mono_ns - trial.settling_ns >= _SETTLING_NS
    if not (settled and look.state in _STOPPED):
        return None
    seen = f"no fresh plan: the loop is in {look.state.name}"
    if look.overdue_ns > _OVERDUE_NS:
        return Breach(
            "policy-worker", f"{seen}; the policy worker's word is {look.overdue_ns / _S:.1f} s overdue"
        )
    return Breach("safe-stop", seen)


def _slow(trial: Trial) -> Breach | None:
    decisions, slow = _lately(trial.decided)
    if slow <= _SLOW_MAX:
        return None
    return Breach("latency", f"{slow} of {decisions} decisions took longer than 99 in 100 are promised to")


def _missed(trial: Trial) -> Breach | None:
    missed = trial.last.ticks_missed - trial.first.ticks_missed - trial.excused
    return Breach("ticks-missed", f"{missed} ticks missed while it drove") if missed > _MISSED_MAX else None


def _changed(trial: Trial) -> Breach | None:
    ticks, changed = _lately(trial.ticked)
    if changed <= _CHANGED_MAX:
        return None
    return Breach("gate", f"the gate changed the command in {changed} of {ticks} ticks")


def _taken_over(trial: Trial) -> Breach | None:
    taken = trial.last.takeovers - trial.first.takeovers
    return Breach("taken-over", "a person took the wheel") if taken > 0 else None


def _hot(trial: Trial) -> Breach | None:
    if trial.hot_ns <= _HOT_NS:
        return None
    return Breach("envelope", "it decides, and module power stays above an envelope that stands still")


def _costly(trial: Trial) -> Breach | None:
    if trial.metered is None:
        return None
    look, since = trial.last, trial.metered
    decisions = look.decisions + look.beside - since.decisions - since.beside
    if look.decisions - since.decisions < _METERED_MIN:
        return None
    joules = (look.energy_j - since.energy_j) / decisions
    if not joules > look.max_decision_j:
        return None
    return Breach("energy", f"{joules:.2f} J a decision; {look.max_decision_j:g} J are promised")


_CHECKS: tuple[Callable[[Trial], Breach | None], ...] = (
    _failed,
    _taken_over,
    _stopped,
    _slow,
    _missed,
    _changed,
    _hot,
    _costly,
)
