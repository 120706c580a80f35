"""A device for the power process, made of numbers.

Owns: the fake `PowerDevice`. Set a figure to None and its sensor fails; set `stuck` and the clock cap does not move,
`ignoring` or `refusing` and the power mode does not.
"""

from dataclasses import dataclass, field

from agent.errors import KnobError, SensorError
from agent.power.device import HeatSample, PowerSample
from agent.power.modes import ModeAnswer, PowerMode, PowerModes

_MODES = PowerModes(
    (
        PowerMode(0, "MAXN", 1_575_000_000, 512),
        PowerMode(1, "120W", 1_386_000_000, 512),
        PowerMode(3, "70W", 1_530_000_000, 17_353),
    ),
    0,
)
"""The last needs a reboot."""


@dataclass(slots=True)
class FakeDevice:
    """Figures as attributes; see the module."""

    module_w: float | None = 25.0
    gpu_w: float | None = 1.0
    soc_w: float | None = 9.0
    hottest_c: float | None = 40.0
    over_current: int | None = 0
    frequencies_hz: tuple[int, ...] = tuple(range(315_000_000, 1_575_000_001, 15_000_000))
    cap_hz: int | None = 1_575_000_000
    stuck: bool = False
    still: bool = False
    reads: int = 0
    mode: int | None = 0
    modes: PowerModes | None = _MODES
    ignoring: bool = False
    refusing: bool = False
    asked: list[int] = field(default_factory=list)

    def power(self) -> PowerSample:
        """The rails; unless it is `still`, the module's last digit moves, as a real one's does."""
        self.reads += 1
        moved_w = None if self.module_w is None or self.still else self.module_w + 1e-6 * (self.reads % 2)
        module_w = self.module_w if self.still else moved_w
        rails = {"VIN": module_w, "VDD_GPU": self.gpu_w, "VDD_CPU_SOC_MSS": self.soc_w}
        failing = tuple(name for name, watts in rails.items() if watts is None)
        return PowerSample(module_w, self.gpu_w, self.soc_w, failing)

    def heat(self) -> HeatSample:
        """The one zone."""
        return HeatSample(self.hottest_c, () if self.hottest_c is not None else ("tj-thermal",))

    def over_current_events(self) -> int:
        """The counter."""
        return _known(self.over_current, "over-current")

    def gpu_frequencies_hz(self) -> tuple[int, ...]:
        """The table."""
        return self.frequencies_hz

    def gpu_max_freq_hz(self) -> int:
        """The cap."""
        return _known(self.cap_hz, "cap")

    def set_gpu_max_freq_hz(self, hz: int) -> None:
        """Move the cap, unless it is stuck."""
        if self.stuck or self.cap_hz is None:
            raise KnobError("the cap is stuck")
        self.cap_hz = hz

    def power_modes(self) -> PowerModes:
        """The modes."""
        if self.modes is None:
            raise SensorError("no modes")
        return self.modes

    def power_mode(self) -> int:
        """The mode in force."""
        return _known(self.mode, "mode")

    def set_power_mode(self, number: int) -> ModeAnswer:
        """Change the mode, unless it is `ignoring` or `refusing`, or that takes a reboot; all that was asked is kept."""
        self.asked.append(number)
        modes = {mode.number: mode for mode in self.power_modes().modes}
        if self.refusing or number not in modes or self.mode is None:
            raise KnobError(f"no mode {number} now")
        if number == self.mode:
            return ModeAnswer.TAKEN
        if self.ignoring:
            return ModeAnswer.IGNORED
        if modes[number].gpu_mask != modes[self.mode].gpu_mask:
            return ModeAnswer.REBOOT
        self.mode, self.cap_hz = number, modes[number].gpu_max_hz
        return ModeAnswer.TAKEN


def _known(value: int | None, name: str) -> int:
    if value is None:
        raise SensorError(f"no {name}")
    return value
