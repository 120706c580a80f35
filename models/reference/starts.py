"""Where training drives begin: every class of scenario, entered anywhere, off centre, askew, at any speed.

Owns: the mixture. Must not know: images, networks. Collectors give seeds above 10¹², far from those of evaluation.
"""

import math

import numpy as np
from msgspec import structs

from models.reference import expert
from models.reference.world import path
from models.reference.world.classes import CLASSES, ScenarioClass
from models.reference.world.drive import World, shifts_of
from models.reference.world.rig import CAMERAS
from models.reference.world.scenario import Scenario, endless, perturbed
from models.reference.world.things import LightColour, Walker
from models.reference.world.vehicle import FRONT_M

_OLD_SHARE, _ENDLESS_SHARE = 0.25, 0.08
_HARD_BRAKE_MPS2 = -3.5
_MOST_RAD = 0.15
_BEYOND_M = 25.0
_WAITING_SHARE, _SOON_SHARE = 0.5, 0.7
_TIMES = np.array([4.0 if one.name == "ambiguous pedestrian" else 1.0 for one in CLASSES])
_SHARES = _TIMES / _TIMES.sum()
"""Of a person a few pixels tell all; at a twelfth of the drives a trainer on two cores didn't learn them in its time."""


def training_world(seed: int) -> World:
    """The world of one training drive."""
    rng = np.random.default_rng([seed, 8])
    kind = rng.random()
    if kind < _ENDLESS_SHARE:
        world = World(seed, _somewhere(endless(seed), rng), CAMERAS)
    elif kind < _ENDLESS_SHARE + _OLD_SHARE:
        world = World(seed, perturbed(seed), CAMERAS)
    else:
        one = CLASSES[int(rng.choice(len(CLASSES), p=_SHARES))]
        world = World(seed, _entered(one, seed, rng), CAMERAS)
    if world.situation.light is not LightColour.DARK and kind < _ENDLESS_SHARE + _OLD_SHARE:
        world.time_s = float(rng.uniform(0, 27))
    return world


def _somewhere(scenario: Scenario, rng: np.random.Generator) -> Scenario:
    """An endless circuit, entered at a random place, at rest or at its cruising pace."""
    speed = float(rng.choice([0.0, rng.uniform(5, 10)]))
    place = float(rng.uniform(0, scenario.road.length_m))
    return structs.replace(scenario, start_s_m=place, speed_mps=speed)


def _entered(one: ScenarioClass, seed: int, rng: np.random.Generator) -> Scenario:
    """A scenario of a class from a place on the way to its goal, on its path but for an error, slow enough to obey."""
    scenario = _hastened(one.make(seed), rng)
    if rng.random() < 0.2:
        return scenario
    start, wide = scenario.start_s_m + _ahead_m(one, scenario, rng), float(rng.choice([0.25, 1.0]))
    offset, after = path.offset_m(shifts_of(scenario), np.array([start, start + 1.0]))
    error = float(rng.uniform(-1.2, 1.2)) * wide
    heading = math.atan(after - offset) + float(rng.uniform(-_MOST_RAD, _MOST_RAD)) * wide
    speed = (
        0.0 if rng.random() < (_WAITING_SHARE if scenario.walkers else 0.25) else float(rng.uniform(0, 11))
    )
    entered = structs.replace(
        scenario, start_s_m=start, offset_m=float(offset) + error, heading_error_rad=heading, speed_mps=speed
    )
    while entered.speed_mps > 0.5 and _is_too_fast(World(seed, entered)):
        entered = structs.replace(entered, speed_mps=entered.speed_mps * 0.6)
    return entered


def _ahead_m(one: ScenarioClass, scenario: Scenario, rng: np.random.Generator) -> float:
    """How far on: often just before what one stops for, else anywhere up to the goal, or beyond what leads aside."""
    if scenario.cut_ins or scenario.leads:
        return 0.0
    goal = one.goal_m(scenario)
    stands = scenario.lights or scenario.signs or scenario.cars or scenario.walkers
    if stands and rng.random() < 0.4:
        return goal - FRONT_M - float(rng.uniform(0.5, 12.0))
    return float(rng.uniform(0, goal + (_BEYOND_M if scenario.blockages or scenario.works else 0.0)))


def _hastened(scenario: Scenario, rng: np.random.Generator) -> Scenario:
    """What would happen late in a drive, within the seconds that a training drive lasts."""
    front = scenario.start_s_m + FRONT_M
    cut_ins = tuple(
        structs.replace(car, rear_s_m=front + float(rng.uniform(-9.0, car.gap_m))) for car in scenario.cut_ins
    )
    leads = tuple(
        structs.replace(car, speeds=tuple((time_s - early, mps) for time_s, mps in car.speeds))
        for car in scenario.leads
        for early in (float(rng.uniform(0, 9)),)
    )
    walkers = tuple(_decided(walker, rng) for walker in scenario.walkers)
    dropouts = tuple(structs.replace(gap, start_s=float(rng.uniform(-2, 3))) for gap in scenario.dropouts)
    return structs.replace(scenario, cut_ins=cut_ins, leads=leads, walkers=walkers, dropouts=dropouts)


def _decided(walker: Walker, rng: np.random.Generator) -> Walker:
    """Mostly someone whose mind is soon made up, and who is on the way already: else a drive ends before they are gone."""
    if rng.random() < 1 - _SOON_SHARE:
        return walker
    start = walker.start_d_m * (float(rng.uniform(0.0, 1.0)) if walker.speed_mps > 0 else 1.0)
    return structs.replace(walker, dwell_s=float(rng.uniform(0.0, 1.0)), start_d_m=start)


def _is_too_fast(world: World) -> bool:
    return bool(expert.plan(world.situation, world.road)[:5, 0].min() < _HARD_BRAKE_MPS2)
