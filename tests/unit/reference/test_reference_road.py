"""The road closes on itself, is never too tight, and its two kinds of coordinates agree."""

import numpy as np
import pytest

from models.reference.world.road import MIN_RADIUS_M, circuit

SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_circuit_ends_where_it_began_after_one_full_turn(seed: int) -> None:
    road = circuit(seed)
    assert np.hypot(road.x_m[-1] - road.x_m[0], road.y_m[-1] - road.y_m[0]) < 1e-6
    assert abs(abs(road.yaw_rad[-1] - road.yaw_rad[0]) - 2 * np.pi) < 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_samples_lie_one_step_apart_so_that_arc_length_is_arc_length(seed: int) -> None:
    road = circuit(seed)
    steps = np.hypot(np.diff(road.x_m), np.diff(road.y_m))
    assert np.abs(steps - road.step_m).max() < 2e-3 * road.step_m


def test_no_curve_is_tighter_than_promised() -> None:
    tightest = max(np.abs(circuit(seed).curvature_per_m).max() for seed in SEEDS)
    assert tightest <= 1 / MIN_RADIUS_M + 1e-9


def test_circuits_turn_both_ways() -> None:
    turns = [circuit(seed).yaw_rad[-1] - circuit(seed).yaw_rad[0] for seed in SEEDS]
    assert min(turns) < 0 < max(turns)


def test_the_same_seed_gives_the_same_road_and_another_seed_another() -> None:
    assert np.array_equal(circuit(3).x_m, circuit(3).x_m)
    assert circuit(3).length_m != circuit(4).length_m


def test_road_coordinates_survive_the_way_to_the_plane_and_back() -> None:
    road, rng = circuit(5), np.random.default_rng(0)
    s_m, d_m = rng.uniform(1, road.length_m - 1, 200), rng.uniform(-5, 5, 200)
    found_s, found_d = road.project(*road.xy(s_m, d_m))
    assert np.abs(found_s - s_m).max() < 0.02
    assert np.abs(found_d - d_m).max() < 0.01


def test_locating_a_point_counts_laps() -> None:
    road = circuit(6)
    x_m, y_m = road.xy(np.array([30.0]), np.array([0.7]))
    s_m, d_m = road.locate(float(x_m[0]), float(y_m[0]), 2 * road.length_m + 28.0)
    assert s_m == pytest.approx(2 * road.length_m + 30.0, abs=0.01)
    assert d_m == pytest.approx(0.7, abs=0.01)
