"""What it is to be a policy: an observation in, a decision out.

Owns: the types that cross between the world, a policy and the control loop, and the `Policy` port.
Must not know: how any runtime computes, what a device is.

The three graphs of a policy, as real deployments cut them (all float32 unless said; P prefix tokens of
width D, L layers, T cached positions, V words, H waypoints):

| graph  | inputs | outputs |
|---|---|---|
| visual | `frames` uint8 (N, height, width, 3), camera-major, oldest first; `ego_history` (steps, 4); `instruction` int64 (1,) | `prefix` (P, D) |
| reason | `prefix` (P, D) or (0, D); `tokens` int64 (S,); `past_key`, `past_value` (L, T, D) | `logits` (V,) of the last position; `key`, `value` (L, T+P+S, D) |
| action | `key`, `value` (L, T, D); `state` (H, 2) in scaled units; `time` (1,) in 0..1 | `velocity` (H, 2) |

A plan is the flow from `state(0)` = Gaussian noise (drawn from the seed) to `state(1)` by Euler steps of
`1 / flow_steps`, times the contract's scales, clipped to its limits. Where several are drawn, each from noise of its own,
the medoid is taken: the state whose distances to the others, as root of the summed squares in scaled units, are least
together; the first of those. One that is not finite is taken only where none is.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.contract import PolicyContract
from models.digest import Digest


@dataclass(frozen=True, slots=True)
class Observation:
    """What the policy sees at t0.

    `frames[camera]` is uint8 (frames, height_px, width_px, 3), RGB, oldest first.
    `ego_history` is float32 (steps, 4): x_m, y_m, yaw_rad, speed_mps in the rig frame at t0, oldest first.
    `mono_ns` is t0 on the device's monotonic clock; `instruction` indexes the contract's instructions.
    """

    sequence: int
    mono_ns: int
    frames: dict[str, NDArray[np.uint8]]
    ego_history: NDArray[np.float32]
    instruction: int


@dataclass(frozen=True, slots=True)
class Knobs:
    """What the governor may turn in a policy; never above the contract's own numbers."""

    max_reasoning_tokens: int
    flow_steps: int
    plan_samples: int = 1
    """Plans to choose from. Golden outputs and what a precision costs are told of one: a choice may turn on a rounding."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time spent by stage, in nanoseconds."""

    visual_ns: int
    reason_ns: int
    action_ns: int


@dataclass(frozen=True, slots=True)
class Decision:
    """One observation → reasoning → plan: the unit of traceability.

    `plan` is float32 (horizon_steps, 2): acceleration in m/s², curvature in 1/m; row k holds from
    `observation_ns + k·dt` to `observation_ns + (k+1)·dt`. `tokens` are the reasoning's ids, without bos,
    with eos where the policy ended by itself. `seed` reproduces the noise of all `plan_samples`.
    """

    release_digest: Digest
    observation_sequence: int
    observation_ns: int
    plan: NDArray[np.float32]
    tokens: tuple[int, ...]
    reasoning: str
    latency: Latency
    flow_steps: int
    seed: int
    plan_samples: int = 1


class Policy(Protocol):
    """A release, loaded."""

    @property
    def release_digest(self) -> Digest:
        """Identity of the release that this policy was loaded from."""
        ...

    @property
    def contract(self) -> PolicyContract:
        """What it consumes and produces."""
        ...

    def decide(self, observation: Observation, knobs: Knobs, seed: int) -> Decision:
        """Decide on `observation`; the same observation, knobs and seed give the same plan.

        Raises:
            PolicyFailedError: it could not; whether to ask again is the caller's choice.
        """
        ...
