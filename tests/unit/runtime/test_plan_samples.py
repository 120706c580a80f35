"""Several plans for one decision: which one is followed, and what stays as it was."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.contract import SamplingSpec
from models.runtime.decide import medoid, plan_from_state
from models.runtime.load import load_policy
from models.runtime.policy import Knobs, Policy
from tests.fakes.tiny_policy import probe_graphs, tiny_contract, tiny_observation, tiny_release

KNOBS = Knobs(2, 4, plan_samples=5)
_SEEN = tiny_observation()
DARK = replace(_SEEN, frames={name: np.zeros_like(each) for name, each in _SEEN.frames.items()})


def _policy(samples: int) -> Policy:
    """One whose flow adds the same to every noise: its plans are as far apart as their noises."""
    release = tiny_release(probe_graphs())
    contract = msgspec.structs.replace(tiny_contract(), sampling=SamplingSpec(0.0, 1.0, samples))
    manifest = msgspec.structs.replace(release.manifest, contract=contract)
    return load_policy(replace(release, manifest=manifest), threads=1)


def _state(value: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full((8, 2), value, np.float32)


def test_the_plan_that_is_nearest_to_all_others_is_followed() -> None:
    states = [_state(9.0), _state(1.0), _state(0.2), _state(0.0), _state(0.1)]
    assert medoid(states) is states[2]
    assert medoid([_state(0.0), _state(1.0)])[0, 0] == 0.0, "of two, the first"


def test_a_plan_that_is_not_finite_is_followed_only_where_none_is() -> None:
    broken, sound = _state(np.nan), _state(3.0)
    assert medoid([broken, broken, sound]) is sound
    assert medoid([broken, _state(np.inf)]) is broken


def test_the_first_plan_is_the_one_of_a_policy_that_draws_no_other_and_the_seed_gives_them_all_again() -> (
    None
):
    policy, alone = _policy(5), _policy(2)
    one = policy.decide(DARK, replace(KNOBS, plan_samples=1), seed=9)
    noise = np.random.default_rng(9).standard_normal((8, 2), np.float32)
    mean_time = np.float32((0 + 1 + 2 + 3) / 16)
    assert one.plan == pytest.approx(plan_from_state(noise + mean_time, tiny_contract()), abs=1e-6)
    assert one.plan_samples == 1
    assert np.array_equal(one.plan, alone.decide(DARK, Knobs(2, 4), seed=9).plan)
    first, again = (policy.decide(DARK, KNOBS, seed=9) for _ in range(2))
    assert np.array_equal(first.plan, again.plan)
    assert first.plan_samples == 5


def test_more_plans_bring_the_chosen_one_nearer_to_the_middle() -> None:
    def spread(samples: int) -> float:
        policy = _policy(256)
        knobs = replace(KNOBS, plan_samples=samples)
        plans = [policy.decide(DARK, knobs, seed=seed).plan for seed in range(12)]
        return float(np.std(plans, axis=0).mean())

    assert spread(32) < 0.9 * spread(1)


@pytest.mark.parametrize(("asked", "drawn"), [(-3, 1), (0, 1), (2, 2), (9, 3)])
def test_plans_are_at_least_one_and_at_most_the_contracts(asked: int, drawn: int) -> None:
    policy = _policy(3)
    assert policy.decide(DARK, replace(KNOBS, plan_samples=asked), seed=0).plan_samples == drawn


def test_seeds_beyond_32_bits_draw_other_noise_each() -> None:
    policy = _policy(2)
    one, other = (
        policy.decide(DARK, replace(KNOBS, plan_samples=2), seed=(1 << 62) + more).plan for more in (1, 2)
    )
    assert not np.array_equal(one, other)
