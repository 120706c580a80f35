"""How long a candidate drove, from samples of the boards."""

from dataclasses import replace

import pytest

from agent.board.change import CandidateState
from agent.board.records import LoopState
from agent.update.trial import Trial, TrialSample, Verdict, judged

S = 1_000_000_000
TRIAL_NS = 30 * S
WELL = TrialSample(
    mono_ns=0, candidate=CandidateState.DRIVING, drives=True, plant_alive=True, loop=LoopState.OK
)


def after(seconds: int, sample: TrialSample, trial: Trial | None = None, start_s: int = 0) -> Trial:
    """The trial after `seconds` of samples like this one, one a second."""
    trial = trial or Trial()
    for second in range(start_s, start_s + seconds + 1):
        trial = judged(trial, replace(sample, mono_ns=second * S), TRIAL_NS)
    return trial


def test_driving_well_for_the_whole_time_passes_and_not_a_second_before() -> None:
    assert after(29, WELL).verdict is Verdict.OPEN
    assert after(30, WELL).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    "change",
    [
        {"loop": LoopState.WAITING},
        {"loop": LoopState.SAFE_STOP},
        {"drives": False},
        {"plant_alive": False},
    ],
)
def test_what_is_no_driving_of_the_candidate_does_not_count(change: dict[str, object]) -> None:
    assert after(600, replace(WELL, **change)).verdict is Verdict.OPEN  # type: ignore[arg-type] # one field a case


@pytest.mark.parametrize("state", [CandidateState.FAILED, CandidateState.REFUSED])
def test_a_candidate_that_control_gave_up_on_fails_with_its_reason(state: CandidateState) -> None:
    gone = replace(WELL, candidate=state, reason="latency", detail="5 of 20")
    trial = judged(Trial(), gone, TRIAL_NS)
    assert (trial.verdict, trial.reason, trial.detail) == (Verdict.BREACHED, "latency", "5 of 20")


def test_time_that_nobody_watched_is_not_counted() -> None:
    trial = judged(Trial(), WELL, TRIAL_NS)
    assert judged(trial, replace(WELL, mono_ns=3600 * S), TRIAL_NS).verdict is Verdict.OPEN


def test_a_verdict_stays() -> None:
    failed = judged(Trial(), replace(WELL, candidate=CandidateState.FAILED), TRIAL_NS)
    assert after(100, WELL, failed).verdict is Verdict.BREACHED
