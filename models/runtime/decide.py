"""The decision, whatever runs the graphs: see, reason, act.

Owns: greedy reasoning, the flow from noise to plans and the choice among them, time by stage; and `Graphs`, the port that a
runtime fills.
Must not know: runtimes, files, who asks, whether the plan is any good (the gate and the worker judge, NaN included).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.contract import JointActions, PolicyContract, check_sampling
from models.digest import Digest
from models.errors import PolicyFailedError
from models.runtime.policy import Decision, Knobs, Latency, Observation
from models.runtime.signature import action_limits, action_width

Floats = NDArray[np.float32]
Cache = TypeVar("Cache")
"""Keys and values of what was said so far, in a runtime's own keeping."""


class Graphs(Protocol[Cache]):
    """The three graphs of a policy, opened. Every method raises `PolicyFailedError` where the runtime fails."""

    def see(self, frames: NDArray[np.uint8], ego_history: Floats, instruction: int) -> Floats:
        """The prefix (P, D) of frames (N, height_px, width_px, 3), camera-major, and a history (steps, 4)."""
        ...

    def begin(self, prefix: Floats, token: int) -> tuple[Floats, Cache]:
        """Logits (V,) after the prefix and the first token, and the cache that holds both."""
        ...

    def extend(self, token: int, cache: Cache) -> tuple[Floats, Cache]:
        """Logits (V,) after one more token, and the cache with it; the cache given is not used again."""
        ...

    def velocity(self, cache: Cache, state: Floats, moment: float) -> Floats:
        """Where the flow moves `state` (H, A), in scaled units, at `moment` in 0..1."""
        ...


@dataclass(frozen=True, slots=True)
class Decider(Generic[Cache]):
    """A release's graphs and the contract that they fit: a `Policy`, whatever runtime opened them.

    Raises `ContractMismatchError` for a contract that asks for another sampling than is done here.
    """

    release_digest: Digest
    contract: PolicyContract
    graphs: Graphs[Cache]

    def __post_init__(self) -> None:
        check_sampling(self.contract)

    def decide(self, observation: Observation, knobs: Knobs, seed: int) -> Decision:
        """Decide on `observation`; knobs above the contract's numbers count as those.

        Raises:
            PolicyFailedError: the runtime failed, or a graph's output has not the contract's shape.
        """
        return self._decided(
            observation, knobs, seed, lambda prefix: self._reason(prefix, knobs.max_reasoning_tokens)
        )

    def imagine(self, observation: Observation, said: tuple[int, ...], knobs: Knobs, seed: int) -> Decision:
        """What it would do on `observation` had it said `said`, ids without bos; what stands behind eos is not heard.

        Of `knobs` only flow steps and plan samples count.

        Raises:
            PolicyFailedError: as `decide`.
            ValueError: more tokens than the contract has, or one that isn't in its vocabulary.
        """
        spec = self.contract.reasoning
        if len(said) > spec.max_tokens or not all(0 <= token < len(spec.vocabulary) for token in said):
            raise ValueError(
                f"{said}: the contract has {spec.max_tokens} tokens of {len(spec.vocabulary)} words"
            )
        return self._decided(observation, knobs, seed, lambda prefix: self._recite(prefix, said))

    def _decided(
        self,
        observation: Observation,
        knobs: Knobs,
        seed: int,
        reason: Callable[[Floats], tuple[tuple[int, ...], Cache]],
    ) -> Decision:
        flow_steps = max(1, min(knobs.flow_steps, self.contract.flow_steps))
        samples = max(1, min(knobs.plan_samples, self.contract.sampled.samples))
        start_ns = time.perf_counter_ns()
        prefix = self._see(observation)
        seen_ns = time.perf_counter_ns()
        tokens, cache = reason(prefix)
        reasoned_ns = time.perf_counter_ns()
        plan = self._act(cache, flow_steps, seed, samples)
        acted_ns = time.perf_counter_ns()
        return Decision(
            release_digest=self.release_digest,
            observation_sequence=observation.sequence,
            observation_ns=observation.mono_ns,
            plan=plan,
            tokens=tokens,
            reasoning=words_of(tokens, self.contract),
            latency=Latency(seen_ns - start_ns, reasoned_ns - seen_ns, acted_ns - reasoned_ns),
            flow_steps=flow_steps,
            seed=seed,
            plan_samples=samples,
        )

    def _see(self, observation: Observation) -> Floats:
        frames = np.concatenate([observation.frames[camera.name] for camera in self.contract.cameras])
        return self.graphs.see(frames, observation.ego_history, observation.instruction)

    def _reason(self, prefix: Floats, max_tokens: int) -> tuple[tuple[int, ...], Cache]:
        """Greedy tokens until eos; the cache holds the prefix, bos and every token but eos."""
        spec = self.contract.reasoning
        tokens: list[int] = []
        logits, cache = self.graphs.begin(prefix, spec.bos)
        while len(tokens) < min(max_tokens, spec.max_tokens):
            tokens.append(self._likeliest(logits))
            if tokens[-1] == spec.eos:
                break
            logits, cache = self.graphs.extend(tokens[-1], cache)
        return tuple(tokens), cache

    def _recite(self, prefix: Floats, said: tuple[int, ...]) -> tuple[tuple[int, ...], Cache]:
        """The cache that holds the prefix, bos and every given token up to eos."""
        spec = self.contract.reasoning
        heard = said[: said.index(spec.eos)] if spec.eos in said else said
        _, cache = self.graphs.begin(prefix, spec.bos)
        for token in heard:
            _, cache = self.graphs.extend(token, cache)
        return said, cache

    def _likeliest(self, logits: Floats) -> int:
        if logits.shape != (len(self.contract.reasoning.vocabulary),):
            raise PolicyFailedError(f"reason graph: logits have the shape {logits.shape}")
        return int(np.argmax(logits))

    def _act(self, cache: Cache, flow_steps: int, seed: int, samples: int) -> Floats:
        """The medoid of so many plans, in the contract's units and limits."""
        drawn = [self._flow(cache, flow_steps, noise) for noise in _noises(seed, samples)]
        return plan_from_state(medoid(drawn), self.contract)

    def _flow(self, cache: Cache, flow_steps: int, noise: np.random.Generator) -> Floats:
        """From noise to a plan's state, by Euler's method."""
        shape = (self.contract.horizon_steps, action_width(self.contract))
        state = noise.standard_normal(shape, np.float32)
        step = np.float32(1 / flow_steps)
        for index in range(flow_steps):
            velocity = self.graphs.velocity(cache, state, index / flow_steps)
            if velocity.shape != shape:
                raise PolicyFailedError(f"action graph: velocity has the shape {velocity.shape}")
            state = state + step * velocity
        return state


def _noises(seed: int, samples: int) -> list[np.random.Generator]:
    """Noise for each plan; that of the first is the same however many follow."""
    children = (np.random.SeedSequence(seed, spawn_key=(number,)) for number in range(1, samples))
    return [np.random.default_rng(seed), *map(np.random.default_rng, children)]


def medoid(states: Sequence[Floats]) -> Floats:
    """The one of `states`, all of one shape, whose distances to the others are least together; the first of several.

    One that is not finite is none of them, unless all are.
    """
    finite = [state for state in states if np.isfinite(state).all()]
    if not finite:
        return states[0]
    rows = np.stack(finite).reshape(len(finite), -1).astype(float)
    return finite[int(np.argmin([np.linalg.norm(rows - row, axis=1).sum() for row in rows]))]


def plan_from_state(state: Floats, contract: PolicyContract) -> Floats:
    """`state` (H, A) times the contract's scales, clipped to its limits; NaN stays NaN."""
    space = contract.action_space
    if not isinstance(space, JointActions):
        state = state * np.array((space.scale_acceleration_mps2, space.scale_curvature_per_m), np.float32)
    return np.clip(state, *action_limits(contract))


def words_of(tokens: tuple[int, ...], contract: PolicyContract) -> str:
    """The reasoning as text, without eos."""
    spec = contract.reasoning
    return " ".join(spec.vocabulary[token] for token in tokens if token != spec.eos)
