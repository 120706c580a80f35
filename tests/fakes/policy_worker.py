"""A policy worker process whose release is simulated: `python -m tests.fakes.policy_worker --root R …`.

Owns: a `PolicyLoader` that takes the behaviour from `simulated.json` in the slot. All else is the real worker.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.adapters.clock import MonotonicClock
from agent.app.worker import arguments_from, work
from agent.config import load_config
from agent.control.worker import LoadedPolicy
from models.digest import Digest
from models.errors import GoldenMismatchError
from models.release.manifest import ReleaseLimits
from models.runtime.simulated import Failure, SimulatedPolicy, SimulatedSettings
from tests.fakes.plant import small_contract

BEHAVIOUR_NAME = "simulated.json"
LIMITS = ReleaseLimits(
    decision_p99_ms=50.0,
    max_speed_mps=12.0,
    max_lateral_mps2=2.5,
    max_jerk_mps3=20.0,
    golden_tolerance_acceleration_mps2=0.01,
    golden_tolerance_curvature_per_m=0.001,
    validated_envelope_w=(40.0, 130.0),
)


class Behaviour(msgspec.Struct, frozen=True):
    """How a simulated release behaves; `failure` as in `SimulatedSettings`, from the decision `fail_after` on."""

    acceleration_mps2: float = 0.5
    curvature_per_m: float = 0.0
    decide_s: float = 0.02
    failure: str = "none"
    fail_after: int = 0
    golden: bool = True
    takes_bytes: int = 0
    """Memory that loading it takes."""


@dataclass(frozen=True)
class SimulatedLoader:
    """Loads nothing; refuses as a golden mismatch would where told to."""

    slot: Path
    digest: Digest
    taken: list[bytearray] = field(default_factory=list)

    def load(self) -> LoadedPolicy:
        """The policy that the slot describes. Raises `GoldenMismatchError` where it is told to."""
        behaviour = msgspec.json.decode((self.slot / BEHAVIOUR_NAME).read_bytes(), type=Behaviour)
        if not behaviour.golden:
            raise GoldenMismatchError("plan 0 is 1.3 m/s² off")
        self.taken.append(bytearray(behaviour.takes_bytes))
        settings = SimulatedSettings(
            visual_s=behaviour.decide_s,
            waypoint=(behaviour.acceleration_mps2, behaviour.curvature_per_m),
            failure=Failure(behaviour.failure),
            fail_after=behaviour.fail_after,
        )
        policy = SimulatedPolicy(small_contract(), self.digest, settings, _wait)
        return LoadedPolicy(policy, f"1.0-{self.slot.name}", "simulated", LIMITS)


def _wait(seconds: float) -> None:
    clock = MonotonicClock()
    clock.sleep_until(clock.mono_ns() + round(seconds * 1e9))


def write_behaviour(slot: Path, behaviour: Behaviour) -> None:
    """Fill a slot."""
    slot.mkdir(parents=True, exist_ok=True)
    (slot / BEHAVIOUR_NAME).write_bytes(msgspec.json.encode(behaviour))


def main() -> int:
    """Be a worker."""
    arguments = arguments_from()
    config = load_config(arguments.root)
    slot = arguments.root / config.paths.state / "slots" / arguments.post.slot
    return work(arguments, SimulatedLoader(slot, arguments.post.digest), config)


if __name__ == "__main__":
    sys.exit(main())
