"""The world is repeatable, endless, and its referee misses nothing."""

import math

import pytest

from models.reference import expert
from models.reference.world.classes import red_light, stopped_car
from models.reference.world.drive import World
from models.reference.world.road import circuit
from models.reference.world.scenario import Scenario, cars_of_lap, endless
from models.reference.world.things import LightColour, StoppedCar, TrafficLight

SEED = 2
ROAD = circuit(SEED)
LONG = max(ROAD.straights, key=lambda straight: straight.length_m)
START = LONG.start_s_m + 1


def _ahead(world: World, seconds: float, acceleration_mps2: float = 0.0) -> None:
    """Straight on, whatever stands there."""
    for _ in range(round(seconds / 0.05)):
        world.step(acceleration_mps2, 0.0, 0.05)


def _drive(world: World, seconds: float) -> None:
    """Let the expert drive."""
    for tick in range(round(seconds / 0.05)):
        if tick % 4 == 0:
            plan = expert.plan(world.situation, world.road)
        acceleration, curvature = plan[tick % 4 // 2]
        world.step(float(acceleration), float(curvature), 0.05)


def test_the_same_seed_and_commands_give_the_same_drive() -> None:
    first, second = World(7), World(7)
    _drive(first, 20)
    _drive(second, 20)
    assert (first.ego, first.time_s) == (second.ego, second.time_s)
    assert all((first.render()[name] == image).all() for name, image in second.render().items())


def test_driving_through_a_stopped_car_is_a_collision() -> None:
    world = World(0, Scenario(SEED, START, speed_mps=10, cars=(StoppedCar(START + 30, 5, (9, 9, 9)),)))
    _ahead(world, 2.4)
    assert not world.collided
    _ahead(world, 0.6)
    assert world.collided


@pytest.mark.parametrize(("offset_s", "ran"), [(20.0, True), (0.0, False), (14.5, False)])
def test_only_crossing_the_line_at_red_is_running_a_red_light(offset_s: float, ran: bool) -> None:
    light = TrafficLight(START + 20, offset_s=offset_s)
    world = World(0, Scenario(SEED, START, speed_mps=10, lights=(light,)))
    _ahead(world, 1.5)
    assert world.ran_red_light is False
    _ahead(world, 0.5)
    assert world.ran_red_light is ran


def test_leaving_the_lane_is_seen_and_not_forgotten() -> None:
    world = World(0, Scenario(SEED, START, heading_error_rad=0.2, speed_mps=10))
    _ahead(world, 0.5)
    assert not world.off_road
    _ahead(world, 1.0)
    assert world.off_road
    for _ in range(80):
        heading, offset = world.situation.heading_error_rad, world.lane_offset_m
        world.step(0.0, -0.02 * offset - 0.2 * heading, 0.05)
    assert abs(world.lane_offset_m) < 1.0
    assert world.off_road


def test_a_stopped_car_drives_off_once_it_has_been_waited_for() -> None:
    world = World(0, Scenario(SEED, START, cars=(StoppedCar(START + 14, 3.0, (9, 9, 9)),)))
    _ahead(world, 2.9, -1.0)
    assert world.situation.car_gap_m == pytest.approx(14 - 4.093)
    _ahead(world, 12, -1.0)
    assert math.isinf(world.situation.car_gap_m)


def test_a_signal_shows_green_yellow_red_in_turn() -> None:
    light = TrafficLight(0.0, 0.0, 5.0, 2.0, 3.0)
    shown = [light.colour(time_s) for time_s in (0, 4.9, 5.1, 7.1, 9.9, 10.1)]
    green, yellow, red = LightColour.GREEN, LightColour.YELLOW, LightColour.RED
    assert shown == [green, green, yellow, red, red, green]


def test_every_circuit_has_signals_and_new_cars_on_new_laps_but_never_both_on_one_straight() -> None:
    for seed in range(10):
        scenario = endless(seed)
        laps = [cars_of_lap(scenario.road, seed, lap) for lap in range(6)]
        assert len(scenario.lights) >= 2
        assert len({tuple(car.rear_s_m % scenario.road.length_m for car in lap) for lap in laps}) > 1
        for light in scenario.lights:
            for car in (car for lap in laps for car in lap):
                away = (car.rear_s_m - light.stop_s_m) % scenario.road.length_m
                assert min(away, scenario.road.length_m - away) > 30


def test_the_test_scenarios_start_before_what_they_test() -> None:
    for seed in range(10):
        light, car = World(seed, red_light(seed)), World(seed, stopped_car(seed))
        assert 30 < light.situation.light_gap_m < 60
        assert light.situation.light is LightColour.RED
        assert 30 < car.situation.car_gap_m < 60


def test_a_step_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="no such step"):
        World(0).step(math.nan, 0.0, 0.1)
