"""What there is to see: every thing of a drive as boxes and markings.

Owns: sizes, colours and where parts sit. Must not know: pixels, rules.
"""

import math

import numpy as np

from models.reference.world.boxes import Box
from models.reference.world.camera import Scene
from models.reference.world.path import Shift, offset_m
from models.reference.world.scenario import Scenario
from models.reference.world.things import (
    CAR_LENGTH_M,
    CAR_WIDTH_M,
    Blockage,
    Gesture,
    Hand,
    LightColour,
    StopSign,
)
from models.reference.world.traffic import SIGHT_M, Car, OfficerNow, Traffic, WalkerNow

CONE_D_M = 2.35
_SIGNAL_BEYOND_M = 8.0
_OFFICER_BEYOND_M, _OFFICER_D_M = 3.0, -1.2
_CONE_EVERY_M, _CONE_FROM_M = 7.0, 0.3
_NEAR_M, _BEHIND_M = 4.1, -8.0
_BLINK_HZ = 2.0
_RED, _GREEN, _AMBER = (230.0, 20.0, 20.0), (20.0, 205.0, 80.0), (255.0, 176.0, 0.0)
_SKIN, _COAT, _VEST = (226.0, 184.0, 152.0), (40.0, 70.0, 170.0), (250.0, 235.0, 40.0)
_WHITE, _GREY, _BLACK, _BLUE = (
    (238.0, 238.0, 240.0),
    (60.0, 60.0, 64.0),
    (24.0, 24.0, 28.0),
    (40.0, 80.0, 255.0),
)
_CONE = (255.0, 116.0, 16.0)
_LAMPS = {
    LightColour.RED: (4.6, (255.0, 28.0, 28.0)),
    LightColour.YELLOW: (3.6, (255.0, 208.0, 24.0)),
    LightColour.GREEN: (2.6, (24.0, 240.0, 96.0)),
}


def scene_of(
    scenario: Scenario, traffic: Traffic, shifts: tuple[Shift, ...], s_m: float, time_s: float
) -> Scene:
    """All that can be seen from the rear axle's arc length `s_m`."""
    signal_boxes, lines = _signals(scenario, s_m, time_s)
    boxes = [box for car in traffic.cars if _is_near(car.rear_s_m - s_m) for box in _car(car)]
    boxes += [box for officer in traffic.officers for box in _officer(officer)]
    boxes += [box for walker in traffic.walkers for box in _walker(walker)]
    boxes += [box for blockage in traffic.blockages for box in _blockage(blockage, time_s)]
    boxes += [box for sign in scenario.signs if sign.plate for box in _plate(sign)]
    works = tuple(shift for shift in shifts if not shift.may_stay)
    boxes += [box for shift in works for box in _cones(shift)]
    return Scene(
        tuple(box for box in boxes if _is_near(box.s_m - s_m)) + tuple(signal_boxes),
        (*lines, *(sign.stop_s_m for sign in scenario.signs)),
        tuple(sign.stop_s_m for sign in scenario.signs),
        tuple(walker.s_m for walker in scenario.walkers),
        works,
        frozenset(gap.camera for gap in scenario.dropouts if gap.start_s <= time_s < gap.end_s),
    )


def _is_near(ahead_m: float) -> bool:
    return _BEHIND_M < ahead_m < SIGHT_M + _NEAR_M


def _signals(scenario: Scenario, s_m: float, time_s: float) -> tuple[list[Box], list[float]]:
    """Signals and their stop lines; on a circuit they come again every lap."""
    boxes: list[Box] = []
    lines: list[float] = []
    for light in scenario.lights:
        gap = (light.stop_s_m - s_m + 20) % scenario.road.length_m - 20
        if gap < SIGHT_M + _NEAR_M:
            lines.append(s_m + gap)
            boxes += _signal(s_m + gap + _SIGNAL_BEYOND_M, light.colour(time_s))
    return boxes, lines


def _signal(s_m: float, colour: LightColour) -> list[Box]:
    """A signal right of the lane: pole, housing, and the one lamp that is lit, if any, nearest to the eye."""
    boxes = [
        Box(s_m + 0.02, -4.4, 0.2, 0.25, 0.0, 2.5, _GREY),
        Box(s_m + 0.01, -4.4, 0.4, 1.6, 2.5, 3.2, _BLACK),
    ]
    if colour in _LAMPS:
        base, lamp = _LAMPS[colour]
        boxes.append(Box(s_m, -4.4, 0.05, 1.3, base, 1.0, lamp))
    return boxes


def _plate(sign: StopSign) -> list[Box]:
    s_m = sign.stop_s_m + 1.0
    return [
        Box(s_m + 0.02, -3.0, 0.1, 0.15, 0.0, 1.9, _GREY),
        Box(s_m + 0.01, -3.0, 0.05, 1.1, 1.9, 1.1, (212.0, 24.0, 32.0)),
        Box(s_m, -3.0, 0.02, 0.8, 2.3, 0.3, _WHITE),
    ]


def _car(car: Car) -> list[Box]:
    body = Box(car.rear_s_m, car.d_m, CAR_LENGTH_M, CAR_WIDTH_M, 0.15, 1.35, car.colour, tail_lights=True)
    if not car.changes_lane:
        return [body]
    side = car.d_m - 0.5 * CAR_WIDTH_M
    return [body, Box(car.rear_s_m - 0.01, side + 0.2, 0.05, 0.5, 0.6, 0.45, _AMBER)]


def _officer(officer: OfficerNow) -> list[Box]:
    s_m, d_m = officer.spec.stop_s_m + _OFFICER_BEYOND_M, _OFFICER_D_M
    boxes = [
        Box(s_m + 0.02, d_m, 0.3, 0.5, 0.0, 0.9, _BLACK),
        Box(s_m + 0.01, d_m, 0.3, 0.7, 0.9, 0.7, _VEST),
        Box(s_m + 0.01, d_m, 0.3, 0.3, 1.6, 0.3, _SKIN),
    ]
    if officer.hand is Hand.STOP:
        return [*boxes, Box(s_m, d_m, 0.05, 0.9, 2.0, 0.9, _RED)]
    return [*boxes, Box(s_m, d_m - 0.85, 0.05, 0.9, 1.0, 0.7, _GREEN)]


def _walker(walker: WalkerNow) -> list[Box]:
    s_m, d_m = walker.spec.s_m, walker.d_m
    boxes = [
        Box(s_m + 0.02, d_m, 0.3, 0.6, 0.0, 1.4, _COAT),
        Box(s_m + 0.01, d_m, 0.3, 0.35, 1.4, 0.35, _SKIN),
    ]
    if walker.gesture is Gesture.AMBIGUOUS:
        towards = math.copysign(0.55, -walker.spec.start_d_m)
        boxes.append(Box(s_m, d_m + towards, 0.1, 0.5, 1.2, 0.3, _SKIN))
    return boxes


def _blockage(blockage: Blockage, time_s: float) -> list[Box]:
    s_m, d_m, width = blockage.rear_s_m, blockage.d_m, blockage.width_m
    lit = int(time_s * 2 * _BLINK_HZ) % 2 == 0
    sides = (_BLUE, _RED) if lit else (_RED, _BLUE)
    boxes = [
        Box(s_m, d_m, blockage.length_m, width, 0.3, 2.2, _WHITE),
        Box(s_m - 0.01, d_m, 0.05, width, 0.9, 0.45, (208.0, 30.0, 30.0)),
    ]
    return boxes + [
        Box(s_m - 0.01, d_m + side * width / 4, 0.3, width / 2.4, 2.5, 0.5, colour)
        for side, colour in zip((-1, 1), sides, strict=True)
    ]


def _cones(shift: Shift) -> list[Box]:
    places = np.arange(shift.begins_s_m, shift.ends_s_m, _CONE_EVERY_M)
    centres = offset_m((shift,), places)
    return [
        Box(float(s_m), float(centre) + side, 0.4, 0.45, 0.0, 0.8, _CONE)
        for s_m, centre in zip(places, centres, strict=True)
        if abs(centre) > _CONE_FROM_M
        for side in (-CONE_D_M, CONE_D_M)
    ]
