"""Judging a trial from where the pointer is: how long a candidate drove, and whether `control` still lets it.

Owns: what counts as driving, and when the trial is passed. Must not know: what is a breach of a release's promises
(`agent.control.trial`: it must be seen at once, and offline), boards, clocks; samples and their times are arguments.
"""

from dataclasses import dataclass, replace
from enum import Enum

from agent.board.change import CandidateState
from agent.board.records import LoopState

_GAP_MAX_NS = 2_000_000_000
"""Between samples further apart nothing is known, so nothing is counted."""
_MOVING = (LoopState.OK, LoopState.DEGRADED)
_GIVEN_UP = (CandidateState.FAILED, CandidateState.REFUSED)


class Verdict(Enum):
    """How the trial stands."""

    OPEN = "open"
    PASSED = "passed"
    BREACHED = "breached"


@dataclass(frozen=True, slots=True)
class TrialSample:
    """The boards at `mono_ns`; driving counts only while somebody shows the world, `plant_alive`."""

    mono_ns: int
    candidate: CandidateState
    drives: bool
    plant_alive: bool
    loop: LoopState
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """The trial so far."""

    sampled_ns: int | None = None
    driven_ns: int = 0
    verdict: Verdict = Verdict.OPEN
    reason: str = ""
    detail: str = ""


def judged(trial: Trial, sample: TrialSample, trial_ns: int) -> Trial:
    """`trial` after `sample`, to be passed with `trial_ns` of driving. A verdict once given stays."""
    if trial.verdict is not Verdict.OPEN:
        return trial
    if sample.candidate in _GIVEN_UP:
        reason = sample.reason or "candidate-failed"
        return replace(trial, verdict=Verdict.BREACHED, reason=reason, detail=sample.detail)
    since_ns = sample.mono_ns - trial.sampled_ns if trial.sampled_ns is not None else 0
    drives = sample.drives and sample.plant_alive and sample.loop in _MOVING
    driven_ns = trial.driven_ns + (since_ns if drives and 0 < since_ns <= _GAP_MAX_NS else 0)
    verdict = Verdict.PASSED if driven_ns >= trial_ns else Verdict.OPEN
    return Trial(sample.mono_ns, driven_ns, verdict)
