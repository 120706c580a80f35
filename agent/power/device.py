"""What the power process asks of the device: the port, and the samples that cross it.

Owns: `PowerDevice`. Must not know: sysfs, or how a governor decides.
"""

from dataclasses import dataclass
from typing import Protocol

from agent.power.modes import ModeAnswer, PowerModes


@dataclass(frozen=True, slots=True)
class PowerSample:
    """Watts now; None for a rail that failed, which `failing` then names."""

    module_w: float | None
    gpu_w: float | None
    soc_w: float | None
    failing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeatSample:
    """The hottest zone that can be read, None where none can; `failing` names those that can't. `throttled`: the hardware
    lowers clocks by itself."""

    hottest_c: float | None
    failing: tuple[str, ...]
    throttled: bool = False


class PowerDevice(Protocol):
    """Rails, zones, clocks and the power mode. Each sensor may fail alone; samples never raise."""

    def power(self) -> PowerSample:
        """Read the rails."""
        ...

    def heat(self) -> HeatSample:
        """Read the zones and the cooling devices."""
        ...

    def over_current_events(self) -> int:
        """Over-current events since the device's boot; raises `SensorError`."""
        ...

    def gpu_frequencies_hz(self) -> tuple[int, ...]:
        """The clocks that the driver takes, rising; raises `SensorError`."""
        ...

    def gpu_max_freq_hz(self) -> int:
        """The cap in force; raises `SensorError`."""
        ...

    def set_gpu_max_freq_hz(self, hz: int) -> None:
        """Cap the GPU's clock at one of its frequencies; raises `KnobError` where that did not take."""
        ...

    def power_modes(self) -> PowerModes:
        """The modes that the device has; raises `SensorError`."""
        ...

    def power_mode(self) -> int:
        """Number of the mode in force; raises `SensorError`. May take a second."""
        ...

    def set_power_mode(self, number: int) -> ModeAnswer:
        """Ask for that mode and see what reads back; a reboot is always declined. May take seconds.

        Raises `KnobError` where the command refuses, does not end, or cannot be run.
        """
        ...
