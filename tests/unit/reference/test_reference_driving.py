"""The committed checkpoint drives, in the graphs that ship, also when a governor cuts it short."""

from pathlib import Path

import pytest

from models.reference.evaluate import (
    EVALUATION_SEED,
    FULL,
    Pace,
    drive,
    evaluate,
    policy_of_checkpoint,
)
from models.reference.world.classes import CLASSES, ScenarioClass
from models.reference.world.drive import World
from models.runtime.onnx import OnnxPolicy
from models.runtime.policy import Knobs

CHECKPOINT = Path(__file__).parents[3] / "models" / "reference" / "checkpoint"
SEEDS = range(EVALUATION_SEED + 1000, EVALUATION_SEED + 1003)


@pytest.fixture(scope="module")
def policy() -> OnnxPolicy:
    return policy_of_checkpoint(CHECKPOINT)


@pytest.mark.slow
@pytest.mark.parametrize("one", [one for one in CLASSES if not one.long_tail], ids=lambda one: one.name)
def test_it_drives_every_nominal_class(policy: OnnxPolicy, one: ScenarioClass) -> None:
    failed = [seed for seed, passed, _ in evaluate(policy, one, SEEDS, Pace()) if not passed]
    assert failed == []


@pytest.mark.slow
def test_it_drives_nine_in_ten_of_the_long_tail(policy: OnnxPolicy) -> None:
    tail = [one for one in CLASSES if one.long_tail]
    passed = [passed for one in tail for _, passed, _ in evaluate(policy, one, SEEDS, Pace())]
    assert sum(passed) >= 0.9 * len(passed)


@pytest.mark.slow
def test_it_still_drives_with_no_words_and_one_flow_step(policy: OnnxPolicy) -> None:
    pace = Pace(knobs=Knobs(max_reasoning_tokens=0, flow_steps=1))
    for one in CLASSES:
        if not one.long_tail:
            assert all(passed for _, passed, _ in evaluate(policy, one, SEEDS[:1], pace))


@pytest.mark.slow
def test_it_drives_the_endless_circuit_at_ten_and_at_three_decisions_a_second(policy: OnnxPolicy) -> None:
    for period_s in (0.1, 0.35):
        journey = drive(World(EVALUATION_SEED + 1000), policy, 40.0, Pace(period_s, 0.1, FULL))
        assert journey.safe
        assert journey.progress_m > 150
