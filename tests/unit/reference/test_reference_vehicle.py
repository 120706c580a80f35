"""The vehicle moves as a bicycle with slow actuators does."""

import math

import pytest

from models.reference.world.vehicle import ACTUATOR_LAG_S, VehicleState, advanced


def _held(state: VehicleState, acceleration: float, curvature: float, seconds: float) -> VehicleState:
    for _ in range(round(seconds / 0.01)):
        state = advanced(state, acceleration, curvature, 0.01)
    return state


def test_braking_brings_it_to_rest_and_never_into_reverse() -> None:
    state = _held(VehicleState(0, 0, 0, 5.0), -6.0, 0.0, 5.0)
    assert state.speed_mps == 0.0
    assert _held(state, -6.0, 0.0, 1.0).x_m == state.x_m


def test_an_actuator_covers_63_percent_of_a_step_in_its_lag() -> None:
    state = _held(VehicleState(0, 0, 0, 5.0), 1.0, 0.1, ACTUATOR_LAG_S)
    assert state.acceleration_mps2 == pytest.approx(1 - math.exp(-1), rel=1e-6)
    assert state.curvature_per_m == pytest.approx(0.1 * (1 - math.exp(-1)), rel=1e-6)


def test_constant_curvature_drives_a_circle_back_to_its_start() -> None:
    start = VehicleState(0, 0, 0, 10.0, 0.0, 0.05)
    state = _held(start, 0.0, 0.05, 2 * math.pi / 0.05 / 10.0)
    assert math.hypot(state.x_m, state.y_m) < 0.1
    assert state.yaw_rad == pytest.approx(2 * math.pi, abs=0.01)


def test_commands_beyond_the_steering_are_cut_to_it() -> None:
    assert _held(VehicleState(0, 0, 0, 1.0), 0.0, 5.0, 2.0).curvature_per_m == pytest.approx(0.2, abs=1e-6)


def test_large_and_small_steps_agree() -> None:
    state = VehicleState(0, 0, 0, 8.0)
    assert advanced(state, 1.0, 0.02, 0.1).x_m == pytest.approx(_held(state, 1.0, 0.02, 0.1).x_m, abs=0.01)
