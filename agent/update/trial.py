"""Judging a trial: what the boards say of a candidate, over time, against what its release promises.

Owns: what counts as driving, what is a breach, and when the trial is passed.
Must not know: boards, clocks; samples and their monotonic times are arguments.
"""

from dataclasses import dataclass, replace
from enum import Enum

from agent.board.records import CandidateState, LoopState

_GAP_MAX_NS = 2_000_000_000
"""Between samples further apart nothing is known, so nothing is counted."""
_STOP_MAX_NS = 2_000_000_000
_SUSTAINED_NS = 5_000_000_000
_DECISIONS_MIN = 50
"""A percentile of fewer decisions says nothing."""
_MOVING = (LoopState.OK, LoopState.DEGRADED)
_STOPPED = (LoopState.MINIMAL_RISK, LoopState.SAFE_STOP)


class Verdict(Enum):
    """How the trial stands."""

    OPEN = "open"
    PASSED = "passed"
    BREACHED = "breached"


@dataclass(frozen=True, slots=True)
class TrialTerms:
    """What the candidate must show: `trial_ns` of driving, decisions within `decision_p99_ns`."""

    trial_ns: int
    decision_p99_ns: int


@dataclass(frozen=True, slots=True)
class TrialSample:
    """The boards at `mono_ns`. `plant_alive`: somebody shows the world; a stop without it is not the candidate's."""

    mono_ns: int
    candidate: CandidateState
    drives: bool
    plant_alive: bool
    loop: LoopState
    decisions: int
    latency_p99_ns: int
    over_envelope: bool
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """The trial so far; the `_ns` fields are how long each has lasted."""

    sampled_ns: int | None = None
    driven_ns: int = 0
    stopped_ns: int = 0
    slow_ns: int = 0
    hot_ns: int = 0
    verdict: Verdict = Verdict.OPEN
    reason: str = ""
    detail: str = ""


def judged(trial: Trial, sample: TrialSample, terms: TrialTerms) -> Trial:
    """`trial` after `sample`. A verdict once given stays."""
    if trial.verdict is not Verdict.OPEN:
        return trial
    if sample.candidate is CandidateState.FAILED or sample.candidate is CandidateState.REFUSED:
        return _breached(trial, sample.reason or "candidate-failed", sample.detail)
    grown = _grown(trial, sample, terms)
    if grown.stopped_ns > _STOP_MAX_NS:
        return _breached(grown, "safe-stop", f"no fresh plan: the loop is in {sample.loop.name}")
    if grown.slow_ns > _SUSTAINED_NS:
        late_ms, limit_ms = sample.latency_p99_ns / 1e6, terms.decision_p99_ns / 1e6
        return _breached(
            grown, "latency", f"decisions take {late_ms:.0f} ms (p99); promised {limit_ms:.0f} ms"
        )
    if grown.hot_ns > _SUSTAINED_NS:
        return _breached(grown, "envelope", "module power is above the envelope and stays there")
    if grown.driven_ns >= terms.trial_ns:
        return replace(grown, verdict=Verdict.PASSED)
    return grown


def _grown(trial: Trial, sample: TrialSample, terms: TrialTerms) -> Trial:
    """Add the time since the sample before to whatever lasted through it; what ended starts anew."""
    since = sample.mono_ns - trial.sampled_ns if trial.sampled_ns is not None else 0
    step_ns = since if 0 < since <= _GAP_MAX_NS else 0
    mine = sample.drives and sample.plant_alive
    slow = sample.decisions >= _DECISIONS_MIN and sample.latency_p99_ns > terms.decision_p99_ns
    return replace(
        trial,
        sampled_ns=sample.mono_ns,
        driven_ns=trial.driven_ns + (step_ns if mine and sample.loop in _MOVING else 0),
        stopped_ns=trial.stopped_ns + step_ns if mine and sample.loop in _STOPPED else 0,
        slow_ns=trial.slow_ns + step_ns if mine and slow else 0,
        hot_ns=trial.hot_ns + step_ns if mine and sample.over_envelope else 0,
    )


def _breached(trial: Trial, reason: str, detail: str) -> Trial:
    return replace(trial, verdict=Verdict.BREACHED, reason=reason, detail=detail)
