"""The expert: what to do, and why, from the world's true state.

Owns: the labels that the policy learns from: a plan rolled out under a controller, and its reason in words.
Only what a camera could show enters: a red light is taken to stay red, a car ahead to stand where it is.
Must not know: images, networks.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.reference.contract import DT_S, HORIZON_STEPS, VOCABULARY
from models.reference.world.drive import Situation
from models.reference.world.road import Road
from models.reference.world.scenario import LightColour

CRUISE_MPS = 10.0
_LATERAL_MPS2 = 2.0
_MAX_LATERAL_MPS2 = 2.8
_EASY_BRAKE_MPS2 = 1.6
_YELLOW_BRAKE_MPS2 = 2.8
_MAX_BRAKE_MPS2 = 6.0
_MAX_ACCELERATION_MPS2 = 1.8
_SPEED_GAIN_PER_S = 1.0
_STOP_GAIN_PER_S = 0.8
_HOLD_MPS2 = -1.0
_LINE_MARGIN_M = 2.0
_CAR_MARGIN_M = 4.0
_HOLD_GAP_M = 1.0
_GRID_M = 1.0
_TOKEN = {word: index for index, word in enumerate(VOCABULARY)}


@dataclass(frozen=True, slots=True)
class _Preview:
    """Curvature (1/m) and the speed it allows (m/s), every metre from the ego on."""

    curvature_per_m: list[float]
    speed_mps: list[float]

    def at(self, distance_m: float) -> tuple[float, float]:
        index = min(max(int(distance_m / _GRID_M + 0.5), 0), len(self.speed_mps) - 1)
        return self.curvature_per_m[index], self.speed_mps[index]


def plan(situation: Situation, road: Road) -> NDArray[np.float32]:
    """(HORIZON_STEPS, 2) of acceleration (m/s²) and curvature (1/m), DT_S apart, from `situation` on."""
    preview = _preview(situation, road)
    stop_m = _stop_distance_m(situation)
    driven, offset, heading, speed = 0.0, situation.offset_m, situation.heading_error_rad, situation.speed_mps
    rows = np.empty((HORIZON_STEPS, 2), np.float32)
    for row in rows:
        bend, allowed = preview.at(driven)
        acceleration = min(_cruise(speed, allowed), _stopping(speed, stop_m - driven))
        curvature = _steering(speed, offset, heading, preview.at(driven + 0.1 * speed)[0])
        row[0], row[1] = acceleration, curvature
        after = max(speed + acceleration * DT_S, 0.0)
        step = (speed + after) / 2 * DT_S
        along = step * math.cos(heading) / max(1 - offset * bend, 0.5)
        offset += step * math.sin(heading + curvature * step / 2)
        heading += curvature * step - bend * along
        driven, speed = driven + along, after
    return rows


def reasoning(situation: Situation, road: Road) -> tuple[int, ...]:
    """The token ids of one sentence that explains the plan, `<eos>` included."""
    words = _hazard_words(situation) or _road_words(situation, road)
    return tuple(_TOKEN[word] for word in [*words.split(), "<eos>"])


def must_stop(situation: Situation) -> bool:
    """Whether the signal ahead asks to stop: red, or yellow with room to."""
    if situation.light is LightColour.RED:
        return True
    room = max(situation.light_gap_m, 0.1)
    return situation.light is LightColour.YELLOW and situation.speed_mps**2 / (2 * room) < _YELLOW_BRAKE_MPS2


def _stop_distance_m(situation: Situation) -> float:
    """How far the bumper may still go."""
    line = situation.light_gap_m - _LINE_MARGIN_M if must_stop(situation) else math.inf
    return min(line, situation.car_gap_m - _CAR_MARGIN_M)


def _preview(situation: Situation, road: Road) -> _Preview:
    distance = np.arange(0, 110, _GRID_M)
    curvature = road.at(situation.s_m + distance)[3]
    limit = np.minimum(np.sqrt(_LATERAL_MPS2 / np.maximum(np.abs(curvature), 1e-4)), CRUISE_MPS).tolist()
    for index in range(len(limit) - 2, -1, -1):
        limit[index] = min(limit[index], math.sqrt(limit[index + 1] ** 2 + 2 * _EASY_BRAKE_MPS2 * _GRID_M))
    return _Preview(curvature.tolist(), limit)


def _cruise(speed_mps: float, allowed_mps: float) -> float:
    wanted = _SPEED_GAIN_PER_S * (allowed_mps - speed_mps)
    return min(max(wanted, -_MAX_BRAKE_MPS2), _MAX_ACCELERATION_MPS2)


def _stopping(speed_mps: float, room_m: float) -> float:
    """Follow v = min(√(2·b·room), c·room) down to rest, harder where that is too late; hold once there."""
    if math.isinf(room_m):
        return math.inf
    if room_m < _HOLD_GAP_M and speed_mps < 0.4:
        return _HOLD_MPS2
    needed = speed_mps**2 / (2 * max(room_m, 0.2))
    if needed > 1.2 * _EASY_BRAKE_MPS2:
        return -min(1.1 * needed, _MAX_BRAKE_MPS2)
    fast, slow = math.sqrt(2 * _EASY_BRAKE_MPS2 * max(room_m, 0.0)), _STOP_GAIN_PER_S * max(room_m, 0.0)
    slope = _EASY_BRAKE_MPS2 if fast < slow else _STOP_GAIN_PER_S * speed_mps
    wanted = min(fast, slow)
    return -slope * min(1.0, speed_mps / max(wanted, 0.1)) + 1.2 * (wanted - speed_mps)


def _steering(speed_mps: float, offset_m: float, heading_rad: float, bend_per_m: float) -> float:
    """The road's curvature, plus a critically damped return to its centre over a length that grows with speed."""
    length = max(6.0, 0.9 * speed_mps)
    error = min(max(offset_m, -1.5), 1.5)
    wanted = bend_per_m - error / length**2 - 1.8 * math.sin(heading_rad) / length
    limit = min(0.15, _MAX_LATERAL_MPS2 / max(speed_mps, 1.0) ** 2)
    return min(max(wanted, -limit), limit)


def _hazard_words(situation: Situation) -> str:
    """Empty where neither a car nor a signal is near enough to matter."""
    if situation.car_gap_m < min(situation.light_gap_m, 55.0):
        where = "near" if situation.car_gap_m < 12 else "ahead"
        return f"stopped car {where} . keep distance . decide {_stop_word(situation, situation.car_gap_m - _CAR_MARGIN_M)}"
    if situation.light is None or situation.light_gap_m > 55.0:
        return ""
    where = "near" if situation.light_gap_m < 12 else "ahead"
    seen = f"{situation.light.value} light {where}"
    if must_stop(situation):
        return f"{seen} . stop at the line . decide {_stop_word(situation, situation.light_gap_m - _LINE_MARGIN_M)}"
    return f"{seen} . junction open . decide go"


def _stop_word(situation: Situation, room_m: float) -> str:
    return "wait" if situation.speed_mps < 0.3 and room_m < 1.5 else "stop"


def _road_words(situation: Situation, road: Road) -> str:
    if abs(situation.offset_m) > 0.6:
        side = "left" if situation.offset_m > 0 else "right"
        return f"drifted {side} . steer back . decide recover"
    bend = float(road.at(situation.s_m + np.arange(4.0, 24.0, 4.0))[3].mean())
    if abs(bend) < 0.005:
        return "road clear . straight . decide keep lane"
    side = "left" if bend > 0 else "right"
    return f"road clear . curve {side} . decide keep lane"
