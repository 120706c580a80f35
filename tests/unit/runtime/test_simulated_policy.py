"""A simulated policy fails when and how it is told to, and not before."""

import numpy as np
import pytest

from models.digest import digest_of
from models.errors import PolicyFailedError
from models.runtime.policy import Knobs
from models.runtime.simulated import Failure, SimulatedPolicy, SimulatedSettings
from tests.fakes.tiny_policy import tiny_contract, tiny_observation

_KNOBS = Knobs(6, 4)


def _policy(settings: SimulatedSettings, waited: list[float] | None = None) -> SimulatedPolicy:
    wait = waited.append if waited is not None else lambda _seconds: None
    return SimulatedPolicy(tiny_contract(), digest_of(b"x"), settings, wait)


def test_it_takes_the_time_that_it_reports() -> None:
    waited: list[float] = []
    policy = _policy(SimulatedSettings(0.1, 0.01, 0.02), waited)
    latency = policy.decide(tiny_observation(), _KNOBS, 0).latency
    assert waited == [pytest.approx((latency.visual_ns + latency.reason_ns + latency.action_ns) / 1e9)]
    assert latency.visual_ns == 100_000_000
    assert latency.action_ns == 80_000_000


def test_a_failure_begins_at_the_decision_it_was_told() -> None:
    policy = _policy(SimulatedSettings(failure=Failure.RAISES, fail_after=2))
    for _ in range(2):
        policy.decide(tiny_observation(), _KNOBS, 0)
    with pytest.raises(PolicyFailedError):
        policy.decide(tiny_observation(), _KNOBS, 0)


def test_each_broken_plan_is_broken_in_its_own_way() -> None:
    plans = {
        failure: _policy(SimulatedSettings(failure=failure)).decide(tiny_observation(), _KNOBS, 0).plan
        for failure in (Failure.NOT_FINITE, Failure.BEYOND_LIMITS, Failure.WRONG_SHAPE)
    }
    assert np.isnan(plans[Failure.NOT_FINITE]).all()
    assert plans[Failure.BEYOND_LIMITS].min() > 1000
    assert len(plans[Failure.WRONG_SHAPE]) == tiny_contract().horizon_steps - 1


def test_a_hang_lasts_as_long_as_it_was_told() -> None:
    waited: list[float] = []
    _policy(SimulatedSettings(failure=Failure.HANGS, hang_s=60.0), waited).decide(
        tiny_observation(), _KNOBS, 0
    )
    assert waited == [60.0]
