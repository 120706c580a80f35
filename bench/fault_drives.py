"""The drives of some seeds: `python -m bench.fault_drives CHECKPOINT FAULTS SEED…`, a line of JSON on stdout for each.

Owns: which course a seed is, what is told of its drive. Must not know: other processes, summaries.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from bench.faulty import Fault
from bench.rig import Course, Driver, drive
from bench.variants import variant
from models.reference.evaluate import EVALUATION_SEED
from models.reference.world.classes import CLASSES
from models.release.family import family_of

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
    workers: int


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
        found.workers,
    )


def driver_of(checkpoint: Path) -> Driver:
    """The INT8 policy as a release would ship it."""
    return Driver(variant(_PRECISION, checkpoint).policy, family_of(checkpoint).limits)


def main(arguments: Sequence[str]) -> None:
    """Drive, and tell each drive as it ends."""
    checkpoint, faults, *seeds = arguments
    driver = driver_of(Path(checkpoint))
    for seed in seeds:
        for fault in faults.split(","):
            found = driven(driver, int(seed), Fault(fault))
            sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
            sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
