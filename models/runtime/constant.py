"""A policy that decides nothing: on as one goes. What every other must be better than.

Owns: that plan. Must not know: images.
"""

from dataclasses import dataclass

import numpy as np

from models.contract import PolicyContract
from models.digest import Digest
from models.runtime.policy import Decision, Knobs, Latency, Observation

_RECENT_STEPS = 5


@dataclass(frozen=True, slots=True)
class ConstantVelocity:
    """Keeps the speed, and the curvature of the last half second; `release_digest` is of what it stands beside."""

    release_digest: Digest
    contract: PolicyContract

    def decide(self, observation: Observation, knobs: Knobs, seed: int) -> Decision:
        """No acceleration, and the turn of the last poses over the way between them; says nothing."""
        then, now = observation.ego_history[-1 - _RECENT_STEPS], observation.ego_history[-1]
        way_m = float(np.hypot(now[0] - then[0], now[1] - then[1]))
        bend = float(now[2] - then[2]) / way_m if way_m > 0.1 else 0.0
        plan = np.tile(np.array([0.0, bend], np.float32), (self.contract.horizon_steps, 1))
        nothing = Latency(0, 0, 0)
        return Decision(
            self.release_digest,
            observation.sequence,
            observation.mono_ns,
            plan,
            (),
            "",
            nothing,
            knobs.flow_steps,
            seed,
        )
