"""A Jetson Thor as its files show it: rails, temperatures, clocks, the power mode.

Owns: where things are (hwmon by name, zones by type, below the device's root), units, and what a failing sensor is.
Must not know: what anyone does with a figure. Writes the GPU's clock cap and asks for a power mode, and reads both back.

Each sensor may fail alone. Rail-gated parts answer EAGAIN, which a buffered Python read mistakes for an end of
file: everything is read with `os.open` and `os.read`, and a value may be used again: degrees for two seconds,
watts for the length of one sample, as a mean over 1 s must not be made of a moment.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.nvpmodel import Nvpmodel
from agent.errors import KnobError, SensorError
from agent.ports import Clock
from agent.power.device import HeatSample, PowerSample
from agent.power.modes import ModeAnswer, PowerModes

_HWMON = "sys/class/hwmon"
_THERMAL = "sys/class/thermal"
_ALERT, _CLOCKS = "-throttle-alert", "devfreq-gpu"
_GPU = "sys/class/devfreq/gpu-gpc-0"
_MODEL = "proc/device-tree/model"
_EMULATED = "(emulated)"
_DEGREES_AGE_NS = 2_000_000_000
_WATTS_AGE_NS = 250_000_000
_LOOK_AGAIN_NS = 5_000_000_000
_READ_BYTES = 4096
_POWER_W = (0.0, 400.0)
_MODULE_W = (3.0, 400.0)
"""A module that runs this takes more; a monitor that was reset says 0 W, and room to spare is what it must not say."""
_TEMPERATURE_C = (-40.0, 150.0)


def is_emulated(root: Path) -> bool:
    """Whether the machine below `root` says that it is none; what it says of watts and heat is then a model's."""
    try:
        return _EMULATED in read_text(root / _MODEL)
    except (OSError, ValueError):
        return False


@dataclass(slots=True)
class _Sensor:
    """Files whose product, times `scale`, is one figure."""

    name: str
    paths: tuple[Path, ...]
    scale: float
    plausible: tuple[float, float]
    max_age_ns: int
    value: float | None = None
    read_ns: int = 0

    def read(self, mono_ns: int) -> float:
        """The figure; the last one where the driver asks to try again. Raises `SensorError`."""
        try:
            value = self.scale
            for path in self.paths:
                value *= int(read_text(path))
        except BlockingIOError:
            if self.value is None or mono_ns - self.read_ns > self.max_age_ns:
                raise SensorError(f"{self.name} asks to try again for too long") from None
            return self.value
        except (OSError, ValueError) as error:
            raise SensorError(f"{self.name} cannot be read: {error}") from error
        if not self.paths or not self.plausible[0] <= value <= self.plausible[1]:
            raise SensorError(f"{self.name} says {value:g}, which cannot be")
        self.value, self.read_ns = value, mono_ns
        return value


class Jetson:
    """The device below `root`. Sensors that are missing are looked for again every few seconds."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root, self._clock, self._nvpmodel = root, clock, Nvpmodel(root)
        self._looked_ns = 0
        self._look()

    def power(self) -> PowerSample:
        """Read the rails; never raises. Takes a few I2C transfers: not for the control loop."""
        failing: list[str] = []
        module_w, gpu_w, soc_w = (self._try(self._rails.get(name), name, failing) for name in _RAILS)
        return PowerSample(module_w, gpu_w, soc_w, tuple(failing))

    def heat(self) -> HeatSample:
        """Read the zones; never raises."""
        failing: list[str] = []
        values = [self._try(zone, zone.name, failing) for zone in self._zones]
        known = [value for value in values if value is not None]
        throttled = any(_cooling_state(device) > 0 for device in self._cooling)
        return HeatSample(max(known, default=None), tuple(failing), throttled)

    def over_current_events(self) -> int:
        """Over-current events of all three kinds since the device's boot; raises `SensorError`."""
        try:
            if self._events is None:
                raise FileNotFoundError("no soctherm_oc device")
            return sum(int(read_text(self._events / f"oc{kind}_event_cnt")) for kind in (1, 2, 3))
        except (OSError, ValueError) as error:
            self._look_again()
            raise SensorError(f"over-current counters cannot be read: {error}") from error

    def gpu_frequencies_hz(self) -> tuple[int, ...]:
        """The clocks that the driver takes, rising; raises `SensorError`."""
        try:
            words = read_text(self._root / _GPU / "available_frequencies").split()
            return tuple(sorted(int(word) for word in words))
        except (OSError, ValueError) as error:
            raise SensorError(f"the GPU's clocks cannot be read: {error}") from error

    def gpu_max_freq_hz(self) -> int:
        """The cap in force; raises `SensorError`."""
        try:
            return int(read_text(self._root / _GPU / "max_freq").split()[0])
        except (OSError, ValueError, IndexError) as error:
            raise SensorError(f"the GPU's clock cap cannot be read: {error}") from error

    def set_gpu_max_freq_hz(self, hz: int) -> None:
        """Cap the GPU's clock at `hz`, one of `gpu_frequencies_hz`; raises `KnobError` where it did not take."""
        try:
            descriptor = os.open(self._root / _GPU / "max_freq", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, f"{hz}\n".encode())
            finally:
                os.close(descriptor)
            taken = self.gpu_max_freq_hz()
        except (OSError, SensorError) as error:
            raise KnobError(f"the GPU's clock cap cannot be written: {error}") from error
        if taken != hz:
            raise KnobError(f"the GPU's clock cap reads {taken} Hz after {hz} Hz were written")

    def power_modes(self) -> PowerModes:
        """The modes of `nvpmodel.conf`; raises `SensorError`."""
        return self._nvpmodel.modes()

    def power_mode(self) -> int:
        """Number of the mode in force; raises `SensorError`. May take a second."""
        return self._nvpmodel.running()

    def set_power_mode(self, number: int) -> ModeAnswer:
        """Ask for that mode and see what reads back; raises `KnobError`. May take seconds."""
        return self._nvpmodel.set(number)

    def _try(self, sensor: _Sensor | None, name: str, failing: list[str]) -> float | None:
        now = self._clock.mono_ns()
        if sensor is not None:
            try:
                return sensor.read(now)
            except SensorError:
                pass  # named below, and the governor assumes the worst
        failing.append(name)
        self._look_again()
        return None

    def _look_again(self) -> None:
        if self._clock.mono_ns() - self._looked_ns > _LOOK_AGAIN_NS:
            self._look()

    def _look(self) -> None:
        """Find rails and zones: numbers change between boots, so names decide."""
        self._looked_ns = self._clock.mono_ns()
        self._rails = _rails_below(self._root)
        self._events = _hwmon_named(self._root, "soctherm_oc")
        self._zones = _zones_below(self._root)
        self._cooling = _cooling_below(self._root)


_MODULE, _GPU_RAIL, _SOC_RAIL = _RAILS = ("VIN", "VDD_GPU", "VDD_CPU_SOC_MSS")


def read_text(path: Path) -> str:
    """A small sysfs file, stripped; raises `BlockingIOError` where the driver says EAGAIN, else `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _READ_BYTES).decode("ascii", "replace").strip("\0 \n\t")
    finally:
        os.close(descriptor)


def _hwmon_named(root: Path, name: str) -> Path | None:
    """The device's own folder, not the numbered link to it: a number may be another sensor's a moment later."""
    for directory in sorted((root / _HWMON).glob("hwmon*")):
        try:
            device = directory.resolve()
            if read_text(device / "name") == name:
                return device
        except OSError:
            continue
    return None


def _rails_below(root: Path) -> dict[str, _Sensor]:
    rails: dict[str, _Sensor] = {}
    module = _hwmon_named(root, "ina238")
    if module is not None:
        rails[_MODULE] = _Sensor(_MODULE, (module / "power1_input",), 1e-6, _MODULE_W, _WATTS_AGE_NS)
    shunts = _hwmon_named(root, "ina3221")
    for label in sorted(shunts.glob("in*_label")) if shunts else ():
        channel = label.name.removeprefix("in").removesuffix("_label")
        current = label.with_name(f"curr{channel}_input")
        if not current.exists():
            continue  # the sum of the shunts, which is no rail
        try:
            name = read_text(label)
        except OSError:
            continue
        paths = (label.with_name(f"in{channel}_input"), current)
        rails[name] = _Sensor(name, paths, 1e-6, _POWER_W, _WATTS_AGE_NS)
    return rails


def _zones_below(root: Path) -> list[_Sensor]:
    zones = []
    for directory in sorted((root / _THERMAL).glob("thermal_zone*")):
        try:
            kind = read_text(directory / "type")
        except OSError:
            continue
        zones.append(_Sensor(kind, (directory / "temp",), 1e-3, _TEMPERATURE_C, _DEGREES_AGE_NS))
    return zones


def _cooling_below(root: Path) -> list[Path]:
    """The state of each device that cools by lowering clocks; a fan is none."""
    found = []
    for directory in sorted((root / _THERMAL).glob("cooling_device*")):
        try:
            kind = read_text(directory / "type")
        except OSError:
            continue
        if kind.endswith(_ALERT) or kind.startswith(_CLOCKS):
            found.append(directory / "cur_state")
    return found


def _cooling_state(state: Path) -> int:
    """How far the device cools, 0 where that cannot be read: the zones say how hot it is."""
    try:
        return int(read_text(state))
    except (OSError, ValueError):
        return 0
