"""What can be wrong with a policy worker, as parts that the rig puts into a real one.

Owns: the faults, the policy and the sight that have them, how long decisions and loading take in virtual time.
Must not know: worlds, what a fault leads to (`bench.faults`).

A decision takes as long as one of the INT8 reference policy did on the machine that `bench reference` was run on: half of
them 3.6 ms, 99 in 100 at most 5.5 ms, drawn from the lognormal distribution with these two. A worker's load (verify,
inspect, open, golden outputs) took 0.5 to 0.8 s there with the program's own start; 0.5 to 2 s are drawn.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from agent.control.worker import LoadedPolicy, ObservationSource
from agent.ports import Clock
from bench.turns import Bell
from bench.wrapped import Wrapped
from models.release.manifest import ReleaseLimits
from models.runtime.policy import Decision, Knobs, Observation, Policy

_S = 1_000_000_000
_FOR_EVER_NS = 1 << 62
_DECISION_S, _DECISION_SIGMA = 3.6e-3, 0.182
"""Median, and ln(5.5 / 3.6) / 2.326: see above."""
_LOAD_S = (0.5, 2.0)
_SLOWER = 10
_PAST_DECISIONS = 20
"""A plan from the past is the one of so many decisions before, or the first."""
_LAG_S = (1.0, 8.0)


class Fault(StrEnum):
    """What is wrong with the worker that drives, from an instant on and as long as it lives."""

    NONE = "none"
    KILLED = "killed"
    """It is ended by SIGKILL."""
    HUNG = "hung"
    """It never comes back from a decision."""
    NOT_FINITE = "not-finite"
    """Its plans are not numbers."""
    PAST = "past"
    """It returns plans that it made earlier, for observations of then."""
    SLOW = "slow"
    """Its decisions take ten times as long."""
    LAGGING = "lagging"
    """It sees the world as it was seconds ago, and says so: its plans are true, and old."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take in virtual time, in nanoseconds, drawn in the order in which they happen."""

    rng: np.random.Generator

    def decision_ns(self) -> int:
        """One decision."""
        return round(self.rng.lognormal(np.log(_DECISION_S), _DECISION_SIGMA) * _S)

    def load_ns(self) -> int:
        """From a worker's start until it is ready."""
        return round(self.rng.uniform(*_LOAD_S) * _S)

    def lag_ns(self) -> int:
        """How old what a lagging worker sees is."""
        return round(self.rng.uniform(*_LAG_S) * _S)


@dataclass(frozen=True, slots=True)
class Ill:
    """A fault that begins at `begins_ns`."""

    fault: Fault
    begins_ns: int

    def has(self, fault: Fault, mono_ns: int) -> bool:
        """Whether `fault` is what is wrong at `mono_ns`."""
        return fault is self.fault and mono_ns >= self.begins_ns


class FaultyPolicy(Wrapped):
    """`policy`, in virtual time and with a fault."""

    def __init__(self, policy: Policy, clock: Clock, pace: Pace, ill: Ill) -> None:
        super().__init__(policy)
        self._clock, self._pace, self._ill = clock, pace, ill
        self._made: deque[Decision] = deque(maxlen=_PAST_DECISIONS)

    def decide(self, observation: Observation, knobs: Knobs, seed: int) -> Decision:
        """Decide, which takes its time. Raises what the policy raises."""
        began_ns = self._clock.mono_ns()
        if self._ill.has(Fault.HUNG, began_ns):
            self._clock.sleep_until(_FOR_EVER_NS)
        slower = _SLOWER if self._ill.has(Fault.SLOW, began_ns) else 1
        decision = self._policy.decide(observation, knobs, seed)
        self._clock.sleep_until(began_ns + slower * self._pace.decision_ns())
        if self._ill.has(Fault.NOT_FINITE, began_ns):
            return replace(decision, plan=np.full_like(decision.plan, np.nan))
        if self._ill.has(Fault.PAST, began_ns) and self._made:
            return self._made[0]
        self._made.append(decision)
        return decision


class FaultySight:
    """What a worker sees of `plant`: waits for it in virtual time, and perhaps sees it late."""

    def __init__(self, plant: ObservationSource, bell: Bell, ill: Ill, lag_ns: int) -> None:
        self._plant, self._bell, self._ill, self._lag_ns = plant, bell, ill, lag_ns
        self._coming: deque[Observation] = deque()

    def news(self, mono_ns: int) -> Observation | None:
        """The latest observation that has come through, where it is another than at the call before."""
        seen = self._plant.news(mono_ns)
        if seen is not None:
            self._coming.append(seen)
        lag_ns = self._lag_ns if self._ill.has(Fault.LAGGING, mono_ns) else 0
        found = None
        while self._coming and self._coming[0].mono_ns <= mono_ns - lag_ns:
            found = self._coming.popleft()
        return found

    def wait(self, until_ns: int) -> bool:
        """Return when the plant shows something, at `until_ns` at the latest."""
        self._bell.wait(until_ns)
        return True


@dataclass(frozen=True, slots=True)
class FaultyLoader:
    """Loads `policy` in virtual time."""

    policy: Policy
    limits: ReleaseLimits
    clock: Clock
    load_ns: Callable[[], int]

    def load(self) -> LoadedPolicy:
        """Returns once that took its time."""
        self.clock.sleep_until(self.clock.mono_ns() + self.load_ns())
        return LoadedPolicy(self.policy, "1.0.0", "int8", self.limits)
