"""The classes of scenario that a policy is judged by: five nominal, seven of the long tail, each made from a seed.

Owns: what each class is, how long it lasts, how far one must come. Must not know: who drives.
The classes take any seed; which are for training and which for evaluation, the callers keep apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from models.reference.world.road import circuit
from models.reference.world.scenario import (
    APPROACH_M,
    KEEP_LANE,
    TURN_LEFT,
    TURN_RIGHT,
    Scenario,
    car_colour,
    pick,
    stop_line,
)
from models.reference.world.things import (
    Blockage,
    CutIn,
    Dropout,
    Fork,
    Hand,
    LeadCar,
    Officer,
    StoppedCar,
    StopSign,
    TrafficLight,
    Walker,
    WorkZone,
)
from models.reference.world.vehicle import FRONT_M

_RED_FOR_LONG = TrafficLight(0.0, offset_s=44.0, green_s=40.0, yellow_s=4.0, red_s=200.0)
_GREEN_FOR_LONG = TrafficLight(0.0, offset_s=0.0, green_s=200.0)
_DARK = TrafficLight(0.0, dark=True)
_CAMERAS = ("cross_left_120", "front_wide_120", "cross_right_120", "front_tele_30")


@dataclass(frozen=True, slots=True)
class ScenarioClass:
    """How to make one, how long it lasts, how far the rear axle must come, and whether it must come to rest."""

    name: str
    long_tail: bool
    make: Callable[[int], Scenario]
    seconds: float
    goal_m: Callable[[Scenario], float]
    must_stand: Callable[[Scenario], bool]


def lane_keeping(seed: int) -> Scenario:
    """An empty road, entered somewhere at speed, off centre and askew."""
    rng = np.random.default_rng([seed, 4])
    return Scenario(
        seed,
        start_s_m=float(rng.uniform(0, circuit(seed).length_m)),
        offset_m=float(rng.uniform(-0.6, 0.6)),
        heading_error_rad=float(rng.uniform(-0.06, 0.06)),
        speed_mps=float(rng.uniform(4, 10)),
    )


def red_light(seed: int) -> Scenario:
    """A signal ahead that is red on arrival and turns green after 9 to 14 s."""
    rng = np.random.default_rng([seed, 5])
    stop = stop_line(pick(circuit(seed), rng), rng)
    until_green = float(rng.uniform(9, 14))
    light = TrafficLight(stop, offset_s=100 - until_green, green_s=40.0, yellow_s=4.0, red_s=56.0)
    speed = float(rng.uniform(4, 10))
    return Scenario(seed, start_s_m=stop - float(rng.uniform(40, 60)), speed_mps=speed, lights=(light,))


def stopped_car(seed: int) -> Scenario:
    """A car stopped in the lane ahead, that drives off when it has been waited for."""
    rng = np.random.default_rng([seed, 6])
    straight = pick(circuit(seed), rng)
    rear = straight.start_s_m + float(rng.uniform(APPROACH_M, straight.length_m - 10))
    car = StoppedCar(rear, float(rng.uniform(3, 6)), car_colour(rng))
    speed = float(rng.uniform(4, 10))
    return Scenario(seed, start_s_m=rear - float(rng.uniform(40, 60)), speed_mps=speed, cars=(car,))


def lead_car(seed: int) -> Scenario:
    """A car that drives ahead, slows down or stops on the way, and goes on."""
    rng = np.random.default_rng([seed, 10])
    straight = pick(circuit(seed), rng)
    start, first = straight.start_s_m + float(rng.uniform(0, 20)), float(rng.uniform(4, 8))
    slows, slow = float(rng.uniform(3, 6)), float(rng.choice([0.0, rng.uniform(1, 4)]))
    brakes, stays = (first - slow) / float(rng.uniform(1.5, 3.0)), float(rng.uniform(2, 4))
    goes = slows + brakes + stays
    last = (goes + 5, float(rng.uniform(6, 8)))
    speeds = ((slows, first), (slows + brakes, slow), (goes, slow), last)
    car = LeadCar(start + FRONT_M + float(rng.uniform(14, 30)), speeds, car_colour(rng))
    return Scenario(seed, start_s_m=start, speed_mps=float(rng.uniform(4, first)), leads=(car,))


def stop_sign(seed: int) -> Scenario:
    """A stop sign with its line: stop, look, go on."""
    rng = np.random.default_rng([seed, 11])
    stop = stop_line(pick(circuit(seed), rng), rng)
    return _before(seed, stop, rng, signs=(StopSign(stop),))


def turn(seed: int) -> Scenario:
    """A junction, and one of three instructions."""
    rng = np.random.default_rng([seed, 12])
    fork = Fork(90.0, float(rng.uniform(14, 20)), float(rng.uniform(9.5, 13)), float(rng.uniform(1.3, 1.65)))
    instruction = str(rng.choice([KEEP_LANE, TURN_LEFT, TURN_RIGHT]))
    start, speed = fork.s_m - float(rng.uniform(40, 65)), float(rng.uniform(4, 9))
    return Scenario(seed, start_s_m=start, speed_mps=speed, fork=fork, instruction=instruction)


def emergency(seed: int) -> Scenario:
    """An emergency vehicle that blocks part of the lane: pass it on the left, slowly."""
    rng = np.random.default_rng([seed, 13])
    straight = pick(circuit(seed), rng)
    rear = straight.start_s_m + float(rng.uniform(APPROACH_M, straight.length_m - 15))
    blockage = Blockage(rear, float(rng.uniform(-1.8, -0.7)), float(rng.uniform(5, 7)), 2.2)
    return _before(seed, rear, rng, blockages=(blockage,))


def officer(seed: int) -> Scenario:
    """An officer whose hand contradicts the signal, in either sense."""
    rng = np.random.default_rng([seed, 14])
    stop = stop_line(pick(circuit(seed), rng), rng)
    goes = bool(rng.random() < 0.5)
    light = _at(_RED_FOR_LONG if goes else _GREEN_FOR_LONG, stop)
    rules = Officer(stop, Hand.GO if goes else Hand.STOP, float(rng.uniform(3, 6)))
    return _before(seed, stop, rng, lights=(light,), officers=(rules,))


def light_and_marking(seed: int) -> Scenario:
    """A painted stop under a signal: the signal counts where it works, the marking where it is dark."""
    rng = np.random.default_rng([seed, 15])
    stop = stop_line(pick(circuit(seed), rng), rng)
    red = TrafficLight(stop, offset_s=100 - float(rng.uniform(8, 12)), green_s=40.0, yellow_s=4.0, red_s=56.0)
    light = (_at(_GREEN_FOR_LONG, stop), red, _at(_DARK, stop))[int(rng.integers(3))]
    return _before(seed, stop, rng, lights=(light,), signs=(StopSign(stop, plate=False),))


def work_zone(seed: int) -> Scenario:
    """Cones and temporary yellow lines that lead the lane aside, against the white ones."""
    rng = np.random.default_rng([seed, 16])
    straight = pick(circuit(seed), rng)
    start = straight.start_s_m + float(rng.uniform(APPROACH_M, straight.length_m - 20))
    works = WorkZone(
        start, start + float(rng.uniform(20, 45)), float(rng.uniform(1.3, 2.5)), float(rng.uniform(20, 28))
    )
    return _before(seed, start, rng, works=(works,))


def pedestrian(seed: int) -> Scenario:
    """A person at a crossing whose gesture is ambiguous: stop, wait until it is plain."""
    rng = np.random.default_rng([seed, 17])
    place = stop_line(pick(circuit(seed), rng), rng)
    side = float(rng.choice([-2.7, 2.9]))
    speed = float(rng.choice([0.0, rng.uniform(1.2, 1.8)]))
    return _before(seed, place, rng, walkers=(Walker(place, side, float(rng.uniform(2, 5)), speed),))


def cut_in(seed: int) -> Scenario:
    """A car that overtakes, merges with little room, and is slow."""
    rng = np.random.default_rng([seed, 18])
    straight = pick(circuit(seed), rng)
    start = straight.start_s_m + float(rng.uniform(0, 15))
    car = CutIn(
        start - float(rng.uniform(8, 20)),
        float(rng.uniform(2.5, 4)),
        float(rng.uniform(6, 11)),
        float(rng.uniform(1.8, 2.8)),
        float(rng.uniform(3, 6)),
        float(rng.uniform(2, 5)),
        car_colour(rng),
    )
    return Scenario(seed, start_s_m=start, speed_mps=float(rng.uniform(6, 10)), cut_ins=(car,))


def dropout(seed: int) -> Scenario:
    """A lane, a red light or a stopped car, while one of the cameras shows nothing."""
    rng = np.random.default_rng([seed, 19])
    base = (lane_keeping, red_light, stopped_car)[int(rng.integers(3))](seed)
    start = float(rng.uniform(0.5, 4))
    gap = Dropout(str(rng.choice(_CAMERAS)), start, start + float(rng.uniform(5, 10)))
    return msgspec.structs.replace(base, dropouts=(gap,))


def _before(seed: int, s_m: float, rng: np.random.Generator, **things: object) -> Scenario:
    """A start 40 to 60 m before `s_m` at speed."""
    start, speed = s_m - float(rng.uniform(40, 60)), float(rng.uniform(4, 10))
    return msgspec.structs.replace(Scenario(seed, start_s_m=start, speed_mps=speed), **things)


def _at(light: TrafficLight, stop_s_m: float) -> TrafficLight:
    return msgspec.structs.replace(light, stop_s_m=stop_s_m)


def _past_hazard(scenario: Scenario) -> float:
    """Beyond everything that stands; 60 m where nothing does."""
    places = [light.stop_s_m for light in scenario.lights] + [sign.stop_s_m for sign in scenario.signs]
    places += [car.rear_s_m for car in scenario.cars]
    places += [walker.s_m for walker in scenario.walkers]
    places += [blockage.rear_s_m + blockage.length_m for blockage in scenario.blockages]
    places += [works.end_s_m + works.ramp_m for works in scenario.works]
    return max((place - scenario.start_s_m for place in places), default=60.0)


def _past_fork(scenario: Scenario) -> float:
    fork = scenario.fork
    assert fork is not None
    radius = {TURN_LEFT: fork.left_radius_m, TURN_RIGHT: fork.right_radius_m}.get(scenario.instruction, 15.0)
    return fork.s_m - scenario.start_s_m + radius * fork.angle_rad + 12.0


def _never(_: Scenario) -> bool:
    return False


def _always(_: Scenario) -> bool:
    return True


def _for_hand_or_marking(scenario: Scenario) -> bool:
    """Where the rule is to come to rest. At red it is not: one may roll up until it turns green."""
    if scenario.officers:
        return scenario.officers[0].hand is Hand.STOP
    return scenario.lights[0].dark


def _behind_car(scenario: Scenario) -> bool:
    return bool(scenario.cars)


CLASSES = (
    ScenarioClass("lane keeping", False, lane_keeping, 24.0, lambda _: 140.0, _never),
    ScenarioClass("lead car", False, lead_car, 24.0, lambda _: 60.0, _never),
    ScenarioClass("red light", False, red_light, 26.0, _past_hazard, _never),
    ScenarioClass("stop sign", False, stop_sign, 26.0, _past_hazard, _always),
    ScenarioClass("turn by instruction", False, turn, 26.0, _past_fork, _never),
    ScenarioClass("emergency vehicle", True, emergency, 32.0, _past_hazard, _never),
    ScenarioClass("officer against light", True, officer, 28.0, _past_hazard, _for_hand_or_marking),
    ScenarioClass("light against marking", True, light_and_marking, 28.0, _past_hazard, _for_hand_or_marking),
    ScenarioClass("work zone", True, work_zone, 32.0, _past_hazard, _never),
    ScenarioClass("ambiguous pedestrian", True, pedestrian, 30.0, _past_hazard, _always),
    ScenarioClass("cut-in", True, cut_in, 24.0, lambda _: 60.0, _never),
    ScenarioClass("sensor dropout", True, dropout, 30.0, _past_hazard, _behind_car),
)
"""Every class; the goals are of the rear axle's progress along the road."""
