"""Judging a trial from samples of the boards."""

from dataclasses import replace

import pytest

from agent.board.records import CandidateState, LoopState
from agent.update.trial import Trial, TrialSample, TrialTerms, Verdict, judged

S = 1_000_000_000
TERMS = TrialTerms(trial_ns=30 * S, decision_p99_ns=200_000_000)
WELL = TrialSample(
    mono_ns=0,
    candidate=CandidateState.DRIVING,
    drives=True,
    plant_alive=True,
    loop=LoopState.OK,
    decisions=1000,
    latency_p99_ns=100_000_000,
    over_envelope=False,
)


def after(seconds: int, sample: TrialSample, trial: Trial | None = None, start_s: int = 0) -> Trial:
    """The trial after `seconds` of samples like this one, one a second."""
    trial = trial or Trial()
    for second in range(start_s, start_s + seconds + 1):
        trial = judged(trial, replace(sample, mono_ns=second * S), TERMS)
    return trial


def test_driving_well_for_the_whole_time_passes_and_not_a_second_before() -> None:
    assert after(29, WELL).verdict is Verdict.OPEN
    assert after(30, WELL).verdict is Verdict.PASSED


def test_standing_still_is_not_driving() -> None:
    waiting = replace(WELL, loop=LoopState.WAITING)
    assert after(600, waiting).verdict is Verdict.OPEN


def test_time_in_which_another_release_drives_does_not_count() -> None:
    assert after(600, replace(WELL, drives=False)).verdict is Verdict.OPEN


@pytest.mark.parametrize("state", [CandidateState.FAILED, CandidateState.REFUSED])
def test_a_candidate_that_control_gave_up_on_fails_with_its_reason(state: CandidateState) -> None:
    trial = judged(Trial(), replace(WELL, candidate=state, reason="policy-worker", detail="it died"), TERMS)
    assert (trial.verdict, trial.reason, trial.detail) == (Verdict.BREACHED, "policy-worker", "it died")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loop": LoopState.SAFE_STOP}, "safe-stop"),
        ({"loop": LoopState.MINIMAL_RISK}, "safe-stop"),
        ({"latency_p99_ns": 300_000_000}, "latency"),
        ({"over_envelope": True}, "envelope"),
    ],
)
def test_what_lasts_is_a_breach_with_a_name(change: dict[str, object], reason: str) -> None:
    bad = replace(WELL, **change)  # type: ignore[arg-type] # one field a case
    trial = after(10, bad, after(10, WELL), start_s=11)
    assert (trial.verdict, trial.reason) == (Verdict.BREACHED, reason)


@pytest.mark.parametrize("change", [{"loop": LoopState.SAFE_STOP}, {"over_envelope": True}])
def test_a_moment_is_not_a_breach(change: dict[str, object]) -> None:
    trial = after(10, WELL)
    trial = judged(trial, replace(WELL, mono_ns=11 * S, **change), TERMS)  # type: ignore[arg-type]
    assert after(30, WELL, trial, start_s=12).verdict is Verdict.PASSED


def test_a_plant_that_shows_nothing_is_not_held_against_the_candidate() -> None:
    blind = replace(WELL, loop=LoopState.SAFE_STOP, plant_alive=False)
    assert after(600, blind).verdict is Verdict.OPEN


def test_a_percentile_of_few_decisions_is_not_judged() -> None:
    assert after(30, replace(WELL, decisions=20, latency_p99_ns=9 * S)).verdict is Verdict.PASSED


def test_time_that_nobody_watched_is_not_counted() -> None:
    trial = judged(Trial(), WELL, TERMS)
    trial = judged(trial, replace(WELL, mono_ns=3600 * S), TERMS)
    assert trial.verdict is Verdict.OPEN


def test_a_verdict_stays() -> None:
    failed = judged(Trial(), replace(WELL, candidate=CandidateState.FAILED), TERMS)
    assert after(100, WELL, failed).verdict is Verdict.BREACHED
