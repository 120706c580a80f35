"""Every class of scenario can be driven, tests what it says it tests, and survives as a file."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from models.errors import MalformedError
from models.reference import expert
from models.reference.sentence import sentence
from models.reference.world.classes import (
    CLASSES,
    ScenarioClass,
    cut_in,
    dropout,
    emergency,
    light_and_marking,
    officer,
    pedestrian,
    stop_sign,
    turn,
    work_zone,
)
from models.reference.world.drive import World
from models.reference.world.referee import Fault
from models.reference.world.rig import CAMERAS
from models.reference.world.scenario import (
    KEEP_LANE,
    TURN_LEFT,
    Scenario,
    bytes_from_scenario,
    scenario_from_bytes,
)
from models.reference.world.things import Blockage, Hand

SEEDS = range(5_000, 5_006)
TICK_S = 0.05


def driven(world: World, seconds: float) -> World:
    for tick in range(round(seconds / TICK_S)):
        if tick % 4 == 0:
            plan = expert.plan(world.situation, world.road)
        acceleration, curvature = plan[tick % 4 // 2]
        world.step(float(acceleration), float(curvature), TICK_S)
    return world


def held_at(world: World, speed_mps: float, seconds: float) -> World:
    """Along the lane at this speed, whatever is there: what a driver does who sees nothing."""
    for _ in range(round(seconds / TICK_S)):
        situation = world.situation
        bend = world.road.point(situation.s_m + 0.5)[3]
        steer = bend - 0.06 * situation.offset_m - 0.4 * situation.heading_error_rad
        world.step(2.0 * (speed_mps - situation.speed_mps), steer, TICK_S)
    return world


@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.name)
def test_the_expert_drives_every_class_without_a_fault_to_its_goal(one: ScenarioClass) -> None:
    for seed in SEEDS:
        scenario = one.make(seed)
        world = driven(World(seed, scenario), one.seconds)
        assert not world.faults, (seed, world.faults)
        assert world.progress_m > one.goal_m(scenario), seed


@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.name)
def test_a_scenario_is_a_small_file_that_replays_the_same_drive(one: ScenarioClass) -> None:
    scenario = one.make(SEEDS[0])
    data = bytes_from_scenario(scenario)
    again = scenario_from_bytes(data)
    assert again == scenario
    assert bytes_from_scenario(again) == data
    assert len(data) < 2_000
    first, second = driven(World(1, scenario), 6), driven(World(1, again), 6)
    assert (first.ego, first.faults) == (second.ego, second.faults)
    assert all((second.render()[name] == image).all() for name, image in first.render().items())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"circuit_seed": 1, "x": 2}', b'{"circuit_seed": "1"}', b" " * 70_000]
)
def test_what_is_no_scenario_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        scenario_from_bytes(data)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (stop_sign, Fault.RAN_STOP_SIGN),
        (pedestrian, Fault.ENDANGERED_WALKER),
        (emergency, Fault.COLLIDED),
        (work_zone, Fault.OFF_ROAD),
    ],
)
def test_a_driver_who_sees_nothing_fails_the_long_tail(make: Callable[[int], Scenario], fault: Fault) -> None:
    for seed in SEEDS:
        assert fault in held_at(World(seed, make(seed)), 8.0, 14.0).faults


def test_a_car_that_cuts_in_hits_a_driver_who_does_not_brake_in_most_drives() -> None:
    hit = [Fault.COLLIDED in held_at(World(seed, cut_in(seed)), 9.0, 14.0).faults for seed in SEEDS]
    assert sum(hit) > len(hit) / 2


def test_an_officer_outranks_the_light_and_a_working_light_outranks_the_marking() -> None:
    for seed in range(40):
        told = officer(seed)
        faults = held_at(World(seed, told), 8.0, 10.0).faults
        assert faults == ({Fault.DISOBEYED_OFFICER} if told.officers[0].hand is Hand.STOP else set())
        marked = light_and_marking(seed)
        light = marked.lights[0]
        ran = held_at(World(seed, marked), 8.0, 10.0).faults
        if light.dark:
            assert ran == {Fault.RAN_STOP_SIGN}
        elif light.green_s > 100:
            assert not ran


def test_the_same_junction_leads_another_way_for_another_instruction() -> None:
    left = next(s for s in map(turn, range(100)) if s.instruction == TURN_LEFT)
    straight = msgspec.structs.replace(left, instruction=KEEP_LANE)
    ends = [driven(World(1, scenario), 20).ego for scenario in (left, straight)]
    assert ends[0].y_m > 15 > abs(ends[1].y_m)
    before = [World(1, scenario, CAMERAS).render() for scenario in (left, straight)]
    assert all(np.abs(before[0][name].astype(int) - before[1][name]).max() <= 40 for name in before[0])


def test_a_camera_that_drops_out_is_black_and_the_others_are_not() -> None:
    scenario = dropout(3)
    gap = scenario.dropouts[0]
    world = World(3, scenario, CAMERAS)
    world.time_s = (gap.start_s + gap.end_s) / 2
    images = world.render()
    assert {name for name, image in images.items() if not image.any()} == {gap.camera}


def test_every_sentence_of_the_long_tail_says_what_is_decided() -> None:
    said = set()
    for one in CLASSES:
        world = World(1, one.make(SEEDS[0]))
        for _ in range(24):
            said.add(sentence(world.situation, world.road))
            driven(world, 1.0)
    assert all(" decide " in words and len(words.split()) <= 13 for words in said)
    for part in (
        "hand stop . obey officer",
        "stop sign",
        "hand unclear",
        "follow yellow line",
        "lane blocked",
    ):
        assert any(part in words for words in said), part


@pytest.mark.parametrize("along_m", [-20.0, -8.0, -4.0, 0.0, 3.0, 5.0, 6.5, 8.0, 12.0])
def test_a_vehicle_that_blocks_the_lane_is_in_sight_until_it_no_longer_concerns_one(along_m: float) -> None:
    blockage = Blockage(150.0, -1.0, 6.0, 2.2)
    beside = Scenario(1, start_s_m=150.0 + along_m, offset_m=1.6, speed_mps=5.0)
    empty, blocked = World(1, beside), World(1, msgspec.structs.replace(beside, blockages=(blockage,)))
    images = zip(empty.render().values(), blocked.render().values(), strict=True)
    in_sight = any(not np.array_equal(one, other) for one, other in images)
    assert in_sight == bool(blocked.situation.path) == (along_m < blockage.length_m)
