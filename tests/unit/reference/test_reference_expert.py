"""The expert is worth learning from: it drives, recovers, stays within limits, and says why."""

import numpy as np
import pytest

from models.contract import UnicycleActions, check_fits
from models.reference import expert
from models.reference.contract import EOS, MAX_TOKENS, VOCABULARY, reference_contract, reference_plant
from models.reference.world.classes import red_light, stopped_car
from models.reference.world.drive import World
from models.reference.world.scenario import Scenario, perturbed


def _driven(world: World, seconds: float) -> World:
    for tick in range(round(seconds / 0.05)):
        if tick % 4 == 0:
            plan = expert.plan(world.situation, world.road)
        acceleration, curvature = plan[tick % 4 // 2]
        world.step(float(acceleration), float(curvature), 0.05)
    return world


@pytest.mark.parametrize("seed", range(3))
def test_it_drives_the_endless_circuit_for_three_minutes(seed: int) -> None:
    world = _driven(World(seed), 180)
    assert (world.collided, world.off_road, world.ran_red_light) == (False, False, False)
    assert world.progress_m > 800


@pytest.mark.parametrize("seed", range(6))
def test_it_waits_at_red_and_behind_a_stopped_car_and_then_goes_on(seed: int) -> None:
    for world in (World(seed, red_light(seed)), World(seed, stopped_car(seed))):
        _driven(world, 8)
        before = world.progress_m
        _driven(world, 22)
        assert (world.collided, world.ran_red_light) == (False, False)
        assert world.progress_m > before + 20


@pytest.mark.parametrize("offset_m", [-1.1, 1.1])
def test_it_recovers_the_lane_from_its_edge(offset_m: float) -> None:
    world = _driven(World(1, Scenario(1, offset_m=offset_m, speed_mps=8.0)), 6)
    assert abs(world.lane_offset_m) < 0.15
    assert not world.off_road


def test_its_plans_stay_within_the_contracts_limits_from_any_start() -> None:
    limits = reference_contract().action_space
    assert isinstance(limits, UnicycleActions)
    for seed in range(150):
        world = World(seed, perturbed(seed))
        plan = expert.plan(world.situation, world.road)
        assert plan.shape == (reference_contract().horizon_steps, 2)
        assert np.isfinite(plan).all()
        assert plan[:, 0].max() <= limits.max_acceleration_mps2
        assert plan[:, 0].min() >= -limits.max_braking_mps2
        assert np.abs(plan[:, 1]).max() <= limits.max_curvature_per_m
        assert abs(plan[0, 1]) * world.ego.speed_mps**2 <= 3.0


def test_it_explains_itself_in_words_that_end_in_time() -> None:
    sentences = set()
    for seed in range(300):
        world = World(seed, perturbed(seed))
        tokens = expert.reasoning(world.situation, world.road)
        assert len(tokens) <= MAX_TOKENS
        assert tokens[-1] == EOS
        assert EOS not in tokens[:-1]
        sentences.add(" ".join(VOCABULARY[token] for token in tokens[:-1]))
    assert "red light ahead . stop at the line . decide stop" in sentences
    assert "stopped car near . keep distance . decide wait" in sentences
    assert len(sentences) > 12


def test_the_vocabulary_names_every_word_once() -> None:
    assert len(set(VOCABULARY)) == len(VOCABULARY)


def test_the_reference_plant_can_feed_and_obey_the_reference_policy() -> None:
    check_fits(reference_contract(), reference_plant())
