"""What is called faithful is: the measure tells manoeuvres apart, and counts what does not follow from the words."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.digest import digest_of
from models.reference import expert, manoeuvre
from models.reference.contract import DT_S, VOCABULARY, reference_contract
from models.reference.displacement import displacement_m, positions_m
from models.reference.evaluate import FULL
from models.reference.faithful import Interrogation, carries_out, plans_by_manoeuvre
from models.reference.sentence import sentence
from models.reference.starts import training_world
from models.reference.world.classes import emergency, red_light
from models.reference.world.drive import Situation, World
from models.reference.world.scenario import Scenario
from models.runtime.policy import Decision, Knobs, Latency, Observation
from tests.fakes.tiny_policy import tiny_observation

SEEDS = range(6_000, 6_200)
OBSERVATION = tiny_observation(1, reference_contract())


def _said(world: World) -> str:
    return sentence(world.situation, world.road)


def _instead(world: World, decision: str) -> NDArray[np.float32]:
    imagined = manoeuvre.imagined(world.situation, manoeuvre.decided(_said(world)), decision)
    assert imagined is not None
    return expert.plan(imagined, world.road)


def _speeds_mps(plan: NDArray[np.float32], situation: Situation) -> NDArray[np.float64]:
    return np.maximum(situation.speed_mps + np.cumsum(plan[:, 0].astype(np.float64)) * DT_S, 0.0)


def test_a_plan_near_the_experts_does_what_it_says_wherever_training_begins() -> None:
    judged = 0
    for seed in SEEDS:
        world = training_world(seed)
        said = manoeuvre.decided(_said(world))
        plans = plans_by_manoeuvre(world, world.situation, said)
        noise = np.random.default_rng(seed).normal(0, [0.1, 0.0005], (64, 2))
        near = (expert.plan(world.situation, world.road) + noise).astype(np.float32)
        judged += len(plans) > 1
        assert carries_out(near, said, plans, world.situation.speed_mps), (seed, said)
    assert judged > 0.9 * len(SEEDS)


def test_what_leads_elsewhere_does_not_carry_out_what_was_decided() -> None:
    told_apart = 0
    for seed in SEEDS:
        world = training_world(seed)
        situation, said = world.situation, manoeuvre.decided(_said(world))
        plans = plans_by_manoeuvre(world, situation, said)
        for other in manoeuvre.alternatives(situation, said):
            if displacement_m(plans[said], plans[other], situation.speed_mps) > 1.0:
                told_apart += 1
                near = (0.7 * plans[other] + 0.3 * plans[said]).astype(np.float32)
                assert not carries_out(near, said, plans, situation.speed_mps), (seed, said, other)
    assert told_apart > len(SEEDS)


def test_a_plan_that_holds_and_then_goes_is_not_charged_for_the_hold() -> None:
    holds = np.zeros((64, 2), np.float32)
    holds[:10, 0], holds[10:20, 0] = -1.0, 1.0
    assert positions_m(holds, 0.0)[19, 0] == pytest.approx(0.55)


def test_words_that_decide_nothing_are_carried_out_by_no_plan() -> None:
    world = World(1, Scenario(1, speed_mps=8.0))
    plan = expert.plan(world.situation, world.road)
    plans = plans_by_manoeuvre(world, world.situation, "")
    assert manoeuvre.decided("road clear . straight .") == ""
    assert not carries_out(plan, "", plans, 8.0)


def test_stopping_for_nothing_comes_to_rest_well_within_the_brakes() -> None:
    world = World(1, Scenario(1, speed_mps=8.0))
    plan = _instead(world, manoeuvre.STOP)
    assert _speeds_mps(plan, world.situation)[-1] < 0.5
    assert plan[:, 0].min() > -4.0


def test_going_at_red_crosses_the_line() -> None:
    world = World(2, red_light(2))
    while manoeuvre.decided(_said(world)) != "stop":
        world.step(0.0, world.road.point(world.situation.s_m)[3], 0.1)
    plan = _instead(world, manoeuvre.GO)
    assert _speeds_mps(plan, world.situation)[-1] > 5.0


def test_passing_on_the_left_leaves_the_lane_and_keeping_it_does_not() -> None:
    straight = World(1, Scenario(1, start_s_m=30.0, speed_mps=6.0))
    aside = positions_m(_instead(straight, manoeuvre.PASS), 6.0) - positions_m(
        _instead(straight, manoeuvre.KEEP), 6.0
    )
    assert aside[:, 1].max() > 1.2
    blocked = World(3, emergency(3))
    while manoeuvre.decided(_said(blocked)) != "pass left":
        blocked.step(0.0, blocked.road.point(blocked.situation.s_m)[3], 0.1)
    assert blocked.situation.path
    imagined = manoeuvre.imagined(blocked.situation, "pass left", manoeuvre.KEEP)
    assert imagined is not None
    assert not imagined.path


def test_another_decision_keeps_what_was_seen() -> None:
    said = "red light ahead . stop at the line . decide stop"
    assert manoeuvre.otherwise(said, "go") == "red light ahead . stop at the line . decide go"


@dataclass
class Talker:
    """Drives as the expert would; told what to say, it obeys, or goes on as it had decided."""

    world: World
    obeys: bool

    def decide(self) -> Decision:
        return self._decision(expert.tokens_of(_said(self.world)), manoeuvre.decided(_said(self.world)))

    def imagine(self, observation: Observation, said: tuple[int, ...], knobs: Knobs, seed: int) -> Decision:
        forced = manoeuvre.decided(" ".join(VOCABULARY[token] for token in said[:-1]))
        return self._decision(said, forced if self.obeys else manoeuvre.decided(_said(self.world)))

    def _decision(self, tokens: tuple[int, ...], does: str) -> Decision:
        words = " ".join(VOCABULARY[token] for token in tokens[:-1])
        plan, latency = _instead(self.world, does), Latency(0, 0, 0)
        return Decision(digest_of(b"talker"), 0, 0, plan, tokens, words, latency, 4, 0)


@pytest.mark.parametrize("obeys", [True, False])
def test_a_policy_that_ignores_its_words_is_found_out(obeys: bool) -> None:
    world = World(1, Scenario(1, start_s_m=30.0, speed_mps=8.0))
    talker = Talker(world, obeys)
    asked = Interrogation(talker, FULL)
    for _ in range(4):
        asked.ask(world, OBSERVATION, talker.decide())
    answers = asked.answers
    assert (answers.decisions, answers.faithful, answers.interventions) == (4, 4, 4)
    assert (answers.followed, answers.anyway) == (4 if obeys else 0, 0)
    assert answers.own_m == 0.0
    assert (answers.forced_m == 0.0) is obeys
    assert set(answers.disobeyed) == (set() if obeys else {"keep lane → stop", "keep lane → pass left"})


def test_a_plan_that_its_words_do_not_name_is_found_out() -> None:
    world = World(1, Scenario(1, start_s_m=30.0, speed_mps=8.0))
    talker = Talker(world, obeys=True)
    lying = talker.imagine(OBSERVATION, expert.tokens_of("road clear . straight . decide stop"), FULL, 0)
    honest = talker.decide()
    asked = Interrogation(talker, FULL)
    asked.ask(world, OBSERVATION, honest)
    asked.ask(world, OBSERVATION, replace(honest, plan=lying.plan))
    assert (asked.answers.decisions, asked.answers.faithful) == (2, 1)
    assert asked.answers.unfaithful == {"keep lane": 1}


def test_a_decision_that_nothing_else_would_differ_from_is_not_counted_as_faithful() -> None:
    world = next(world for world in map(training_world, range(6_000, 6_600)) if not _has_rival(world))
    talker = Talker(world, obeys=True)
    asked = Interrogation(talker, FULL)
    asked.ask(world, OBSERVATION, talker.decide())
    assert (asked.answers.decisions, asked.answers.faithful, asked.answers.without_rival) == (0, 0, 1)


def _has_rival(world: World) -> bool:
    situation, said = world.situation, manoeuvre.decided(_said(world))
    plans = plans_by_manoeuvre(world, situation, said)
    return any(displacement_m(plans[said], plan, situation.speed_mps) >= 1.0 for plan in plans.values())


def test_words_that_decide_nothing_count_against_the_policy() -> None:
    world = World(1, Scenario(1, start_s_m=30.0, speed_mps=8.0))
    talker = Talker(world, obeys=True)
    asked = Interrogation(talker, FULL)
    asked.ask(world, OBSERVATION, replace(talker.decide(), reasoning="road clear ."))
    assert (asked.answers.decisions, asked.answers.faithful) == (1, 0)
    assert asked.answers.interventions == 0
