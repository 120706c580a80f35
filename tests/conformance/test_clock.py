"""What every clock keeps, the fake and the machine's."""

from collections.abc import Callable

import pytest

from agent.adapters.clock import MonotonicClock
from agent.ports import Clock
from tests.fakes.clock import FakeClock

CLOCKS: dict[str, Callable[[], Clock]] = {
    "fake": FakeClock,
    "machine": MonotonicClock,
    "awake": lambda: MonotonicClock(awake_ns=1_000_000),
}


@pytest.fixture(params=CLOCKS)
def clock(request: pytest.FixtureRequest) -> Clock:
    return CLOCKS[request.param]()


def test_monotonic_time_never_goes_back(clock: Clock) -> None:
    times = [clock.mono_ns() for _ in range(1000)]
    assert times == sorted(times)


def test_a_sleep_ends_at_its_absolute_time_and_not_before(clock: Clock) -> None:
    deadline_ns = clock.mono_ns() + 5_000_000
    clock.sleep_until(deadline_ns)
    assert deadline_ns <= clock.mono_ns() < deadline_ns + 2_000_000_000


def test_a_sleep_until_a_time_that_has_passed_returns_at_once(clock: Clock) -> None:
    before_ns = clock.mono_ns()
    clock.sleep_until(before_ns - 10_000_000_000)
    assert clock.mono_ns() - before_ns < 1_000_000_000


def test_utc_is_after_2020_and_moves_with_the_monotonic_clock(clock: Clock) -> None:
    utc_ns, mono_ns = clock.utc_ns(), clock.mono_ns()
    clock.sleep_until(mono_ns + 20_000_000)
    assert utc_ns > 1_577_836_800_000_000_000
    assert 10_000_000 <= clock.utc_ns() - utc_ns < 2_000_000_000
