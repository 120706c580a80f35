"""What the expert says: one sentence that names what it sees, what follows and what it decides.

Owns: the words. Must not know: images, networks, the plan itself (`models.reference.expert`).
The words after `decide` are the manoeuvre that the plan carries out.
"""

import math

import numpy as np

from models.reference.world.drive import Situation
from models.reference.world.road import Road
from models.reference.world.scenario import KEEP_LANE
from models.reference.world.things import Gesture, Hand, LightColour

LINE_MARGIN_M, CAR_MARGIN_M, WALKER_MARGIN_M = 2.0, 4.0, 4.5
YELLOW_BRAKE_MPS2 = 2.8
SAME_LINE_M = 2.0
_FAR_M, _NEAR_M = 55.0, 12.0
_TURNING_PER_M = 0.03


def sentence(situation: Situation, road: Road) -> str:
    """The words, without `<eos>`: of what one must stop for first, else of what lets one go, the path, the road."""
    near = min((said for said in _hazards(situation) if said[1] < _FAR_M), default=None)
    if near is not None:
        return near[2]
    return _path_words(situation) or _turn_words(situation, road) or _road_words(situation, road)


def must_stop(situation: Situation) -> bool:
    """Whether the signal ahead asks to stop: red, or yellow with room to."""
    if situation.light is LightColour.RED:
        return True
    room = max(situation.light_gap_m, 0.1)
    return situation.light is LightColour.YELLOW and situation.speed_mps**2 / (2 * room) < YELLOW_BRAKE_MPS2


def heeds_sign(situation: Situation) -> bool:
    """Whether the stop sign or marking ahead counts: no officer rules its line, and no signal that works."""
    if math.isinf(situation.sign_gap_m):
        return False
    ruled = abs(situation.hand_gap_m - situation.sign_gap_m) < SAME_LINE_M
    lit = situation.light not in (None, LightColour.DARK)
    return not ruled and not (lit and abs(situation.light_gap_m - situation.sign_gap_m) < SAME_LINE_M)


def heeds_light(situation: Situation) -> bool:
    """Whether the signal ahead counts: it works, and no officer rules its line."""
    works = situation.light not in (None, LightColour.DARK)
    return works and not abs(situation.hand_gap_m - situation.light_gap_m) < SAME_LINE_M


def _hazards(situation: Situation) -> list[tuple[bool, float, str]]:
    """(whether it lets one go, gap, words) of everything that one may have to stop for."""
    found = [
        (False, situation.car_gap_m, _car_words(situation)),
        (False, situation.walker_gap_m, _walker_words(situation)),
    ]
    if situation.hand is not None:
        found.append((situation.hand is Hand.GO, situation.hand_gap_m, _officer_words(situation)))
    if heeds_light(situation):
        found.append((not must_stop(situation), situation.light_gap_m, _light_words(situation)))
    if heeds_sign(situation):
        found.append((False, situation.sign_gap_m, _sign_words(situation)))
    return found


def _car_words(situation: Situation) -> str:
    if situation.car_merges:
        return "car moving in . keep distance . decide follow"
    if situation.car_speed_mps > 1.0:
        return f"car {_where(situation.car_gap_m)} . keep distance . decide follow"
    decided = _stop_word(situation, situation.car_gap_m - CAR_MARGIN_M)
    return f"stopped car {_where(situation.car_gap_m)} . keep distance . decide {decided}"


def _walker_words(situation: Situation) -> str:
    meant = "crossing" if situation.gesture is Gesture.CROSSING else "unclear"
    decided = _stop_word(situation, situation.walker_gap_m - WALKER_MARGIN_M)
    return f"person {_where(situation.walker_gap_m)} . hand {meant} . decide {decided}"


def _officer_words(situation: Situation) -> str:
    seen = f"officer {_where(situation.hand_gap_m)} . hand {situation.hand} . obey officer"
    if situation.hand is Hand.GO:
        return f"{seen} . decide go"
    return f"{seen} . decide {_stop_word(situation, situation.hand_gap_m - LINE_MARGIN_M)}"


def _light_words(situation: Situation) -> str:
    assert situation.light is not None
    seen = f"{situation.light.value} light {_where(situation.light_gap_m)}"
    if must_stop(situation):
        decided = _stop_word(situation, situation.light_gap_m - LINE_MARGIN_M)
        return f"{seen} . stop at the line . decide {decided}"
    return f"{seen} . junction open . decide go"


def _sign_words(situation: Situation) -> str:
    decided = _stop_word(situation, situation.sign_gap_m - LINE_MARGIN_M)
    what = "light dark" if situation.light is LightColour.DARK else "stop sign"
    return f"{what} {_where(situation.sign_gap_m)} . stop at the line . decide {decided}"


def _where(gap_m: float) -> str:
    return "near" if gap_m < _NEAR_M else "ahead"


def _stop_word(situation: Situation, room_m: float) -> str:
    return "wait" if situation.speed_mps < 0.3 and room_m < 1.5 else "stop"


def _path_words(situation: Situation) -> str:
    """What leads aside, from sight of it until it is behind."""
    for shift in situation.path:
        if shift.begins_s_m - situation.s_m < _FAR_M - 20.0:
            if shift.may_stay:
                return "emergency car ahead . lane blocked . decide pass left"
            return "cones ahead . follow yellow line . decide pass left"
    return ""


def _turn_words(situation: Situation, road: Road) -> str:
    if situation.instruction == KEEP_LANE:
        return ""
    bend = np.abs(road.at(situation.s_m + np.arange(0.0, 40.0, 2.0))[3]).max()
    return f"junction ahead . decide {situation.instruction}" if bend > _TURNING_PER_M else ""


def _road_words(situation: Situation, road: Road) -> str:
    if abs(situation.offset_m) > 0.6 and not situation.path:
        side = "left" if situation.offset_m > 0 else "right"
        return f"drifted {side} . steer back . decide recover"
    if situation.blind:
        return "camera dark . decide slow"
    bend = float(road.at(situation.s_m + np.arange(4.0, 24.0, 4.0))[3].mean())
    if abs(bend) < 0.005:
        return "road clear . straight . decide keep lane"
    side = "left" if bend > 0 else "right"
    return f"road clear . curve {side} . decide keep lane"
