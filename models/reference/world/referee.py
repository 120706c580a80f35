"""The referee: what went wrong in a drive, once and for all.

Owns: the sticky facts, and the rules behind them. Must not know: who drives, how anything looks.
"""

from dataclasses import dataclass
from enum import StrEnum

from models.reference.world.path import Shift, corridor_m
from models.reference.world.scenario import Scenario
from models.reference.world.things import CAR_LENGTH_M, CAR_WIDTH_M, Hand, LightColour, TrafficLight
from models.reference.world.traffic import SIGHT_M, Traffic
from models.reference.world.vehicle import FRONT_M, LENGTH_M, WIDTH_M

_PERSON_M = 0.6


class Fault(StrEnum):
    """What a driver can do wrong."""

    COLLIDED = "collided"
    OFF_ROAD = "off road"
    RAN_RED_LIGHT = "ran a red light"
    RAN_STOP_SIGN = "ran a stop sign"
    DISOBEYED_OFFICER = "disobeyed an officer"
    ENDANGERED_WALKER = "endangered a person"


@dataclass(frozen=True, slots=True)
class Crossing:
    """One step of the ego: its front bumper's arc length before and after, and its lateral offset after."""

    before_s_m: float
    after_s_m: float
    offset_m: float

    def passes(self, line_s_m: float, lap_m: float) -> bool:
        """Whether the bumper crossed the line, on any lap."""
        return (self.after_s_m - line_s_m) // lap_m > (self.before_s_m - line_s_m) // lap_m


def faults(
    scenario: Scenario, shifts: tuple[Shift, ...], traffic: Traffic, step: Crossing, time_s: float
) -> set[Fault]:
    """What is wrong after this step."""
    found = _line_faults(scenario, traffic, step, time_s)
    low, high = corridor_m(shifts, step.after_s_m - FRONT_M)
    if not low <= step.offset_m <= high:
        found.add(Fault.OFF_ROAD)
    if _touches(traffic, step):
        found.add(Fault.COLLIDED)
    lap = scenario.road.length_m
    if any(step.passes(w.spec.s_m, lap) and not w.is_clear for w in traffic.walkers):
        found.add(Fault.ENDANGERED_WALKER)
    return found


def _line_faults(scenario: Scenario, traffic: Traffic, step: Crossing, time_s: float) -> set[Fault]:
    """An officer outranks a signal, a signal that works outranks a sign."""
    found: set[Fault] = set()
    lap = scenario.road.length_m
    officers = {o.spec.stop_s_m: o.hand for o in traffic.officers}
    working = {light.stop_s_m for light in scenario.lights if not light.dark}
    for stop_s_m, hand in officers.items():
        if hand is Hand.STOP and step.passes(stop_s_m, lap):
            found.add(Fault.DISOBEYED_OFFICER)
    for light in scenario.lights:
        if light.stop_s_m not in officers and _runs_red(light, step, lap, time_s):
            found.add(Fault.RAN_RED_LIGHT)
    for sign in traffic.signs:
        ruled = sign.spec.stop_s_m in officers or sign.spec.stop_s_m in working
        if not ruled and not sign.is_served and step.passes(sign.spec.stop_s_m, lap):
            found.add(Fault.RAN_STOP_SIGN)
    return found


def _runs_red(light: TrafficLight, step: Crossing, lap_m: float, time_s: float) -> bool:
    return step.passes(light.stop_s_m, lap_m) and light.colour(time_s) is LightColour.RED


def _touches(traffic: Traffic, step: Crossing) -> bool:
    bodies = [(car.rear_s_m, car.d_m, CAR_LENGTH_M, CAR_WIDTH_M) for car in traffic.cars]
    bodies += [(b.rear_s_m, b.d_m, b.length_m, b.width_m) for b in traffic.blockages]
    bodies += [(w.spec.s_m - _PERSON_M / 2, w.d_m, _PERSON_M, _PERSON_M) for w in traffic.walkers]
    return any(
        abs(step.offset_m - d_m) < (WIDTH_M + width) / 2 and -(length + LENGTH_M) < rear - step.after_s_m < 0
        for rear, d_m, length, width in bodies
        if rear - step.after_s_m < SIGHT_M
    )
