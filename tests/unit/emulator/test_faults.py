"""Each fault of the emulated Thor, put in force while it runs, and what the agent's own adapter makes of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.adapters.jetson import Jetson
from agent.emulator.faults import Fault, active, clear, inject
from agent.emulator.places import GPU, HWMON, NVPMODEL
from agent.emulator.profile import ProfileName, gpu_frequencies_hz, profile_named
from agent.emulator.sysfs import hwmon_named
from agent.emulator.thor import Activity, EmulatedThor
from agent.emulator.tree import create_tree, reboot
from agent.errors import KnobError
from models.errors import UsageError
from tests.fakes.clock import FakeClock

R39 = profile_named(ProfileName.R39)


class Site:
    """A Thor that runs in emulated time, and the adapter that reads it."""

    def __init__(self, root: Path) -> None:
        create_tree(root, R39, seed=5)
        self.root, self.clock = root, FakeClock()
        self.thor = EmulatedThor(root, 5, start_ns=self.clock.mono_ns(), keep_trace=False)
        self.jetson = Jetson(root, self.clock)
        self.pass_time(0.3)

    def pass_time(self, seconds: float, cpu_busy: float = 0.0) -> None:
        for _ in range(round(seconds * 20)):
            self.clock.advance(0.05)
            self.thor.advance(self.clock.mono_ns(), Activity(cpu_busy=cpu_busy))

    def nvpmodel(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.root / NVPMODEL), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_sensor_that_asks_to_be_read_again_lends_its_last_value_and_then_fails_alone(site: Site) -> None:
    assert site.jetson.heat().failing == ()
    inject(site.root, Fault.EAGAIN)
    site.pass_time(1.0)
    assert site.jetson.heat().failing == ()
    site.pass_time(1.5)
    assert site.jetson.heat().failing == ("gpu-thermal",)
    inject(site.root, Fault.EAGAIN, sensor="VIN")
    site.pass_time(0.5)
    assert site.jetson.power().failing == ("VIN",)
    clear(site.root, Fault.EAGAIN)
    assert (site.jetson.power().failing, site.jetson.heat().failing) == ((), ())


def test_a_renumbering_moves_every_device_and_leaves_every_figure(site: Site) -> None:
    before = _numbers(site.root)
    power = site.jetson.power()
    inject(site.root, Fault.HWMON_RENUMBERING)
    after = _numbers(site.root)
    assert set(before) == set(after)
    assert all(before[name] != after[name] for name in before)
    assert site.jetson.power() == power
    assert Jetson(site.root, site.clock).power() == power


def test_a_missing_sensor_is_named_and_is_right_again_afterwards(site: Site) -> None:
    idle_w = site.jetson.power().module_w or 0.0
    inject(site.root, Fault.MISSING_SENSOR)
    inject(site.root, Fault.MISSING_SENSOR, sensor="VDD_GPU")
    site.pass_time(0.5, cpu_busy=1.0)
    sample = site.jetson.power()
    assert (sample.module_w, sample.gpu_w, sample.failing) == (None, None, ("VIN", "VDD_GPU"))
    clear(site.root, Fault.MISSING_SENSOR)
    sample = site.jetson.power()
    assert sample.failing == ()
    assert (sample.module_w or 0.0) > idle_w + 15  # it went on being written while nobody saw it


def test_a_stuck_sensor_says_the_same_under_any_load_and_fails_for_nobody(site: Site) -> None:
    stuck_w = site.jetson.power().module_w
    inject(site.root, Fault.STUCK_SENSOR)
    site.pass_time(0.5, cpu_busy=1.0)
    sample = site.jetson.power()
    assert (sample.module_w, sample.failing) == (stuck_w, ())
    assert (sample.soc_w or 0.0) > 25
    inject(site.root, Fault.STUCK_SENSOR, value=12e6)
    assert site.jetson.power().module_w == pytest.approx(12.0)


def test_a_negative_sensor_is_not_believed(site: Site) -> None:
    inject(site.root, Fault.NEGATIVE_SENSOR, sensor="VDD_GPU")
    assert site.jetson.power().failing == ("VDD_GPU",)


def test_over_current_bursts_are_counted_and_slow_the_next_decision(site: Site) -> None:
    inject(site.root, Fault.OVER_CURRENT_BURSTS)
    site.pass_time(4.2)
    assert site.jetson.over_current_events() >= 2
    clocks = set()
    for _ in range(80):
        site.pass_time(0.05)
        clocks.add(site.thor.chip(site.thor.now_ns).gpu_hz)
    full_hz = max(clocks)
    assert min(clocks) == pytest.approx(full_hz / 2)
    clear(site.root, Fault.OVER_CURRENT_BURSTS)
    site.pass_time(0.1)
    counted = site.jetson.over_current_events()
    site.pass_time(4.0)
    assert site.jetson.over_current_events() == counted


def test_a_mode_that_is_ignored_looks_like_success_until_it_is_read_again(site: Site) -> None:
    inject(site.root, Fault.MODE_IGNORED)
    said = site.nvpmodel("-m", "0")
    assert (said.returncode, said.stdout) == (0, "Running in chroot, ignoring request.\n")
    assert site.jetson.power_mode() == 1
    clear(site.root, Fault.MODE_IGNORED)
    assert site.nvpmodel("-m", "0").returncode == 0
    assert site.jetson.power_mode() == 0


def test_a_read_only_cap_refuses_even_root_and_goes_on_being_read(site: Site) -> None:
    before_hz = site.jetson.gpu_max_freq_hz()
    inject(site.root, Fault.READ_ONLY_SYSFS)
    site.pass_time(0.1)
    with pytest.raises(KnobError, match="cannot be written"):
        site.jetson.set_gpu_max_freq_hz(gpu_frequencies_hz()[0])
    assert site.jetson.gpu_max_freq_hz() == before_hz
    assert site.nvpmodel("-m", "0").returncode != 0
    assert site.jetson.power_mode() == 1
    clear(site.root, Fault.READ_ONLY_SYSFS)
    site.pass_time(0.1)
    site.jetson.set_gpu_max_freq_hz(gpu_frequencies_hz()[0])
    assert not (site.root / GPU / "max_freq").is_symlink()


def test_a_rounded_clock_reads_back_as_written_and_is_another_at_the_next_look(site: Site) -> None:
    """The immediate look proves nothing of a driver that decides a little later."""
    inject(site.root, Fault.FREQUENCY_ROUNDING)
    asked_hz = gpu_frequencies_hz()[50]
    site.jetson.set_gpu_max_freq_hz(asked_hz)
    site.pass_time(0.1)
    assert site.jetson.gpu_max_freq_hz() == gpu_frequencies_hz()[40]
    assert site.thor.chip(site.thor.now_ns).gpu_hz == gpu_frequencies_hz()[40]
    clear(site.root, Fault.FREQUENCY_ROUNDING)
    site.pass_time(0.1)
    site.jetson.set_gpu_max_freq_hz(asked_hz)
    site.pass_time(0.1)
    assert site.jetson.gpu_max_freq_hz() == asked_hz


def test_a_fan_that_fails_is_told_to_turn_and_does_not(site: Site) -> None:
    inject(site.root, Fault.FAN_FAILURE)
    cool_c = site.jetson.heat().hottest_c or 0.0
    site.pass_time(60.0, cpu_busy=1.0)
    assert _said(site.root, "pwm_tach", "rpm") == 0
    assert _said(site.root, "pwmfan", "pwm1") > 0
    assert (site.jetson.heat().hottest_c or 0.0) > cool_c + 3


def test_hot_air_warms_an_idle_module(site: Site) -> None:
    site.pass_time(60.0)
    before_c = site.jetson.heat().hottest_c or 0.0
    inject(site.root, Fault.HOT_AMBIENT, value=50.0)
    site.pass_time(60.0)
    assert (site.jetson.heat().hottest_c or 0.0) > before_c + 5


def test_a_boot_takes_every_fault_back(site: Site) -> None:
    for fault in Fault:
        inject(site.root, fault)
    site.pass_time(0.1)
    assert len(active(site.root)) > 5
    reboot(site.root, R39, seed=5)
    site.pass_time(0.1)
    assert active(site.root) == frozenset()
    jetson = Jetson(site.root, site.clock)
    assert (jetson.power().failing, jetson.heat().failing) == ((), ())
    jetson.set_gpu_max_freq_hz(gpu_frequencies_hz()[0])


def test_a_fault_on_a_sensor_ends_the_one_that_it_had(site: Site) -> None:
    inject(site.root, Fault.MISSING_SENSOR)
    inject(site.root, Fault.NEGATIVE_SENSOR)
    assert active(site.root) == {Fault.NEGATIVE_SENSOR}
    clear(site.root, Fault.NEGATIVE_SENSOR)
    assert site.jetson.power().failing == ()


def test_only_an_emulated_tree_gets_faults(tmp_path: Path) -> None:
    create_tree(tmp_path, R39, seed=1)
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson AGX Thor Developer Kit\0")
    with pytest.raises(UsageError, match="not the root of an emulated device"):
        inject(tmp_path, Fault.MISSING_SENSOR)


def test_a_sensor_that_there_is_not_is_answered_with_those_that_there_are(site: Site) -> None:
    with pytest.raises(UsageError, match="VDD_GPU"):
        inject(site.root, Fault.MISSING_SENSOR, sensor="vin")
    with pytest.raises(UsageError, match="no fault of one sensor"):
        inject(site.root, Fault.FAN_FAILURE, sensor="fan")


def test_faults_come_and_go_by_name_on_the_command_line(tmp_path: Path) -> None:
    create_tree(tmp_path, R39, seed=1)
    assert _command(tmp_path, "hot-ambient", "--value", "50").stdout == "in force: hot-ambient (emulated)\n"
    assert _command(tmp_path).stdout == "in force: hot-ambient (emulated)\n"
    assert _command(tmp_path, "hot-ambient", "--clear").stdout == "in force: none (emulated)\n"
    refused = _command(tmp_path, "missing-sensor", "--sensor", "nonsense")
    assert (refused.returncode, refused.stderr.splitlines()[0][:35]) == (
        2,
        "error [usage]: no sensor nonsense; ",
    )


def _command(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent.app.main", "emulate-fault", "--root", str(root), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ)
    )


def _numbers(root: Path) -> dict[str, str]:
    return {(path / "name").read_text().strip(): path.name for path in (root / HWMON).iterdir()}


def _said(root: Path, device: str, file: str) -> int:
    return int((hwmon_named(root, device) / file).read_text())


def test_an_emulator_that_died_under_a_fault_finds_its_cap_again(site: Site) -> None:
    """The sealed memory goes with the process that made it."""
    cap = site.root / GPU / "max_freq"
    before = cap.read_text()
    inject(site.root, Fault.READ_ONLY_SYSFS)
    site.pass_time(0.1)
    cap.unlink()
    cap.symlink_to("/proc/0/fd/0")
    again = EmulatedThor(site.root, 5, start_ns=site.clock.mono_ns(), keep_trace=False)
    assert cap.read_text() == before
    again.advance(site.clock.mono_ns() + 100_000_000)
    assert cap.is_symlink()
    assert cap.read_text() == before


def test_a_running_emulator_honours_a_fault_that_is_put_in_force_beside_it(tmp_path: Path) -> None:
    create_tree(tmp_path, R39, seed=1)
    rpm = hwmon_named(tmp_path, "pwm_tach") / "rpm"
    command = [sys.executable, "-m", "agent.app.main", "emulate", "--root", str(tmp_path)]
    process = subprocess.Popen(command, env=dict(os.environ))
    try:
        _await_rpm(rpm, lambda turns: turns not in {0, 1_200})
        inject(tmp_path, Fault.FAN_FAILURE)
        _await_rpm(rpm, lambda turns: turns == 0)
        clear(tmp_path, Fault.FAN_FAILURE)
        _await_rpm(rpm, lambda turns: turns > 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()


def _await_rpm(rpm: Path, wanted: Callable[[int], bool]) -> None:
    deadline = time.monotonic() + 60
    while not wanted(int(rpm.read_text())):
        assert time.monotonic() < deadline, f"the fan says {rpm.read_text()}"
        threading.Event().wait(0.05)


@pytest.mark.parametrize(("fault", "value"), [(Fault.STUCK_SENSOR, float("nan")), (Fault.FAN_FAILURE, 3.0)])
def test_a_value_that_no_fault_can_have_is_refused_and_moves_nothing(
    site: Site, fault: Fault, value: float
) -> None:
    with pytest.raises(UsageError, match="value"):
        inject(site.root, fault, value=value)
    assert active(site.root) == frozenset()
    assert site.jetson.power().failing == ()
