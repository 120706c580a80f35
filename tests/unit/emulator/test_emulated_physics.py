"""The emulated watts, milliseconds and degrees are where published figures put them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.emulator.calibration import Anchor, calibration, tokens_at
from agent.emulator.heat import (
    CRITICAL_C,
    FAN_TRIPS_C,
    PASSIVE_C,
    PASSIVE_OFF_C,
    Heat,
    settled,
    warmed,
)
from agent.emulator.physics import (
    EDGE,
    Chip,
    Decision,
    Rails,
    StageName,
    Temperatures,
    added_j,
    idle_rails,
    latency_s,
    part_of,
    stages_of,
)
from agent.emulator.profile import GPU_MAX_HZ, GPU_MIN_HZ, TPCS, gpu_frequencies_hz

ORDINARY = Decision(EDGE, 5, 4)
CLOCKS = st.sampled_from(gpu_frequencies_hz())
FITTED = [anchor for anchor in calibration() if anchor.fitted]


@pytest.mark.parametrize("anchor", FITTED, ids=lambda anchor: anchor.name)
def test_every_fitted_anchor_is_within_five_percent(anchor: Anchor) -> None:
    assert anchor.error == pytest.approx(anchor.emulated / anchor.published - 1)
    assert abs(anchor.error) <= 0.05


def test_predictions_stand_beside_what_was_fitted_and_every_anchor_has_a_source() -> None:
    anchors = calibration()
    assert {anchor.fitted for anchor in anchors} == {True, False}
    assert all(anchor.source for anchor in anchors)
    assert len({anchor.name for anchor in anchors}) == len(anchors)


def test_a_2b_policy_at_maxn_is_as_fast_and_as_dear_as_was_published() -> None:
    assert 1e3 * latency_s(ORDINARY, Chip()) == pytest.approx(91.9, rel=0.01)
    assert [tokens_at(share) for share in (0.5, 0.9)] == [5, 16]


@given(
    low=CLOCKS, high=CLOCKS, tpcs=st.integers(1, TPCS), tokens=st.integers(0, 64), steps=st.integers(0, 10)
)
def test_less_clock_and_fewer_tpcs_never_make_a_decision_faster(
    low: int, high: int, tpcs: int, tokens: int, steps: int
) -> None:
    low, high = sorted((low, high))
    decision = Decision(EDGE, tokens, steps)
    slow, fast = Chip(gpu_hz=low), Chip(gpu_hz=high)
    assert latency_s(decision, slow) >= latency_s(decision, fast)
    assert latency_s(decision, replace(fast, tpcs=tpcs)) >= latency_s(decision, fast)


@given(hz=CLOCKS, tpcs=st.integers(1, TPCS), tokens=st.integers(0, 63), steps=st.integers(1, 10))
def test_every_token_and_every_flow_step_takes_time_and_energy(
    hz: int, tpcs: int, tokens: int, steps: int
) -> None:
    chip = Chip(gpu_hz=hz, tpcs=tpcs)
    less = Decision(EDGE, tokens, steps)
    for more in (Decision(EDGE, tokens + 1, steps), Decision(EDGE, tokens, steps + 1)):
        assert latency_s(more, chip) > latency_s(less, chip)
        assert added_j(more, chip) > added_j(less, chip)


@given(low=CLOCKS, high=CLOCKS)
def test_a_stage_never_takes_more_power_at_a_lower_clock(low: int, high: int) -> None:
    low, high = sorted((low, high))
    slow, fast = (stages_of(ORDINARY, Chip(gpu_hz=hz)) for hz in (low, high))
    for cool, warm in zip(slow, fast, strict=True):
        assert cool.rails.module_w <= warm.rails.module_w + 1e-9
        assert cool.rails.gpu_w <= warm.rails.gpu_w + 1e-9


@given(hz=CLOCKS, tokens=st.integers(0, 64), steps=st.integers(0, 10), part_s=st.floats(0.002, 0.2))
def test_a_decision_in_parts_takes_as_long_and_as_much_as_in_one(
    hz: int, tokens: int, steps: int, part_s: float
) -> None:
    chip, whole = Chip(gpu_hz=hz), Decision(EDGE, tokens, steps)
    taken_s = taken_j = 0.0
    left: Decision | None = whole
    while left is not None:
        stages, left = part_of(left, chip, part_s)
        assert sum(stage.duration_s for stage in stages) <= part_s + 1e-9
        taken_s += sum(stage.duration_s for stage in stages)
        taken_j += sum(stage.duration_s * stage.rails.module_w for stage in stages)
    assert taken_s == pytest.approx(latency_s(whole, chip))
    assert taken_j == pytest.approx(added_j(whole, chip))


@given(hz=CLOCKS, tpcs=st.integers(1, TPCS), busy=st.floats(0, 1))
def test_the_module_never_takes_less_than_its_rails(hz: int, tpcs: int, busy: float) -> None:
    chip = Chip(gpu_hz=hz, tpcs=tpcs, idle_w=23.0)
    idle = idle_rails(chip, Temperatures(), busy)
    for stage in stages_of(ORDINARY, chip):
        now = idle.plus(stage.rails)
        assert now.gpu_w + now.soc_w <= now.module_w


def test_a_decision_is_a_pulse_whose_encoding_takes_most_power() -> None:
    stages = {stage.name: stage for stage in stages_of(ORDINARY, Chip())}
    assert list(stages) == list(StageName)
    assert stages[StageName.ENCODE].rails.module_w > 1.3 * stages[StageName.TOKENS].rails.module_w
    assert stages[StageName.HOST].rails.module_w < 3.0


def test_the_lowest_clock_costs_time_and_the_middle_ones_least_energy() -> None:
    energy_j = {hz: added_j(ORDINARY, Chip(gpu_hz=hz)) for hz in gpu_frequencies_hz()}
    cheapest_hz = min(energy_j, key=lambda hz: energy_j[hz])
    assert GPU_MIN_HZ < cheapest_hz < GPU_MAX_HZ
    assert latency_s(ORDINARY, Chip(gpu_hz=GPU_MIN_HZ)) > 2.5 * latency_s(ORDINARY, Chip())


def test_idle_settles_near_40_degrees_and_full_load_below_throttling() -> None:
    assert 33 < settled(Rails(0.4, 8.5, 6.0, 26.0), 25.0).hottest_c < 45
    assert 60 < settled(FULL, 25.0).hottest_c < 85
    assert settled(FULL, 45.0).hottest_c < PASSIVE_C


FULL = Rails(40.0, 30.0, 10.0, 130.0)


def _heated(ambient_c: float, seconds: int, *, fan_works: bool) -> list[Heat]:
    heat, seen = Heat(), []
    for _ in range(seconds * 10):
        heat = warmed(heat, FULL, ambient_c, 0.1, fan_works=fan_works)
        seen.append(heat)
    return seen


def test_without_a_fan_in_warm_air_full_power_throttles_and_then_shuts_down() -> None:
    """Nothing here makes the load smaller: the closed loop is the emulated Thor's."""
    seen = _heated(50.0, 3600, fan_works=False)
    throttled = next(heat for heat in seen if heat.gpu_state > 0)
    assert throttled.temperatures.gpu_c >= PASSIVE_C - 0.2
    assert seen[-1].critical
    assert seen[-1].temperatures.hottest_c > CRITICAL_C
    assert seen[-1].gpu_state == 169


def test_throttling_ends_only_well_below_where_it_began() -> None:
    heat = Heat(Temperatures(108.0, 110.0, 108.0, 108.0, 108.0), gpu_state=5)
    states = []
    for _ in range(600):
        heat = warmed(heat, Rails(0.4, 8.5, 6.0, 26.0), 25.0, 0.1)
        states.append((heat.temperatures.gpu_c, heat.gpu_state))
    held = [state for celsius, state in states if PASSIVE_OFF_C <= celsius < PASSIVE_C]
    assert held
    assert len(set(held)) == 1
    assert states[-1][1] == 0


def test_the_fans_states_follow_their_trips_and_lag_on_the_way_down() -> None:
    for number, trip in enumerate(FAN_TRIPS_C):
        at = Temperatures(trip, trip, trip, trip, trip)
        assert warmed(Heat(at), FULL, trip - 40.0, 0.0001).fan_state >= number
    just_below = Temperatures(78.0, 78.0, 78.0, 78.0, 78.0)
    assert warmed(Heat(just_below, fan_state=1), FULL, 25.0, 0.0001).fan_state == 1
    assert warmed(Heat(just_below, fan_state=0), FULL, 25.0, 0.0001).fan_state == 0
