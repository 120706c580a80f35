"""Deadlines keep their phase, and figures of time are right within an eighth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control.pacing import Histogram, Pacer
from tests.fakes.clock import FakeClock

_MS = 1_000_000
START_NS = 1_000_000_000


def test_deadlines_are_absolute_so_that_slow_ticks_do_not_add_up() -> None:
    clock = FakeClock(START_NS)
    pacer = Pacer(clock, 10 * _MS)
    deadlines = []
    for _ in range(5):
        deadlines.append(pacer.wait().deadline_ns)
        clock.advance(0.007)
    assert deadlines == [START_NS + k * 10 * _MS for k in (1, 2, 3, 4, 5)]
    assert pacer.missed == 0


def test_what_happens_before_the_first_wait_is_not_a_missed_tick() -> None:
    clock = FakeClock(START_NS)
    pacer = Pacer(clock, 10 * _MS)
    clock.advance(0.3)
    assert pacer.wait().missed == 0
    assert pacer.missed == 0


@pytest.mark.parametrize(("over_ms", "missed"), [(10, 0), (11, 1), (20, 1), (21, 2), (1000, 99)])
def test_a_tick_that_runs_over_loses_whole_periods_and_keeps_the_phase(over_ms: int, missed: int) -> None:
    clock = FakeClock(START_NS)
    pacer = Pacer(clock, 10 * _MS)
    pacer.wait()
    clock.advance(over_ms / 1000)
    wake = pacer.wait()
    assert (wake.missed, pacer.missed) == (missed, missed)
    assert (wake.deadline_ns - START_NS) % (10 * _MS) == 0
    assert wake.deadline_ns >= START_NS + (10 + over_ms) * _MS


def test_a_sleep_that_ends_late_is_lateness() -> None:
    class LateClock(FakeClock):
        def sleep_until(self, mono_ns: int) -> None:
            super().sleep_until(mono_ns + 2 * _MS)

    pacer = Pacer(LateClock(START_NS), 10 * _MS)
    assert pacer.wait().lateness_ns == 2 * _MS
    assert pacer.lateness.max_ns == 2 * _MS


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.99, 0.999, 1.0])
)
def test_a_quantile_is_at_most_an_eighth_above_the_true_one(durations_ns: list[int], share: float) -> None:
    histogram = Histogram()
    for duration_ns in durations_ns:
        histogram.add(duration_ns)
    ordered = sorted(durations_ns)
    rank = max(-(-len(ordered) * share // 1), 1)
    true_ns = ordered[int(rank) - 1]
    (found_ns,) = histogram.quantiles((share,))
    assert true_ns <= found_ns <= true_ns * 1.125 + 1
    assert found_ns <= histogram.max_ns


def test_an_empty_histogram_and_absurd_durations_do_no_harm() -> None:
    histogram = Histogram()
    assert histogram.quantiles((0.5, 0.99)) == (0, 0)
    histogram.add(-5)
    histogram.add(2**63)
    assert (histogram.total, histogram.max_ns) == (2, 2**63)


def test_a_miss_is_told_with_the_span_in_which_the_loop_was_away() -> None:
    clock = FakeClock(START_NS)
    pacer = Pacer(clock, 10 * _MS)
    pacer.wait()
    clock.advance(0.025)
    pacer.wait()
    assert list(pacer.misses) == [(START_NS + 10 * _MS, START_NS + 35 * _MS)]
