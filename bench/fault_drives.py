"""The drives of some seeds: `python -m bench.fault_drives CHECKPOINT FAULTS SEED…`, a line of JSON on stdout for each.

Owns: which course a seed is, what is told of its drive. Must not know: other processes, summaries.
"""

import hashlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from bench.rig import Course, Driver, drive
from bench.variants import variant
from bench.worker_faults import Fault
from bench.wrapped import Wrapped
from models.reference.evaluate import EVALUATION_SEED
from models.reference.world.classes import CLASSES
from models.release.family import family_of
from models.runtime.policy import Decision, Knobs, Observation, Policy

_PRECISION = "int8"
_EARLIEST_S = 1.0


class FaultDrive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One drive: what was asked for, and what became of it, as in `bench.rig.Drive`."""

    seed: int
    scenarios: str
    fault: Fault
    fault_s: float
    complaints: tuple[str, ...]
    states: tuple[str, ...]
    recovered: bool
    well_after_s: float
    stopped: bool


def course_of(seed: int, fault: Fault) -> tuple[str, Course]:
    """The class of scenario and the course of the `seed`th drive; they are the same whatever the fault."""
    rng = np.random.default_rng([seed, 31])
    one = CLASSES[int(rng.integers(len(CLASSES)))]
    begins_s = float(rng.uniform(_EARLIEST_S, one.seconds / 2))
    world_seed = EVALUATION_SEED + seed
    return one.name, Course(world_seed, one.make(world_seed), one.seconds, fault, begins_s)


def driven(driver: Driver, seed: int, fault: Fault) -> FaultDrive:
    """Drive the `seed`th course with `fault`."""
    name, course = course_of(seed, fault)
    found = drive(driver, course)
    return FaultDrive(
        seed,
        name,
        fault,
        round(course.fault_s, 3),
        tuple(sorted(found.complaints)),
        tuple(state.name for state in found.states),
        found.recovered,
        found.well_after_s,
        found.stopped,
    )


class Remembered(Wrapped):
    """A policy that does not compute twice what it was asked before: the drives of a seed are one until the fault begins."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._known: dict[bytes, Decision] = {}

    def decide(self, observation: Observation, knobs: Knobs, seed: int) -> Decision:
        """What the policy decides on the same observation, knobs and seed."""
        asked = hashlib.sha256(
            repr((observation.sequence, observation.mono_ns, observation.instruction, knobs, seed)).encode()
        )
        asked.update(observation.ego_history.tobytes())
        for frames in observation.frames.values():
            asked.update(frames.tobytes())
        key = asked.digest()
        if key not in self._known:
            self._known[key] = self._policy.decide(observation, knobs, seed)
        return self._known[key]


def driver_of(checkpoint: Path) -> Driver:
    """The INT8 policy as a release would ship it."""
    return Driver(variant(_PRECISION, checkpoint).policy, family_of(checkpoint).limits)


def main(arguments: Sequence[str]) -> None:
    """Drive, and tell each drive as it ends."""
    checkpoint, faults, *seeds = arguments
    driver = driver_of(Path(checkpoint))
    for seed in seeds:
        remembering = replace(driver, policy=Remembered(driver.policy))
        for fault in faults.split(","):
            found = driven(remembering, int(seed), Fault(fault))
            sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
            sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    main(sys.argv[1:])
