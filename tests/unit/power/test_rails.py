"""What the rails say of the module while its own monitor says nothing that is believed."""

import random
from collections.abc import Callable

import pytest

from agent.power.device import PowerSample
from agent.power.rails import RailsModel

S, TENTH = 1_000_000_000, 100_000_000


def taken_w(gpu_w: float, soc_w: float) -> float:
    """What a module takes with such rails, in this file."""
    return 20.0 + 1.8 * gpu_w + 1.1 * soc_w


def sample(gpu_w: float | None, soc_w: float | None, module_w: float | None = None) -> PowerSample:
    return PowerSample(module_w, gpu_w, soc_w, ())


def learned(
    seconds: float = 30.0, taken: Callable[[float, float], float] = taken_w, most_gpu_w: float = 40.0
) -> tuple[RailsModel, int]:
    """One that saw a device drive for so long, and the time of the last sample."""
    model, rng = RailsModel(), random.Random(5)
    for step in range(round(seconds * 10)):
        gpu_w, soc_w = rng.uniform(2.0, most_gpu_w), rng.uniform(8.0, 12.0)
        model.learn(sample(gpu_w, soc_w, taken(gpu_w, soc_w)), step * TENTH)
    return model, (round(seconds * 10) - 1) * TENTH


@pytest.mark.parametrize(("gpu_w", "soc_w"), [(2.0, 9.0), (38.0, 9.0), (30.0, 28.0)])
def test_rails_stand_in_for_the_module_with_a_little_too_much_rather_than_too_little(
    gpu_w: float, soc_w: float
) -> None:
    model, last_ns = learned()
    found_w = model.module_w(sample(gpu_w, soc_w), last_ns + TENTH)
    assert found_w == pytest.approx(taken_w(gpu_w, soc_w) + 2.0, abs=0.1)


def test_what_the_monitor_said_just_before_it_failed_is_not_learned() -> None:
    model, last_ns = learned()
    rng = random.Random(6)
    for step in range(1, 26):
        model.learn(sample(rng.uniform(2.0, 40.0), 10.0, 30.0), last_ns + step * TENTH)
    found_w = model.module_w(sample(30.0, 10.0), last_ns + 26 * TENTH)
    assert found_w == pytest.approx(taken_w(30.0, 10.0) + 2.0, abs=0.1)


def test_a_module_takes_no_less_than_its_rails() -> None:
    model, last_ns = learned(taken=lambda gpu_w, soc_w: 0.7 * gpu_w + 1.1 * soc_w)
    assert model.module_w(sample(30.0, 10.0), last_ns + TENTH) == pytest.approx(42.0)


@pytest.mark.parametrize(
    "rails", [sample(None, 10.0), sample(20.0, None), sample(-1.0, 9.0), sample(20.0, -9.0)]
)
def test_without_both_rails_nothing_is_said(rails: PowerSample) -> None:
    model, last_ns = learned()
    assert model.module_w(rails, last_ns + TENTH) is None


def test_of_more_than_was_ever_seen_on_the_rail_nothing_is_said() -> None:
    model, last_ns = learned(most_gpu_w=20.0)
    assert model.module_w(sample(21.0, 10.0), last_ns + TENTH) is not None
    assert model.module_w(sample(30.0, 10.0), last_ns + 2 * TENTH) is None


def test_rails_speak_for_the_module_for_a_minute() -> None:
    model, last_ns = learned()
    for tenth in range(1, 601):
        found_w = model.module_w(sample(20.0 + tenth % 2, 10.0), last_ns + tenth * TENTH)
        assert found_w is not None
    assert model.module_w(sample(20.0, 10.0), last_ns + 601 * TENTH) is None


def test_what_is_learned_between_two_spells_counts_in_the_second_one() -> None:
    model, last_ns = learned()
    assert model.module_w(sample(20.0, 10.0), last_ns + TENTH) is not None
    rng = random.Random(9)
    for step in range(2, 700):
        gpu_w, soc_w = rng.uniform(2.0, 40.0), rng.uniform(8.0, 12.0)
        model.learn(sample(gpu_w, soc_w, taken_w(gpu_w, soc_w) + 15.0), last_ns + step * TENTH)
    found_w = model.module_w(sample(20.0, 10.0), last_ns + 70 * S)
    assert found_w == pytest.approx(taken_w(20.0, 10.0) + 17.0, abs=0.1)


def test_a_rail_that_stands_still_is_not_believed_either() -> None:
    model, last_ns = learned()
    assert model.module_w(sample(20.0, 10.0), last_ns + TENTH) is not None
    assert model.module_w(sample(20.0, 11.0), last_ns + 2 * S) is not None
    assert model.module_w(sample(20.0, 12.0), last_ns + 3 * S) is None
    assert model.module_w(sample(20.5, 12.0), last_ns + 3 * S + TENTH) is not None


def test_too_short_a_time_teaches_nothing() -> None:
    for seconds, is_told in ((12.0, False), (14.0, True)):
        model, last_ns = learned(seconds)
        assert (model.module_w(sample(20.0, 10.0), last_ns + TENTH) is not None) is is_told
    assert RailsModel().module_w(sample(20.0, 10.0), S) is None


def test_rails_that_do_not_explain_the_module_do_not_speak_for_it() -> None:
    rng = random.Random(7)
    model, last_ns = learned(taken=lambda gpu_w, soc_w: taken_w(gpu_w, soc_w) + rng.uniform(-15.0, 15.0))
    assert model.module_w(sample(20.0, 10.0), last_ns + TENTH) is None
    idle, last_ns = learned(taken=lambda gpu_w, soc_w: 60.0 - gpu_w)
    assert idle.module_w(sample(20.0, 10.0), last_ns + TENTH) is None


def test_a_gpu_that_did_nothing_teaches_nothing() -> None:
    model = RailsModel()
    for step in range(300):
        model.learn(sample(3.0, 10.0, 30.0), step * TENTH)
    assert model.module_w(sample(3.1, 10.0), 30 * S) is None


def test_what_was_learned_is_of_the_last_minute() -> None:
    model, last_ns = learned(120.0, taken=lambda gpu_w, soc_w: taken_w(gpu_w, soc_w) + 40.0)
    rng = random.Random(8)
    for step in range(1, 700):
        gpu_w, soc_w = rng.uniform(2.0, 40.0), rng.uniform(8.0, 12.0)
        model.learn(sample(gpu_w, soc_w, taken_w(gpu_w, soc_w)), last_ns + step * TENTH)
    found_w = model.module_w(sample(20.0, 10.0), last_ns + 70 * S)
    assert found_w == pytest.approx(taken_w(20.0, 10.0) + 2.0, abs=0.1)
