"""A policy that decides nothing: on as one goes. What every other must be better than.

Owns: that plan. Must not know: images.
"""

import numpy as np

from models.contract import PolicyContract
from models.digest import Digest
from models.runtime.policy import Decision, Knobs, Latency, Observation

_RECENT_STEPS = 5


class ConstantVelocity:
    """Keeps the speed, and the curvature of the last half second."""

    def __init__(self, release_digest: Digest, contract: PolicyContract) -> None:
        self._digest, self._contract = release_digest, contract

    @property
    def release_digest(self) -> Digest:
        """Identity of the release that it stands beside."""
        return self._digest

    @property
    def contract(self) -> PolicyContract:
        """What it consumes and produces."""
        return self._contract

    def decide(self, observation: Observation, knobs: Knobs, seed: int) -> Decision:
        """No acceleration, and the turn of the last poses over the way between them; says nothing."""
        then, now = observation.ego_history[-1 - _RECENT_STEPS], observation.ego_history[-1]
        way_m = float(np.hypot(now[0] - then[0], now[1] - then[1]))
        bend = float(now[2] - then[2]) / way_m if way_m > 0.1 else 0.0
        plan = np.tile(np.array([0.0, bend], np.float32), (self._contract.horizon_steps, 1))
        nothing = Latency(0, 0, 0)
        return Decision(
            self._digest,
            observation.sequence,
            observation.mono_ns,
            plan,
            (),
            "",
            nothing,
            knobs.flow_steps,
            seed,
        )
