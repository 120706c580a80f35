"""The truth that figures are judged by: exact, whatever the pulses, and quick enough for an hour of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.emulator.truth import PowerTrace

_MS = 1_000_000
SPANS = st.lists(
    st.tuples(st.integers(1, 900), st.sampled_from([0.0, 25.0, 26.5, 80.0, 150.0])), min_size=1, max_size=40
)


def _trace(spans: list[tuple[int, float]], start_ms: int = 0) -> PowerTrace:
    trace, at = PowerTrace(), start_ms
    for length_ms, watts in spans:
        trace.add(at * _MS, (at + length_ms) * _MS, watts)
        at += length_ms
    return trace


def _every_ms(spans: list[tuple[int, float]]) -> np.ndarray:
    return np.repeat([watts for _, watts in spans], [length for length, _ in spans])


@given(spans=SPANS, window_ms=st.integers(1, 1200), start_ms=st.integers(0, 10**10))
@settings(max_examples=200, deadline=None)
def test_the_largest_mean_is_that_of_every_window_tried_one_by_one(
    spans: list[tuple[int, float]], window_ms: int, start_ms: int
) -> None:
    """All steps are at whole milliseconds, and so is then the window of the largest mean."""
    watts = _every_ms(spans)
    joules = np.concatenate([[0.0], np.cumsum(watts)])
    trace = _trace(spans, start_ms)
    if len(watts) >= window_ms:
        brute_w = ((joules[window_ms:] - joules[:-window_ms]) / window_ms).max()
    else:
        brute_w = watts.mean()
    assert trace.max_mean_w(window_ms / 1000) == pytest.approx(brute_w, abs=1e-6)
    assert trace.energy_j == pytest.approx(watts.sum() / 1000, abs=1e-6)


@given(spans=SPANS)
@settings(max_examples=100, deadline=None)
def test_the_steepest_ramp_is_that_of_every_second_tried_one_by_one(spans: list[tuple[int, float]]) -> None:
    joules = np.concatenate([[0.0], np.cumsum(_every_ms(spans))]) / 1000
    means_w = joules[1000:] - joules[:-1000]
    steps_w = np.abs(means_w[1000:] - means_w[:-1000]) if len(means_w) > 1000 else np.zeros(1)
    assert _trace(spans).max_ramp_w_per_s() == pytest.approx(steps_w.max(), abs=1e-6)


def test_a_window_that_no_sampling_would_hit_is_found() -> None:
    """Two pulses of 92 ms whose outer edges are a second apart: both are in that window only."""
    trace = _trace([(1500, 26.0), (92, 126.0), (816, 26.0), (92, 126.0), (1500, 26.0)])
    assert trace.max_mean_w(1.0) == pytest.approx(26.0 + 2 * 9.2)


def test_a_span_that_leaves_a_gap_or_goes_back_is_an_error() -> None:
    trace = _trace([(100, 26.0)])
    for from_ms, until_ms in ((101, 200), (99, 200), (100, 99)):
        with pytest.raises(ValueError, match="does not follow"):
            trace.add(from_ms * _MS, until_ms * _MS, 26.0)


def test_an_empty_trace_and_one_that_is_too_short_have_no_extremes() -> None:
    assert (PowerTrace().max_mean_w(), PowerTrace().max_ramp_w_per_s(), PowerTrace().energy_j) == (
        0.0,
        0.0,
        0.0,
    )
    short = _trace([(500, 40.0)])
    assert short.max_mean_w() == pytest.approx(40.0)
    assert short.max_ramp_w_per_s() == 0.0


def test_energy_between_two_times_is_that_of_the_spans_between() -> None:
    trace = _trace([(1000, 10.0), (1000, 30.0)], start_ms=500)
    assert trace.energy_between_j(1000 * _MS, 2000 * _MS) == pytest.approx(5.0 + 15.0)
    assert trace.energy_between_j(0, 10_000 * _MS) == pytest.approx(40.0)


def test_an_hour_of_pulses_keeps_its_precision() -> None:
    """The mean of each second is known: an hour of sums must not blur it."""
    trace = _trace([(92, 125.0), (8, 26.0)] * 36_000)
    assert trace.duration_s == pytest.approx(3600.0)
    assert trace.max_mean_w(1.0) == pytest.approx(0.92 * 125 + 0.08 * 26, abs=1e-6)
    assert trace.max_ramp_w_per_s() < 1e-6
