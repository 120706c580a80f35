"""The committed checkpoint drives, in the graphs that ship, also when a governor cuts it short."""

from pathlib import Path

import pytest

from models.reference.evaluate import (
    EVALUATION_SEED,
    FULL,
    TRIALS,
    Pace,
    Trial,
    drive,
    evaluate,
    policy_of_checkpoint,
)
from models.reference.world.drive import World
from models.runtime.onnx import OnnxPolicy
from models.runtime.policy import Knobs

CHECKPOINT = Path(__file__).parents[3] / "models" / "reference" / "checkpoint"
SEEDS = range(EVALUATION_SEED + 1000, EVALUATION_SEED + 1003)


@pytest.fixture(scope="module")
def policy() -> OnnxPolicy:
    return policy_of_checkpoint(CHECKPOINT)


@pytest.mark.slow
@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_it_passes_every_class_of_trial(policy: OnnxPolicy, trial: Trial) -> None:
    failed = [seed for seed, passed, _ in evaluate(policy, trial, SEEDS, Pace()) if not passed]
    assert failed == []


@pytest.mark.slow
def test_it_still_drives_with_no_words_and_one_flow_step(policy: OnnxPolicy) -> None:
    pace = Pace(knobs=Knobs(max_reasoning_tokens=0, flow_steps=1))
    for trial in TRIALS:
        assert all(passed for _, passed, _ in evaluate(policy, trial, SEEDS[:1], pace))


@pytest.mark.slow
def test_it_drives_the_endless_circuit_at_ten_and_at_three_decisions_a_second(policy: OnnxPolicy) -> None:
    for period_s in (0.1, 0.35):
        journey = drive(World(EVALUATION_SEED + 1000), policy, 40.0, Pace(period_s, 0.1, FULL))
        assert journey.safe
        assert journey.progress_m > 150
