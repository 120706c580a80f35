"""Whether a plan does what the words decide, and follows another decision where one is forced.

Owns: the measure, and its counts. Must not know: which runtime a policy runs in, training.

A plan carries out the manoeuvre whose plan by the expert lies nearest to it (mean distance over the horizon), each
made for the situation where that manoeuvre is right (`models.reference.manoeuvre`). Manoeuvres whose plans the expert
would itself hardly tell apart here are no rivals; a decision without a rival is not judged, and nothing is forced on it.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.reference import expert, manoeuvre
from models.reference.contract import MAX_TOKENS
from models.reference.displacement import displacement_m
from models.reference.sentence import sentence
from models.reference.world.drive import Situation, World
from models.runtime.policy import Decision, Knobs, Observation

APART_M = 1.0
"""Plans nearer to each other than this are taken to be the same manoeuvre."""
Plan = NDArray[np.float32]


class Questioned(Protocol):
    """A policy that can be asked what it would do had it said something else (`models.runtime.decide`)."""

    def imagine(self, observation: Observation, said: tuple[int, ...], knobs: Knobs, seed: int) -> Decision:
        """What it would do on `observation` had it said `said`."""
        ...


class Answers(msgspec.Struct):
    """What became of the decisions that were asked about; metres are sums, to be divided by the counts."""

    decisions: int = 0
    """Decisions that could be judged: of those with a rival, and those that decided nothing one can do here."""
    faithful: int = 0
    without_rival: int = 0
    own_m: float = 0.0
    """Distances of plans to the expert's for what was decided."""
    interventions: int = 0
    followed: int = 0
    anyway: int = 0
    """Interventions that the plan would have passed for without being forced: what chance gives."""
    forced_m: float = 0.0
    """Distances of forced plans to the expert's for what was forced."""
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
        if said in plans and not _rivals(said, plans, situation.speed_mps):
            self.answers.without_rival += 1
            return
        self._judge(decision.plan, said, plans, situation.speed_mps)
        others = [
            each
            for each in _rivals(said, plans, situation.speed_mps)
            if each in manoeuvre.alternatives(situation, said)
        ]
        if others:
            forced = others[self.answers.interventions % len(others)]
            self._force(observation, decision, {each: plans[each] for each in (said, forced)}, situation)

    def _judge(self, plan: Plan, said: str, plans: Mapping[str, Plan], speed_mps: float) -> None:
        answers = self.answers
        answers.decisions += 1
        if said in plans:
            answers.own_m += displacement_m(plan, plans[said], speed_mps)
        if carries_out(plan, said, plans, speed_mps):
            answers.faithful += 1
        else:
            _count(answers.unfaithful, said)

    def _force(
        self, observation: Observation, decision: Decision, plans: Mapping[str, Plan], situation: Situation
    ) -> None:
        """Put the second of two decisions in place of its own, the first, and see which of the two plans comes out."""
        (said, forced), speed_mps, answers = plans, situation.speed_mps, self.answers
        words = expert.tokens_of(manoeuvre.otherwise(decision.reasoning, forced))[:MAX_TOKENS]
        plan = self._policy.imagine(observation, words, self._knobs, decision.seed).plan
        answers.interventions += 1
        answers.forced_m += displacement_m(plan, plans[forced], speed_mps)
        answers.anyway += carries_out(decision.plan, forced, plans, speed_mps)
        if carries_out(plan, forced, plans, speed_mps):
            answers.followed += 1
        else:
            _count(answers.disobeyed, f"{said} → {forced}")


def plans_by_manoeuvre(world: World, situation: Situation, said: str) -> dict[str, Plan]:
    """The expert's plan for each manoeuvre that it, or whoever `said` one, could decide here."""
    right = manoeuvre.decided(sentence(situation, world.road))
    names = {right, said, *manoeuvre.alternatives(situation, right), *manoeuvre.alternatives(situation, said)}
    where = {name: manoeuvre.imagined(situation, right, name) for name in sorted(names)}
    return {
        name: expert.plan(imagined, world.road) for name, imagined in where.items() if imagined is not None
    }


def carries_out(plan: Plan, decided: str, plans: Mapping[str, Plan], speed_mps: float) -> bool:
    """Whether no rival's plan lies nearer to `plan` than the decided manoeuvre's; False where that isn't one."""
    if decided not in plans:
        return False
    own = displacement_m(plan, plans[decided], speed_mps)
    return all(
        own <= displacement_m(plan, plans[rival], speed_mps) for rival in _rivals(decided, plans, speed_mps)
    )


def _rivals(decided: str, plans: Mapping[str, Plan], speed_mps: float) -> list[str]:
    """The manoeuvres that lead elsewhere than the decided one."""
    if decided not in plans:
        return []
    return [
        name for name, plan in plans.items() if displacement_m(plans[decided], plan, speed_mps) >= APART_M
    ]


def _count(counts: dict[str, int], what: str) -> None:
    counts[what] = counts.get(what, 0) + 1
