"""The rig: drives that are the same each time, that notice a collision, and that a failing worker ends as the page says.

The drives are cut short after the fault; whole ones are `python -m bench control --only faults`.
"""

import re
from dataclasses import replace

import pytest

from agent.board.records import LoopState
from bench.fault_drives import FaultDrive, course_of, driver_of
from bench.faults import SEQUENCES, figures
from bench.rig import Course, Drive, Driver, drive
from bench.variants import CHECKPOINT
from bench.worker_faults import Fault
from models.digest import digest_of
from models.reference.contract import reference_contract
from models.reference.world.classes import CLASSES, lane_keeping, stopped_car
from models.reference.world.referee import Fault as Complaint
from models.release.family import family_of
from models.runtime.constant import ConstantVelocity

_ONWARD = Driver(ConstantVelocity(digest_of(b"onward"), reference_contract()), family_of(CHECKPOINT).limits)
"""Looks at nothing, and so is quick."""


@pytest.fixture(scope="module")
def reference() -> Driver:
    return driver_of(CHECKPOINT)


def words_of(found: Drive) -> str:
    return " ".join(state.name for state in found.states)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("seed", [0, 3])
def test_a_drive_goes_as_the_page_says_touches_nothing_and_recovers(
    reference: Driver, fault: Fault, seed: int
) -> None:
    _, course = course_of(seed, fault)
    found = drive(reference, replace(course, fault_s=1.5, seconds=3.0))
    assert re.fullmatch(SEQUENCES[fault], words_of(found)), words_of(found)
    assert not found.complaints
    assert found.recovered
    assert found.workers == (1 if fault in (Fault.NONE, Fault.SLOW) else 2)


def test_the_same_seed_is_the_same_drive_to_the_last_command_and_another_is_not(reference: Driver) -> None:
    course = Course(7, lane_keeping(7), 3.0, Fault.KILLED, 1.0)
    first, second = drive(reference, course), drive(reference, course)
    other = drive(reference, replace(course, scenario=lane_keeping(8)))
    assert first == second
    assert first.applied != other.applied


def test_a_policy_that_drives_into_a_car_is_noticed() -> None:
    found = drive(_ONWARD, Course(3, stopped_car(3), 20.0))
    assert Complaint.COLLIDED in found.complaints


def test_where_every_worker_fails_the_vehicle_stands_and_workers_are_started_ever_more_rarely() -> None:
    course = Course(3, stopped_car(3), 4.0, Fault.HUNG, 1.0, relapses=True)
    found = drive(_ONWARD, course)
    assert words_of(found) == "OK DEGRADED MINIMAL_RISK SAFE_STOP"
    assert not found.complaints
    assert not found.recovered
    assert 4 <= found.workers <= 10


def test_plans_from_the_past_for_ever_end_in_stops_and_never_in_anything_followed_for_longer() -> None:
    course = Course(3, lane_keeping(3), 4.0, Fault.PAST, 1.0, relapses=True)
    found = drive(_ONWARD, course)
    assert not found.recovered
    assert LoopState.SAFE_STOP in found.states
    assert found.workers >= 5
    assert found.decisions_failed >= 10


def told(seed: int, fault: Fault, **what: object) -> FaultDrive:
    """A drive that went well unless `what` says otherwise."""
    usual: dict[str, object] = {
        "complaints": (),
        "states": ("OK",),
        "recovered": True,
        "well_after_s": 0.0,
        "stopped": False,
    }
    return FaultDrive(seed, "cut-in", fault, 4.0, **{**usual, **what})  # type: ignore[arg-type]


def test_a_collision_another_sequence_and_no_recovery_are_counted_and_named() -> None:
    drives = [
        told(0, Fault.NONE),
        told(1, Fault.NONE, complaints=("ran a red light",)),
        told(0, Fault.HUNG, complaints=("collided",), states=("OK", "DEGRADED", "OK")),
        told(1, Fault.HUNG, states=("OK", "DEGRADED", "SAFE_STOP"), stopped=True, recovered=False),
        told(2, Fault.HUNG, states=("OK", "DEGRADED", "MINIMAL_RISK", "OK"), stopped=True, well_after_s=4.5),
    ]
    found = figures(drives)
    none, hung = found["none"], found["hung"]
    assert isinstance(none, dict)
    assert isinstance(hung, dict)
    assert (none["seeds"], none["collisions"], none["sequence_as_documented"]) == (2, 0, 2)
    assert none["complaints"] == {"ran a red light": 1}
    assert none["not_as_promised"] == ["1 cut-in 4.0 s: ran a red light; OK; recovered"]
    counted = ("seeds", "collisions", "off_road", "stopped_safely", "drove_on", "recovered")
    assert [hung[name] for name in counted] == [3, 1, 0, 2, 0, 2]
    assert hung["sequence_as_documented"] == 2
    assert hung["by_class"] == {"cut-in": "2 of 3"}
    assert len(hung["not_as_promised"]) == 2


def test_a_hundred_seeds_are_of_every_class_and_their_faults_begin_in_the_first_half() -> None:
    courses = [course_of(seed, Fault.HUNG) for seed in range(100)]
    assert {name for name, _ in courses} == {one.name for one in CLASSES}
    assert all(0 < course.fault_s <= course.seconds / 2 for _, course in courses)
    assert [course_of(seed, Fault.NONE)[1].scenario for seed in range(100)] == [
        course.scenario for _, course in courses
    ]
