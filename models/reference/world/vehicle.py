"""The vehicle: a kinematic bicycle seen from its rear axle, with first-order actuators.

Owns: the motion model and the body's dimensions, both AlpaSim's so that results transfer.
Must not know: roads, cameras, policies.
"""

import math
from dataclasses import dataclass

WHEELBASE_M = 2.85
LENGTH_M = 5.393
WIDTH_M = 2.109
REAR_OVERHANG_M = 1.3
FRONT_M = LENGTH_M - REAR_OVERHANG_M
ACTUATOR_LAG_S = 0.1
MAX_CURVATURE_PER_M = 0.2
MAX_ACCELERATION_MPS2 = 9.8
_SUBSTEP_S = 0.025


@dataclass(frozen=True, slots=True)
class VehicleState:
    """Rear-axle pose in the world, speed, and what the actuators do now."""

    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    acceleration_mps2: float = 0.0
    curvature_per_m: float = 0.0


def advanced(
    state: VehicleState, acceleration_mps2: float, curvature_per_m: float, dt_s: float
) -> VehicleState:
    """The state `dt_s` later under the given commands, which are limited and lagged; it never rolls backwards."""
    acceleration = min(max(acceleration_mps2, -MAX_ACCELERATION_MPS2), MAX_ACCELERATION_MPS2)
    curvature = min(max(curvature_per_m, -MAX_CURVATURE_PER_M), MAX_CURVATURE_PER_M)
    count = max(1, math.ceil(dt_s / _SUBSTEP_S - 1e-9))
    for _ in range(count):
        state = _substep(state, acceleration, curvature, dt_s / count)
    return state


def steering_angle_rad(curvature_per_m: float) -> float:
    """The front wheels' angle of a kinematic bicycle that drives `curvature_per_m`."""
    return math.atan(WHEELBASE_M * curvature_per_m)


def _substep(state: VehicleState, acceleration: float, curvature: float, dt_s: float) -> VehicleState:
    blend = 1.0 - math.exp(-dt_s / ACTUATOR_LAG_S)
    actual = state.acceleration_mps2 + blend * (acceleration - state.acceleration_mps2)
    bend = state.curvature_per_m + blend * (curvature - state.curvature_per_m)
    speed = max(state.speed_mps + actual * dt_s, 0.0)
    distance = (state.speed_mps + speed) / 2 * dt_s
    middle = state.yaw_rad + bend * distance / 2
    return VehicleState(
        state.x_m + distance * math.cos(middle),
        state.y_m + distance * math.sin(middle),
        state.yaw_rad + bend * distance,
        speed,
        actual,
        bend,
    )
