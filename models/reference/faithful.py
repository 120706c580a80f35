"""Whether a plan does what the words decide, and follows another decision where one is forced.

Owns: the measure, and its counts. Must not know: which runtime a policy runs in, training.

A plan carries out the manoeuvre whose plan by the expert lies nearest to it (mean distance over the horizon), each
made for the situation where that manoeuvre is right (`models.reference.manoeuvre`). Manoeuvres whose plans the expert
would itself hardly tell apart here aren't held against it, and not forced.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.contract import PolicyContract
from models.reference import expert, manoeuvre
from models.reference.displacement import displacement_m
from models.reference.sentence import sentence
from models.reference.world.drive import Situation, World
from models.runtime.policy import Decision, Knobs, Observation

APART_M = 1.0
"""Plans nearer to each other than this are taken to be the same manoeuvre."""
Plan = NDArray[np.float32]


class Questioned(Protocol):
    """A policy that can be asked what it would do had it said something else (`models.runtime.decide`)."""

    @property
    def contract(self) -> PolicyContract:
        """What it consumes and produces."""
        ...

    def imagine(self, observation: Observation, said: tuple[int, ...], knobs: Knobs, seed: int) -> Decision:
        """What it would do on `observation` had it said `said`."""
        ...


class Answers(msgspec.Struct):
    """How many decisions were asked, and what of."""

    decisions: int = 0
    faithful: int = 0
    interventions: int = 0
    followed: int = 0
    unfaithful: dict[str, int] = {}
    """How often, by what was decided, the plan did something else."""
    disobeyed: dict[str, int] = {}
    """How often, by `decided → forced`, the plan did not follow."""


class Interrogation:
    """Asks `policy` what it decided and does, and what it would do had it decided otherwise."""

    def __init__(self, policy: Questioned, knobs: Knobs) -> None:
        self._policy, self._knobs = policy, knobs
        self.answers = Answers()

    def ask(self, world: World, observation: Observation, decision: Decision) -> None:
        """Ask about one decision, made in `world` on `observation`."""
        situation, said = world.situation, manoeuvre.decided(decision.reasoning)
        plans = plans_by_manoeuvre(world, situation, said)
        self.answers.decisions += 1
        if carries_out(decision.plan, said, plans, situation.speed_mps):
            self.answers.faithful += 1
        else:
            _count(self.answers.unfaithful, said)
        others = _others(situation, said, plans)
        if others:
            forced = others[self.answers.interventions % len(others)]
            self._force(
                observation, decision, forced, {name: plans[name] for name in (said, forced)}, situation
            )

    def _force(
        self,
        observation: Observation,
        decision: Decision,
        forced: str,
        plans: Mapping[str, Plan],
        situation: Situation,
    ) -> None:
        """Put the decision `forced` in place of its own, and see which of the two plans comes out."""
        said = manoeuvre.decided(decision.reasoning)
        words = tokens_of(manoeuvre.otherwise(decision.reasoning, forced), self._policy.contract)
        plan = self._policy.imagine(observation, words, self._knobs, decision.seed).plan
        self.answers.interventions += 1
        if carries_out(plan, forced, plans, situation.speed_mps):
            self.answers.followed += 1
        else:
            _count(self.answers.disobeyed, f"{said} → {forced}")


def _others(situation: Situation, said: str, plans: Mapping[str, Plan]) -> list[str]:
    """What could be forced here, and would lead elsewhere."""
    return [
        other
        for other in manoeuvre.alternatives(situation, said)
        if said in plans
        and other in plans
        and displacement_m(plans[said], plans[other], situation.speed_mps) >= APART_M
    ]


def _count(counts: dict[str, int], what: str) -> None:
    counts[what] = counts.get(what, 0) + 1


def plans_by_manoeuvre(world: World, situation: Situation, said: str) -> dict[str, Plan]:
    """The expert's plan for each manoeuvre that it, or whoever `said` one, could decide here."""
    right = manoeuvre.decided(sentence(situation, world.road))
    names = {
        right,
        said,
        *manoeuvre.alternatives(situation, right),
        *manoeuvre.alternatives(situation, said),
    }
    where = {name: manoeuvre.imagined(situation, right, name) for name in sorted(names)}
    return {
        name: expert.plan(imagined, world.road) for name, imagined in where.items() if imagined is not None
    }


def carries_out(plan: Plan, decided: str, plans: Mapping[str, Plan], speed_mps: float) -> bool:
    """Whether no other manoeuvre's plan lies nearer to `plan` than the decided one's; False where that isn't one."""
    if decided not in plans:
        return False
    own = displacement_m(plan, plans[decided], speed_mps)
    return all(
        own <= displacement_m(plan, other, speed_mps)
        for other in plans.values()
        if displacement_m(plans[decided], other, speed_mps) >= APART_M
    )


def tokens_of(words: str, contract: PolicyContract) -> tuple[int, ...]:
    """Ids of words of the contract's vocabulary, as many as it allows. Raises `ValueError` for an unknown word."""
    vocabulary = contract.reasoning.vocabulary
    return tuple(vocabulary.index(word) for word in words.split())[: contract.reasoning.max_tokens]
