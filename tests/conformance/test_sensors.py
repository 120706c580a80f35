"""What the power process may expect of a device: the fake's numbers and the real adapter's files alike."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.adapters.jetson import Jetson
from agent.emulator.places import GPU, HWMON, THERMAL
from agent.emulator.profile import ProfileName, profile_named
from agent.emulator.sysfs import hwmon_named
from agent.emulator.tree import create_tree, reboot
from agent.errors import KnobError, SensorError
from agent.power.device import PowerDevice
from agent.power.modes import NO_CAP
from tests.fakes.clock import FakeClock
from tests.fakes.jetson import FakeDevice

R39 = profile_named(ProfileName.R39)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create_tree(tmp_path, R39, seed=7)
    return tmp_path


@pytest.fixture(params=["fake", "r38", "r39"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> PowerDevice:
    if request.param == "fake":
        return FakeDevice()
    create_tree(tmp_path, profile_named(ProfileName(request.param)), seed=3)
    return Jetson(tmp_path, FakeClock())


def test_a_healthy_device_has_every_rail_and_no_complaint(device: PowerDevice) -> None:
    sample = device.power()
    assert sample.module_w == pytest.approx(25.0)
    assert sample.gpu_w is not None
    assert sample.soc_w is not None
    assert sample.failing == ()


def test_a_healthy_device_knows_its_hottest_zone_in_degrees(device: PowerDevice) -> None:
    assert 20 < (device.heat().hottest_c or 0) < 60
    assert device.over_current_events() == 0


def test_a_clock_cap_that_is_written_reads_back(device: PowerDevice) -> None:
    lowest = device.gpu_frequencies_hz()[0]
    device.set_gpu_max_freq_hz(lowest)
    assert device.gpu_max_freq_hz() == lowest


def test_the_clock_table_rises_and_the_mode_in_force_is_one_of_the_modes(device: PowerDevice) -> None:
    table = device.gpu_frequencies_hz()
    assert list(table) == sorted(set(table))
    assert device.power_modes().numbered(device.power_mode()).gpu_max_hz <= table[-1]


def test_a_mode_whose_cap_is_no_number_has_no_cap(root: Path) -> None:
    """The vendor adds words with each release; the governor must not fall over one."""
    conf = root / "etc/nvpmodel.conf"
    conf.write_text(re.sub(r"^GPU MAX_FREQ \d+$", "GPU MAX_FREQ max", conf.read_text(), flags=re.MULTILINE))
    jetson = Jetson(root, FakeClock())
    assert jetson.power_modes().numbered(jetson.power_mode()).gpu_max_hz == NO_CAP


def test_rails_are_found_again_by_name_after_a_boot_gave_hwmon_other_numbers(root: Path) -> None:
    clock = FakeClock()
    jetson = Jetson(root, clock)
    before = _hwmon_link(root, "ina238").readlink()
    old_number = _hwmon_link(root, "ina238").name
    while _hwmon_link(root, "ina238").name == old_number:
        reboot(root, R39, seed=7)
    assert _hwmon_link(root, "ina238").readlink() == before
    clock.advance(6)
    jetson.power()
    sample = jetson.power()
    assert sample.failing == ()
    assert sample.module_w == pytest.approx(25.0)


def test_a_renumbered_hwmon_never_lends_another_sensors_watts(root: Path) -> None:
    """Both monitors have an in1 and a curr1; the module's would pass for the GPU's."""
    jetson = Jetson(root, FakeClock())
    shunts, module = _hwmon_link(root, "ina3221"), _hwmon_link(root, "ina238")
    gpu_w = jetson.power().gpu_w
    theirs, ours = shunts.readlink(), module.readlink()
    for link in (shunts, module):
        link.unlink()
    shunts.symlink_to(ours)
    module.symlink_to(theirs)
    sample = jetson.power()
    assert (sample.gpu_w, sample.failing) == (gpu_w, ())


def test_watts_are_lent_for_one_sample_only(root: Path) -> None:
    """A mean over 1 s is no mean if its samples are old."""
    clock = FakeClock()
    jetson = Jetson(root, clock)
    assert jetson.power().module_w == pytest.approx(25.0)
    with _answers_eagain(hwmon_named(root, "ina238") / "power1_input"):
        clock.advance(0.1)
        assert jetson.power().module_w == pytest.approx(25.0)
        clock.advance(0.2)
        assert jetson.power().failing == ("VIN",)


def test_a_rail_that_disappears_fails_alone(root: Path) -> None:
    jetson = Jetson(root, FakeClock())
    (hwmon_named(root, "ina238") / "power1_input").unlink()
    sample = jetson.power()
    assert sample.module_w is None
    assert sample.gpu_w is not None
    assert sample.failing == ("VIN",)


@pytest.mark.parametrize("nonsense", ["-25000000\n", "0\n", "999999999999\n", "n/a\n", ""])
def test_a_rail_that_says_what_cannot_be_counts_as_failed(root: Path, nonsense: str) -> None:
    jetson = Jetson(root, FakeClock())
    (hwmon_named(root, "ina238") / "power1_input").write_text(nonsense)
    assert jetson.power().failing == ("VIN",)


def test_the_sum_of_the_shunts_and_the_usb_supply_are_no_rails(root: Path) -> None:
    shunts = hwmon_named(root, "ina3221")
    (shunts / "in7_input").write_text("999999\n")
    (hwmon_named(root, "ucsi_source_psy_1_00081") / "curr1_input").write_text("999999\n")
    sample = Jetson(root, FakeClock()).power()
    assert sample.failing == ()
    assert (sample.gpu_w or 0) + (sample.soc_w or 0) < 5


def test_a_zone_that_answers_eagain_lends_its_last_value_for_two_seconds_and_then_fails(root: Path) -> None:
    """A rail-gated GPU's zone says EAGAIN."""
    clock = FakeClock()
    jetson = Jetson(root, clock)
    zone = _zone(root, "gpu-thermal")
    for other in ("cpu-thermal", "soc012-thermal", "soc345-thermal", "tj-thermal"):
        _zone(root, other).write_text("31000\n")
    zone.write_text("77000\n")
    assert jetson.heat().hottest_c == pytest.approx(77.0)
    with _answers_eagain(zone):
        clock.advance(1.5)
        assert jetson.heat() == jetson.heat()
        assert jetson.heat().hottest_c == pytest.approx(77.0)
        clock.advance(1.0)
        heat = jetson.heat()
    assert heat.failing == ("gpu-thermal",)
    assert heat.hottest_c == pytest.approx(31.0)


def test_a_clock_cap_that_does_not_take_is_an_error_and_not_a_belief(root: Path) -> None:
    """The driver swallows the write and goes on with its own value; a terminal does just that."""
    driver, file = os.openpty()
    cap = root / GPU / "max_freq"
    cap.unlink()
    cap.symlink_to(os.ttyname(file))
    os.write(driver, b"1386000000\n")
    try:
        with pytest.raises(KnobError, match="reads 1386000000 Hz after 315000000 Hz"):
            Jetson(root, FakeClock()).set_gpu_max_freq_hz(315_000_000)
    finally:
        os.close(driver)
        os.close(file)


def test_a_clock_cap_that_may_not_be_written_is_an_error(root: Path) -> None:
    cap = root / GPU / "max_freq"
    cap.unlink()
    cap.symlink_to("/dev/full")
    with pytest.raises(KnobError, match="cannot be written"):
        Jetson(root, FakeClock()).set_gpu_max_freq_hz(315_000_000)


def test_an_nvpmodel_that_ignores_the_question_is_not_believed(root: Path) -> None:
    """In a container the vendor's tool says so and exits with 0."""
    tool = root / "usr/sbin/nvpmodel"
    tool.write_text("#!/bin/sh\necho 'Running in chroot, ignoring request.'\n")
    with pytest.raises(SensorError, match="chroot"):
        Jetson(root, FakeClock()).power_mode()


def test_a_machine_that_is_no_jetson_has_no_sensors_and_breaks_nothing(tmp_path: Path) -> None:
    jetson = Jetson(tmp_path, FakeClock())
    assert jetson.power().failing == ("VIN", "VDD_GPU", "VDD_CPU_SOC_MSS")
    assert jetson.heat().hottest_c is None
    failing: list[Callable[[], object]] = [
        jetson.power_mode,
        jetson.power_modes,
        jetson.gpu_max_freq_hz,
        jetson.gpu_frequencies_hz,
        jetson.over_current_events,
    ]
    for ask in failing:
        with pytest.raises(SensorError):
            ask()


@contextmanager
def _answers_eagain(file: Path) -> Iterator[None]:
    """A pipe that someone holds open without writing says so too."""
    file.unlink()
    os.mkfifo(file)
    holder = os.open(file, os.O_RDWR)
    try:
        yield
    finally:
        os.close(holder)


def _hwmon_link(root: Path, name: str) -> Path:
    return next(path for path in (root / HWMON).iterdir() if (path / "name").read_text().strip() == name)


def _zone(root: Path, kind: str) -> Path:
    zones = (root / THERMAL).glob("thermal_zone*")
    return next(zone / "temp" for zone in zones if (zone / "type").read_text().strip() == kind)


def test_over_current_counters_that_appear_later_are_found(root: Path) -> None:
    clock = FakeClock()
    device = hwmon_named(root, "soctherm_oc")
    (device / "name").rename(device / "gone")
    jetson = Jetson(root, clock)
    with pytest.raises(SensorError, match="soctherm_oc"):
        jetson.over_current_events()
    (device / "gone").rename(device / "name")
    clock.advance(6)
    with pytest.raises(SensorError):
        jetson.over_current_events()
    assert jetson.over_current_events() == 0


def test_an_nvpmodel_that_answers_in_no_encoding_is_not_believed(root: Path) -> None:
    command = root / "usr/sbin/nvpmodel"
    command.write_text("#!/bin/sh\nprintf 'NV Power \\377\\n'\n")
    command.chmod(0o755)
    with pytest.raises(SensorError):
        Jetson(root, FakeClock()).power_mode()
