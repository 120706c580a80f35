"""Manoeuvres: what a sentence decides, what could be decided instead, and where that would be right.

Owns: the decisions by name, and the imagined situation in which one is what the expert would do. Training learns from
plans for imagined situations that the plan follows the words; the bench measures with them whether it does.
Must not know: plans (`models.reference.expert`), images, networks.
"""

import math
from dataclasses import replace

from models.reference.sentence import CAR_MARGIN_M
from models.reference.world.drive import Situation
from models.reference.world.path import Shift
from models.reference.world.scenario import KEEP_LANE, TURN_LEFT, TURN_RIGHT

DECIDE = "decide"
KEEP, GO, STOP, WAIT, PASS = "keep lane", "go", "stop", "wait", "pass left"
FOLLOW, SLOW, RECOVER = "follow", "slow", "recover"
_STILL = (STOP, WAIT)
_OTHERWISE = {
    KEEP: (STOP, PASS),
    RECOVER: (STOP,),
    GO: (STOP,),
    SLOW: (STOP,),
    FOLLOW: (STOP, GO),
    PASS: (STOP, KEEP),
    TURN_LEFT: (STOP,),
    TURN_RIGHT: (STOP,),
    STOP: (GO,),
    WAIT: (GO,),
}
_BRAKE_MPS2, _ROOM_M = 1.5, 0.5
"""An imagined obstacle lets one stop at ease."""
_ASIDE_M, _RAMP_M, _PAST_M, _PASSING_MPS = 1.9, 24.0, 10.0, 5.0
_CENTRED_M = 0.8


def decided(said: str) -> str:
    """The manoeuvre that a sentence decides; empty where it was cut short before."""
    return said.partition(f"{DECIDE} ")[2]


def otherwise(said: str, decision: str) -> str:
    """The same sentence with another decision."""
    return f"{said.partition(f'{DECIDE} ')[0]}{DECIDE} {decision}"


def alternatives(situation: Situation, decision: str) -> tuple[str, ...]:
    """What could be decided here instead of `decision`; where nothing is far, it may lead to much the same plan."""
    return tuple(
        other for other in _OTHERWISE.get(decision, ()) if other != PASS or _has_room_to_pass(situation)
    )


def imagined(situation: Situation, right: str, decision: str) -> Situation | None:
    """The situation in which `decision` is right, as near to this one as can be, where the expert decides `right`;
    None for words that are no manoeuvre here."""
    if decision == right or {decision, right} <= set(_STILL):
        return situation
    if decision in _STILL:
        return _blocked(situation)
    open_road = situation if decision == FOLLOW and right not in _STILL else _cleared(situation)
    if decision in (KEEP, RECOVER):
        return replace(open_road, path=(), blind=frozenset())
    if decision == SLOW:
        return replace(open_road, path=(), blind=frozenset({"imagined"}))
    if decision == PASS:
        return replace(open_road, path=situation.path or (_aside(situation.s_m),))
    return open_road if decision in (GO, FOLLOW, situation.instruction) else None


def _has_room_to_pass(situation: Situation) -> bool:
    centred = abs(situation.offset_m) < _CENTRED_M
    return centred and not situation.path and situation.instruction == KEEP_LANE


def _blocked(situation: Situation) -> Situation:
    """A car stands where one can just stop at ease."""
    room_m = situation.speed_mps**2 / (2 * _BRAKE_MPS2) + _ROOM_M
    gap_m = min(situation.car_gap_m, room_m + CAR_MARGIN_M)
    return replace(situation, car_gap_m=gap_m, car_speed_mps=0.0, car_merges=False)


def _cleared(situation: Situation) -> Situation:
    """Nothing asks to stop."""
    return replace(
        situation,
        light=None,
        light_gap_m=math.inf,
        car_gap_m=math.inf,
        car_speed_mps=0.0,
        car_merges=False,
        sign_gap_m=math.inf,
        hand=None,
        hand_gap_m=math.inf,
        gesture=None,
        walker_gap_m=math.inf,
    )


def _aside(s_m: float) -> Shift:
    """Left from here on, as past a vehicle that blocks the lane."""
    start = s_m + _RAMP_M + 1.0
    return Shift(start, start + _PAST_M, _ASIDE_M, _RAMP_M, _PASSING_MPS, may_stay=True)
