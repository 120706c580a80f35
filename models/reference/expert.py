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
from models.reference.sentence import (
    CAR_MARGIN_M,
    LINE_MARGIN_M,
    WALKER_MARGIN_M,
    heeds_light,
    heeds_sign,
    must_stop,
    sentence,
)
from models.reference.world import path
from models.reference.world.drive import Situation
from models.reference.world.road import Road
from models.reference.world.things import Hand

CRUISE_MPS = 10.0
_BLIND_MPS = 6.0
_LATERAL_MPS2 = 2.0
_TURN_LATERAL_MPS2 = 1.5
_TURN_PER_M = 0.04
"""From here on a bend is a turn at a junction, where the actuators' lag counts for more."""
_MAX_LATERAL_MPS2 = 2.8
_EASY_BRAKE_MPS2 = 1.6
_MAX_BRAKE_MPS2 = 6.0
_MAX_ACCELERATION_MPS2 = 1.8
_SPEED_GAIN_PER_S = 1.0
_STOP_GAIN_PER_S = 0.8
_HOLD_MPS2 = -1.0
_HOLD_GAP_M = 1.0
_GRID_M = 1.0
_TOKEN = {word: index for index, word in enumerate(VOCABULARY)}


@dataclass(frozen=True, slots=True)
class _Here:
    """The road and the path on it at one place: the road's curvature, the path's offset, slope and curvature
    relative to the road, and the speed that all of it allows."""

    bend_per_m: float
    offset_m: float
    slope: float
    curve_per_m: float
    speed_mps: float


@dataclass(frozen=True, slots=True)
class _Preview:
    """The same, every metre from the ego on."""

    places: list[_Here]

    def at(self, distance_m: float) -> _Here:
        return self.places[min(max(int(distance_m / _GRID_M + 0.5), 0), len(self.places) - 1)]


def plan(situation: Situation, road: Road) -> NDArray[np.float32]:
    """(HORIZON_STEPS, 2) of acceleration (m/s²) and curvature (1/m), DT_S apart, from `situation` on."""
    preview = _preview(situation, road)
    stop_m = _stop_distance_m(situation)
    driven, offset, heading, speed = 0.0, situation.offset_m, situation.heading_error_rad, situation.speed_mps
    rows = np.empty((HORIZON_STEPS, 2), np.float32)
    for row in rows:
        here, soon = preview.at(driven), preview.at(driven + 0.1 * speed)
        acceleration = min(_cruise(speed, here.speed_mps), _stopping(speed, stop_m - driven))
        curvature = _steering(speed, offset - here.offset_m, heading - math.atan(here.slope), _bend(soon))
        row[0], row[1] = acceleration, curvature
        after = max(speed + acceleration * DT_S, 0.0)
        step = (speed + after) / 2 * DT_S
        along = step * math.cos(heading) / max(1 - offset * here.bend_per_m, 0.5)
        offset += step * math.sin(heading + curvature * step / 2)
        heading += curvature * step - here.bend_per_m * along
        driven, speed = driven + along, after
    return rows


def reasoning(situation: Situation, road: Road) -> tuple[int, ...]:
    """The token ids of one sentence that explains the plan, `<eos>` included. Raises `KeyError` for an unknown word."""
    return tokens_of(sentence(situation, road))


def tokens_of(said: str) -> tuple[int, ...]:
    """The token ids of words, and `<eos>`. Raises `KeyError` for an unknown word."""
    return tuple(_TOKEN[word] for word in [*said.split(), "<eos>"])


def _bend(here: _Here) -> float:
    return here.bend_per_m + here.curve_per_m


def _stop_distance_m(situation: Situation) -> float:
    """How far the bumper may still go."""
    rooms = [situation.car_gap_m - CAR_MARGIN_M, situation.walker_gap_m - WALKER_MARGIN_M]
    if situation.hand is Hand.STOP:
        rooms.append(situation.hand_gap_m - LINE_MARGIN_M)
    if heeds_light(situation) and must_stop(situation):
        rooms.append(situation.light_gap_m - LINE_MARGIN_M)
    if heeds_sign(situation):
        rooms.append(situation.sign_gap_m - LINE_MARGIN_M)
    return min(rooms)


def _preview(situation: Situation, road: Road) -> _Preview:
    s_m = situation.s_m + np.arange(0, 110, _GRID_M)
    bend = road.at(s_m)[3]
    offset = path.offset_m(situation.path, s_m)
    slope = np.gradient(offset, _GRID_M)
    curve = np.gradient(slope, _GRID_M)
    cruise = min(CRUISE_MPS, _BLIND_MPS) if situation.blind else CRUISE_MPS
    allowed = path.speed_limit_mps(situation.path, s_m, cruise)
    sharp = np.maximum(np.abs(bend + curve), 1e-4)
    lateral = np.where(sharp < _TURN_PER_M, _LATERAL_MPS2, _TURN_LATERAL_MPS2)
    limit = np.minimum(np.sqrt(lateral / sharp), allowed).tolist()
    for index in range(len(limit) - 2, -1, -1):
        limit[index] = min(limit[index], math.sqrt(limit[index + 1] ** 2 + 2 * _EASY_BRAKE_MPS2 * _GRID_M))
    rows = zip(bend.tolist(), offset.tolist(), slope.tolist(), curve.tolist(), limit, strict=True)
    return _Preview([_Here(*row) for row in rows])


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
