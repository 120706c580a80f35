"""Values of the emulated tree, moved in place.

Owns: finding the files that move, and writing them without a reader ever seeing half a number.
Must not know: where values come from.
"""

import contextlib
import os
from pathlib import Path

from agent.emulator.places import CPU, GPU, HWMON, THERMAL

FIXED_WIDTH = 12
"""Bytes of a file that moves: always of one width, so that it can be overwritten in place."""


def fixed(value: float) -> str:
    """A value that moves, rounded, as its file has it."""
    return f"{round(value):<{FIXED_WIDTH - 1}}\n"


class MovingFile:
    """A file of one fixed-width number, kept open; unchanged values cost nothing."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._last: int | None = None

    def write(self, value: float) -> None:
        """Overwrite the number with `value`, rounded."""
        rounded = round(value)
        if rounded != self._last:
            os.pwrite(self._descriptor, fixed(rounded).encode(), 0)
            self._last = rounded

    def close(self) -> None:
        """Leave the last value there."""
        os.close(self._descriptor)


def hwmon_named(root: Path, name: str) -> Path:
    """The directory of the hwmon device called `name`; raises `FileNotFoundError` where there is none."""
    for directory in sorted((root / HWMON).iterdir()):
        if (directory / "name").read_text().strip() == name:
            return directory
    raise FileNotFoundError(f"no hwmon device {name} in the emulated tree")


def typed(root: Path, prefix: str) -> dict[str, Path]:
    """The directories of the thermal zones or cooling devices, by their type."""
    found = sorted((root / THERMAL).glob(f"{prefix}*"))
    return {(path / "type").read_text().strip(): path for path in found}


class Sysfs:
    """Every file of an emulated tree that moves, by what it says."""

    def __init__(self, root: Path) -> None:
        shunts, module = hwmon_named(root, "ina3221"), hwmon_named(root, "ina238")
        self.rail_mv = [MovingFile(shunts / f"in{channel}_input") for channel in (1, 2, 3)]
        self.rail_ma = [MovingFile(shunts / f"curr{channel}_input") for channel in (1, 2, 3)]
        self.gpu_alarm = MovingFile(shunts / "curr1_max_alarm")
        self.module_uw = MovingFile(module / "power1_input")
        self.module_ma = MovingFile(module / "curr1_input")
        self.over_current = MovingFile(hwmon_named(root, "soctherm_oc") / "oc3_event_cnt")
        self.fan_pwm = MovingFile(hwmon_named(root, "pwmfan") / "pwm1")
        self.fan_rpm = MovingFile(hwmon_named(root, "pwm_tach") / "rpm")
        zones, cooling = typed(root, "thermal_zone"), typed(root, "cooling_device")
        self.zone_mc = {kind: MovingFile(path / "temp") for kind, path in zones.items()}
        self.cooling = {kind: MovingFile(path / "cur_state") for kind, path in cooling.items()}
        self.gpu_cur_hz = MovingFile(root / GPU / "cur_freq")
        self.cpu_khz = MovingFile(root / CPU / "cpufreq/policy0/scaling_cur_freq")
        self._max_freq = root / GPU / "max_freq"

    def gpu_max_hz(self) -> int | None:
        """The cap that someone wrote, or None where a write is under way."""
        descriptor = os.open(self._max_freq, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            words = os.read(descriptor, 64).split()
        finally:
            os.close(descriptor)
        return int(words[0]) if words and words[0].isdigit() else None

    def round_gpu_max(self, hz: int) -> None:
        """Put the value that the driver takes in place of the one that was asked for, where that may be written."""
        descriptor = os.open(self._max_freq, os.O_WRONLY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(PermissionError):
                os.write(descriptor, f"{hz}\n".encode())
        finally:
            os.close(descriptor)
