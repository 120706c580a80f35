"""Faults of an emulated Thor, put in force and taken back while it runs.

Owns: their names, what each does to the tree, and the markers by which the running emulator knows of those that it has
to take part in. A sensor's file that is in the way is set aside, where the emulator goes on writing it.
Must not know: physics, the agent. It refuses a tree that does not say that it is emulated.
"""

import contextlib
import fcntl
import json
import math
import os
from enum import StrEnum
from pathlib import Path

from agent.adapters.jetson import is_emulated
from agent.emulator.places import FAULTS, GPU, HWMON
from agent.emulator.sysfs import hwmon_named, typed
from models.errors import UsageError


class Fault(StrEnum):
    """What can be put in force."""

    EAGAIN = "eagain"
    """A sensor asks to be read again, for as long as it lasts; `gpu-thermal` where no other is named."""
    HWMON_RENUMBERING = "hwmon-renumbering"
    """Every hwmon device gets another's number, at once; there is nothing to take back."""
    MISSING_SENSOR = "missing-sensor"
    STUCK_SENSOR = "stuck-sensor"
    """A sensor goes on saying what it says now, or `value` in its file's own unit."""
    NEGATIVE_SENSOR = "negative-sensor"
    OVER_CURRENT_BURSTS = "over-current-bursts"
    """Every 2 s, 50 ms of `value` watts on VDD_GPU, 110 where none is said."""
    MODE_IGNORED = "mode-ignored"
    """`nvpmodel -m` says that it ignores the request, and exits with 0."""
    READ_ONLY_SYSFS = "read-only-sysfs"
    """The clock cap cannot be written, not even by root."""
    FREQUENCY_ROUNDING = "frequency-rounding"
    """The driver takes only every 20th clock that it lists, and says nothing. A plain file cannot answer at once: the
    value that was taken stands there after 50 ms at most."""
    FAN_FAILURE = "fan-failure"
    HOT_AMBIENT = "hot-ambient"
    """The air has `value` °C, 45 where none is said."""


_DEFAULT_SENSOR = {
    Fault.EAGAIN: "gpu-thermal",
    Fault.MISSING_SENSOR: "VIN",
    Fault.STUCK_SENSOR: "VIN",
    Fault.NEGATIVE_SENSOR: "VIN",
}
_TAKES_VALUE = (Fault.STUCK_SENSOR, Fault.OVER_CURRENT_BURSTS, Fault.HOT_AMBIENT)
_HOT_AMBIENT_C = 45.0
_NEGATIVE = "-25000000\n"
_ASKS_AGAIN = Path("/dev/ptmx")
"""A terminal that nobody types at: read without waiting, it says EAGAIN, and needs nobody to hold it open."""


def inject(root: Path, fault: Fault, *, sensor: str | None = None, value: float | None = None) -> None:
    """Put `fault` in force. `sensor` is a rail's label, VIN, a thermal zone's type, `over-current` or `fan`.

    Raises `UsageError` for a tree that is not emulated, a sensor that is not there, or one where the fault takes none.
    """
    _require_emulated(root)
    takes_sensor = fault in _DEFAULT_SENSOR
    if value is not None and (fault not in _TAKES_VALUE or not math.isfinite(value)):
        raise UsageError(f"{fault} takes no value of {value:g}; {', '.join(_TAKES_VALUE)} take a finite one")
    if sensor is not None and not takes_sensor:
        raise UsageError(f"{fault} is no fault of one sensor")
    if fault is Fault.HWMON_RENUMBERING:
        _renumber(root)
        return
    name = sensor or _DEFAULT_SENSOR.get(fault)
    if name is not None:
        _set_aside(root, fault, name, value)
    if fault is Fault.HOT_AMBIENT and value is None:
        value = _HOT_AMBIENT_C
    _mark(root, fault, name, value)


def clear(root: Path, fault: Fault, *, sensor: str | None = None) -> None:
    """Take `fault` back, of one sensor or of all; one that is not in force stays so. Raises `UsageError` as `inject`."""
    _require_emulated(root)
    for marker in _markers(root):
        kind, _, name = marker.partition("@")
        if kind == fault and sensor in {None, name}:
            (root / FAULTS / marker).unlink(missing_ok=True)
            if name:
                _put_back(_file_of(root, name))
    if fault is Fault.READ_ONLY_SYSFS:
        _put_back(root / GPU / "max_freq")


def clear_all(root: Path) -> None:
    """Take every fault back."""
    for fault in Fault:
        clear(root, fault)


def active(root: Path) -> frozenset[Fault]:
    """The faults in force below `root`."""
    return frozenset(Fault(marker.partition("@")[0]) for marker in _markers(root))


class FaultsInForce:
    """Those in force, for the running emulator: `look` is cheap, and to be called often. None without a root."""

    def __init__(self, root: Path | None) -> None:
        self._directory = root / FAULTS if root else None
        self._seen: tuple[tuple[str, int], ...] = ()
        self._values: dict[str, float | None] = {}

    def look(self) -> None:
        """See what is in force now."""
        if self._directory is None:
            return
        seen: tuple[tuple[str, int], ...] = ()
        with contextlib.suppress(FileNotFoundError), os.scandir(self._directory) as entries:
            seen = tuple(sorted((entry.name, entry.inode()) for entry in entries if entry.name[0] != "."))
        if seen != self._seen:
            self._seen = seen
            self._values = {name: _value_in(self._directory / name) for name, _ in seen}

    def __contains__(self, fault: Fault) -> bool:
        return fault.value in self._values

    def value(self, fault: Fault, otherwise: float) -> float:
        """The figure that came with `fault`; `otherwise` where it is not in force or came without one."""
        found = self._values.get(fault.value)
        return otherwise if found is None else found


class ReadOnlyCap:
    """Makes the clock cap a file that nobody can write: memory that is sealed, which holds for root too.

    It lasts as long as this process; what an earlier one left is put back at the start.
    """

    def __init__(self, root: Path) -> None:
        self._cap = root / GPU / "max_freq"
        self._descriptor: int | None = None
        _put_back(self._cap)

    def hold(self, wanted: bool) -> None:
        """Seal the cap, or give it back; nothing where it is so already."""
        if wanted == (self._descriptor is not None):
            return
        if self._descriptor is not None:
            _put_back(self._cap)
            os.close(self._descriptor)
            self._descriptor = None
            return
        self._descriptor = _sealed(self._cap.read_bytes())
        _replace_by_link(self._cap, Path(f"/proc/{os.getpid()}/fd/{self._descriptor}"))


def _sealed(content: bytes) -> int:
    descriptor = os.memfd_create("max_freq", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(descriptor, content)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def _require_emulated(root: Path) -> None:
    if not is_emulated(root):
        raise UsageError(f"{root} is not the root of an emulated device")


def _set_aside(root: Path, fault: Fault, sensor: str, value: float | None) -> None:
    """Put in the place of the sensor's file what the fault says; a fault that it had is over."""
    path = _file_of(root, sensor)
    for marker in _markers(root):
        if marker.partition("@")[2] == sensor:
            clear(root, Fault(marker.partition("@")[0]), sensor=sensor)
    said = path.read_text()
    if fault is Fault.EAGAIN:
        _replace_by_link(path, _ASKS_AGAIN)
        return
    path.rename(_aside(path))
    if fault is Fault.STUCK_SENSOR:
        path.write_text(said if value is None else f"{round(value)}\n")
    if fault is Fault.NEGATIVE_SENSOR:
        path.write_text(_NEGATIVE)


def _replace_by_link(path: Path, target: Path) -> None:
    path.rename(_aside(path))
    path.symlink_to(target)


def _put_back(path: Path) -> None:
    if _aside(path).exists():
        _aside(path).replace(path)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.aside")


def _file_of(root: Path, sensor: str) -> Path:
    """The file that says `sensor`'s figure; raises `UsageError` where there is none of that name."""
    found = _sensor_files(root)
    if sensor not in found:
        raise UsageError(f"no sensor {sensor}; there are {', '.join(sorted(found))}")
    return found[sensor]


def _sensor_files(root: Path) -> dict[str, Path]:
    shunts = hwmon_named(root, "ina3221").resolve()
    files = {
        "VIN": hwmon_named(root, "ina238").resolve() / "power1_input",
        "over-current": hwmon_named(root, "soctherm_oc").resolve() / "oc3_event_cnt",
        "fan": hwmon_named(root, "pwm_tach").resolve() / "rpm",
    }
    for channel in (1, 2, 3):
        files[(shunts / f"in{channel}_label").read_text().strip()] = shunts / f"curr{channel}_input"
    return files | {kind: path / "temp" for kind, path in typed(root, "thermal_zone").items()}


def _renumber(root: Path) -> None:
    """Each link takes the next one's target; every number is another device's afterwards."""
    links = sorted((root / HWMON).iterdir())
    targets = [link.readlink() for link in links]
    for link, target in zip(links, targets[1:] + targets[:1], strict=True):
        fresh = link.with_name(f".{link.name}")
        fresh.symlink_to(target)
        fresh.replace(link)


def _mark(root: Path, fault: Fault, sensor: str | None, value: float | None) -> None:
    directory = root / FAULTS
    directory.mkdir(parents=True, exist_ok=True)
    name = f"{fault}@{sensor}" if sensor else str(fault)
    fresh = directory / f".{name}"
    fresh.write_text(json.dumps({"value": value}))
    fresh.replace(directory / name)


def _markers(root: Path) -> list[str]:
    directory = root / FAULTS
    if not directory.is_dir():
        return []
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))


def _value_in(marker: Path) -> float | None:
    try:
        said = json.loads(marker.read_text()).get("value")
    except (OSError, ValueError):
        return None
    return None if said is None else float(said)
