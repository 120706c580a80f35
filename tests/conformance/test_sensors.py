"""What the power process may expect of a device: the fake's numbers and the real adapter's files alike."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.adapters.jetson import Jetson
from agent.adapters.nvpmodel import HELPER_SOCKET, Nvpmodel
from agent.app.set_mode import answer
from agent.emulator.faults import Fault, inject
from agent.emulator.places import GPU, HWMON, NVPMODEL, THERMAL
from agent.emulator.profile import ProfileName, profile_named
from agent.emulator.sysfs import hwmon_named
from agent.emulator.tree import create_tree, reboot
from agent.errors import KnobError, SensorError
from agent.power.device import PowerDevice
from agent.power.modes import NO_CAP, ModeAnswer, PowerMode
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


def test_a_mode_of_the_same_gpu_mask_is_taken_and_reads_back(device: PowerDevice) -> None:
    for name in ("120W", "MAXN"):
        wanted = _mode(device, name)
        assert device.set_power_mode(wanted.number) is ModeAnswer.TAKEN
        assert device.power_mode() == wanted.number
        assert device.gpu_max_freq_hz() == wanted.gpu_max_hz
        assert device.set_power_mode(wanted.number) is ModeAnswer.TAKEN


def test_a_mode_that_needs_a_reboot_is_declined_and_leaves_everything_as_it_was(device: PowerDevice) -> None:
    modes, before = device.power_modes(), device.power_mode()
    mask = modes.numbered(before).gpu_mask
    others = [mode.number for mode in modes.modes if mode.gpu_mask != mask]
    if not others:
        pytest.skip("this release has modes of one GPU mask only")
    cap_hz = device.gpu_max_freq_hz()
    assert device.set_power_mode(others[-1]) is ModeAnswer.REBOOT
    assert (device.power_mode(), device.gpu_max_freq_hz()) == (before, cap_hz)


def test_a_mode_that_is_ignored_is_seen_by_what_reads_back(device: PowerDevice, tmp_path: Path) -> None:
    if isinstance(device, FakeDevice):
        device.ignoring = True
    else:
        inject(tmp_path, Fault.MODE_IGNORED)
    before = device.power_mode()
    other = next(number for number in (0, 1) if number != before)
    assert device.set_power_mode(other) is ModeAnswer.IGNORED
    assert device.power_mode() == before


def test_a_mode_that_is_not_there_is_an_error_and_changes_nothing(device: PowerDevice) -> None:
    before = device.power_mode()
    with pytest.raises(KnobError):
        device.set_power_mode(9)
    assert device.power_mode() == before


def test_a_mode_that_cannot_be_written_is_an_error_in_the_commands_own_words(root: Path) -> None:
    cap = root / GPU / "max_freq"
    cap.unlink()
    cap.symlink_to("/dev/full")
    with pytest.raises(KnobError, match="failed to write"):
        Jetson(root, FakeClock()).set_power_mode(0)


def test_a_boot_is_never_confirmed_and_nothing_but_a_no_is_said_to_the_command(root: Path) -> None:
    """Whatever it asks, and however often."""
    command = root / NVPMODEL
    command.write_text(f"#!/bin/sh\ncat >>{root}/heard\necho 'NV Power Mode: 120W'\necho 1\n")
    assert Jetson(root, FakeClock()).set_power_mode(3) is ModeAnswer.IGNORED
    assert (root / "heard").read_text() == "NO\n"


def test_what_may_not_set_a_mode_has_it_set_by_the_helper_that_may(root: Path) -> None:
    """The helper as systemd starts it, one process for each connection; here it is the same user."""
    device = Jetson(root, FakeClock())
    with _helper(root) as answered:
        assert device.set_power_mode(0) is ModeAnswer.TAKEN
        assert device.set_power_mode(3) is ModeAnswer.REBOOT
        with pytest.raises(KnobError, match="ended with 1"):
            device.set_power_mode(9)
        inject(root, Fault.MODE_IGNORED)
        assert device.set_power_mode(1) is ModeAnswer.IGNORED
    assert len(answered) == 4


@pytest.mark.parametrize("said", [b"", b"\xff\xfe", b"no number\n"])
def test_a_helper_that_says_what_cannot_be_is_an_error(root: Path, said: bytes) -> None:
    with _listening(root, lambda peer: peer.sendall(said)), pytest.raises(KnobError, match="cannot be set"):
        Jetson(root, FakeClock()).set_power_mode(0)


@pytest.mark.parametrize("line", [b"", b"0", b"-1\n", b"0 --force\n", b"9999\n", b"\xff\n", b"0\n\n"])
def test_the_helper_runs_nothing_for_what_is_no_number_of_a_mode(root: Path, line: bytes) -> None:
    assert answer(Nvpmodel(root), line).startswith("2\n")
    assert Nvpmodel(root).running() == 1


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
    with pytest.raises(KnobError):
        jetson.set_power_mode(0)


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


@contextmanager
def _listening(root: Path, serve: Callable[[socket.socket], None]) -> Iterator[list[int]]:
    """Serves each connection to the helper's socket until the block ends; yields the list of those served."""
    served: list[int] = []
    path = root / HELPER_SOCKET
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def run() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    serve(peer)
                served.append(1)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield served
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def _helper(root: Path) -> Iterator[list[int]]:
    def serve(peer: socket.socket) -> None:
        command = [sys.executable, "-P", "-m", "agent.app.set_mode", "--root", str(root)]
        subprocess.run(command, stdin=peer.fileno(), stdout=peer.fileno(), check=True, timeout=60)

    with _listening(root, serve) as served:
        yield served


def _mode(device: PowerDevice, name: str) -> PowerMode:
    return next(mode for mode in device.power_modes().modes if mode.name == name)


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
