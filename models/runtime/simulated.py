"""A policy without weights: plans of a chosen shape, after a chosen time, failing in chosen ways.

Owns: the behaviours that the control loop and its tests need from a policy, at will.
It keeps every promise of the `Policy` port unless told to break one. Must not know: graphs, runtimes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.contract import PolicyContract
from models.digest import Digest
from models.errors import PolicyFailedError
from models.runtime.policy import Decision, Knobs, Latency, Observation
from models.runtime.signature import action_limits, action_width


class Failure(StrEnum):
    """What goes wrong, from the decision `fail_after` on."""

    NONE = "none"
    RAISES = "raises"
    NOT_FINITE = "not-finite"
    BEYOND_LIMITS = "beyond-limits"
    WRONG_SHAPE = "wrong-shape"
    HANGS = "hangs"
    """`decide` waits for `SimulatedSettings.hang_s` instead of its latency."""
    SLOW = "slow"
    """`decide` takes ten times as long."""
    STAMPED_EARLIER = "stamped-earlier"
    STAMPED_LATER = "stamped-later"
    """The decision claims an observation of a second before, or after, the one that it was given."""


_STAMPED_OFF_NS = {Failure.STAMPED_EARLIER: -1_000_000_000, Failure.STAMPED_LATER: 1_000_000_000}


@dataclass(frozen=True, slots=True)
class SimulatedSettings:
    """Stage latencies in seconds, the plan's constant waypoint, the failure and when it begins."""

    visual_s: float = 0.0
    reason_s_per_token: float = 0.0
    action_s_per_step: float = 0.0
    waypoint: tuple[float, ...] = (0.5, 0.0)
    noise: float = 0.0
    failure: Failure = Failure.NONE
    fail_after: int = 0
    hang_s: float = 3600.0


def _no_wait(_seconds: float) -> None:
    """Time that is only said to pass."""


class SimulatedPolicy:
    """Latencies are slept by `wait` (seconds); without one they are reported and no time passes."""

    def __init__(
        self,
        contract: PolicyContract,
        release_digest: Digest,
        settings: SimulatedSettings = SimulatedSettings(),
        wait: Callable[[float], None] = _no_wait,
    ) -> None:
        self._contract, self._digest = contract, release_digest
        self._settings, self._wait = settings, wait
        self._decided = 0

    @property
    def release_digest(self) -> Digest:
        """Identity that it claims."""
        return self._digest

    @property
    def contract(self) -> PolicyContract:
        """What it consumes and produces."""
        return self._contract

    def decide(self, observation: Observation, knobs: Knobs, seed: int) -> Decision:
        """A constant plan with seeded noise. Raises `PolicyFailedError` where told to."""
        failure = self._failure()
        self._decided += 1
        tokens = self._tokens(knobs.max_reasoning_tokens)
        flow_steps = max(1, min(knobs.flow_steps, self._contract.flow_steps))
        samples = max(1, min(knobs.plan_samples, self._contract.sampled.samples))
        latency = self._latency(len(tokens), flow_steps * samples, 10 if failure is Failure.SLOW else 1)
        total_ns = latency.visual_ns + latency.reason_ns + latency.action_ns
        self._wait(self._settings.hang_s if failure is Failure.HANGS else total_ns / 1e9)
        if failure is Failure.RAISES:
            raise PolicyFailedError(f"decision {self._decided} fails, as it was told to")
        words = self._contract.reasoning.vocabulary
        return Decision(
            release_digest=self._digest,
            observation_sequence=observation.sequence,
            observation_ns=observation.mono_ns + _STAMPED_OFF_NS.get(failure, 0),
            plan=_broken(self._plan(seed), failure),
            tokens=tokens,
            reasoning=" ".join(words[token] for token in tokens if token != self._contract.reasoning.eos),
            latency=latency,
            flow_steps=flow_steps,
            seed=seed,
            plan_samples=samples,
        )

    def _failure(self) -> Failure:
        return self._settings.failure if self._decided >= self._settings.fail_after else Failure.NONE

    def _tokens(self, wanted: int) -> tuple[int, ...]:
        """The vocabulary's first word that is neither bos nor eos, twice, then eos, as far as allowed."""
        spec = self._contract.reasoning
        word = next(token for token in range(len(spec.vocabulary)) if token not in (spec.bos, spec.eos))
        return (word, word, spec.eos)[: max(0, min(wanted, spec.max_tokens))]

    def _latency(self, tokens: int, flow_steps: int, times: int) -> Latency:
        settings = self._settings
        return Latency(
            round(settings.visual_s * times * 1e9),
            round(settings.reason_s_per_token * (tokens + 1) * times * 1e9),
            round(settings.action_s_per_step * flow_steps * times * 1e9),
        )

    def _plan(self, seed: int) -> NDArray[np.float32]:
        shape = (self._contract.horizon_steps, action_width(self._contract))
        noise = np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(
            self._settings.noise
        )
        lowest, highest = action_limits(self._contract)
        waypoint = np.resize(np.array(self._settings.waypoint, np.float32), shape[1])
        return np.asarray(np.clip(noise + waypoint, lowest, highest), np.float32)


def _broken(plan: NDArray[np.float32], failure: Failure) -> NDArray[np.float32]:
    if failure is Failure.NOT_FINITE:
        return np.full_like(plan, np.nan)
    if failure is Failure.BEYOND_LIMITS:
        return plan + np.float32(1e6)
    return plan[:-1] if failure is Failure.WRONG_SHAPE else plan
