"""The emulated watts and degrees are where published figures put them."""

from pathlib import Path

import pytest

from agent.adapters.jetson import Jetson
from agent.emulator.physics import Load, Temperatures, fan_for, rails_under, warmed
from agent.emulator.profile import GPU_MAX_HZ, ProfileName, gpu_frequencies_hz, profile_named
from agent.emulator.thor import EmulatedThor
from agent.emulator.tree import GPU, create_tree
from tests.fakes.clock import FakeClock

FULL = Load(decisions_per_s=10.9, tokens_per_s=10.9 * 14, flow_steps_per_s=10.9 * 4, cpu_busy=0.3)


def test_a_2b_policy_at_maxn_takes_what_was_published() -> None:
    rails = rails_under(FULL, GPU_MAX_HZ, idle_w=26.0)
    assert 124 <= rails.module_w <= 136
    assert rails.module_w / 10.9 == pytest.approx(12.45, rel=0.08)
    assert rails.utilisation == pytest.approx(1.0, abs=0.02)


def test_the_120_w_cap_saves_about_a_tenth() -> None:
    maxn = rails_under(FULL, GPU_MAX_HZ, idle_w=26.0).module_w
    capped = rails_under(FULL, 1_386_000_000, idle_w=26.0).module_w
    assert 0.82 * maxn < capped < 0.95 * maxn


def test_less_clock_and_less_work_never_take_more_power() -> None:
    loads = [Load(rate, rate * tokens, rate * 4, 0.2) for rate in (0, 1, 4, 10) for tokens in (4, 14)]
    for load in loads:
        watts = [rails_under(load, hz, 25.0).module_w for hz in gpu_frequencies_hz()]
        assert watts == sorted(watts)
    for hz in gpu_frequencies_hz()[::20]:
        watts = [rails_under(load, hz, 25.0).module_w for load in loads[::2]]
        assert watts == sorted(watts)


def test_idle_settles_near_40_degrees_and_full_load_below_throttling() -> None:
    assert 35 < _settled(Load()).hottest_c < 45
    assert 60 < _settled(FULL).hottest_c < 85


def _settled(load: Load) -> Temperatures:
    rails, now = rails_under(load, GPU_MAX_HZ, 26.0), Temperatures()
    for _ in range(4000):
        now = warmed(now, rails, fan_for(now.hottest_c), 0.25)
    return now


def test_sensors_follow_the_load_and_the_cap_within_a_step(tmp_path: Path) -> None:
    create_tree(tmp_path, profile_named(ProfileName.R39), seed=4)
    thor, jetson = EmulatedThor(tmp_path, seed=4), Jetson(tmp_path, FakeClock())
    jetson.set_gpu_max_freq_hz(GPU_MAX_HZ)
    thor.advance(Load(), 0.05)
    assert 22 < (jetson.power().module_w or 0) < 29
    thor.advance(FULL, 0.05)
    full_w = jetson.power().module_w or 0
    assert full_w > 115
    jetson.set_gpu_max_freq_hz(315_000_000)
    thor.advance(FULL, 0.05)
    assert (jetson.power().module_w or 0) < 0.6 * full_w


def test_a_cap_between_two_clocks_is_rounded_without_a_word(tmp_path: Path) -> None:
    create_tree(tmp_path, profile_named(ProfileName.R39), seed=4)
    thor, jetson = EmulatedThor(tmp_path, seed=4), Jetson(tmp_path, FakeClock())
    jetson.set_gpu_max_freq_hz(1_000_000_000)
    thor.advance(Load(), 0.05)
    assert jetson.gpu_max_freq_hz() == 990_000_000


def test_a_reader_never_sees_half_a_number(tmp_path: Path) -> None:
    create_tree(tmp_path, profile_named(ProfileName.R39), seed=4)
    thor = EmulatedThor(tmp_path, seed=4)
    sizes = set()
    for step in range(50):
        thor.advance(Load(step % 11, step, step, 0.1), 0.05)
        moving = tmp_path.glob("sys/class/hwmon/*/power1_input")
        sizes |= {path.stat().st_size for path in moving}
    assert len(sizes) == 1
    assert (tmp_path / GPU / "cur_freq").read_text().split()[0].isdigit()
