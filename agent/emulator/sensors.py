"""What the emulated sensors say: power, clocks and heat as numbers in files.

Owns: which figure goes to which file, its unit, its resolution and the monitors' own noise.
Must not know: where figures come from, or when they are written.
"""

from pathlib import Path

import numpy as np

from agent.emulator.heat import Heat
from agent.emulator.physics import Chip, Rails
from agent.emulator.profile import CPU_MIN_KHZ, GPU_MIN_HZ
from agent.emulator.sysfs import Sysfs

RAIL_V = 19.864
_FAN_RPM = 4_800
_NOISE_SHARE, _NOISE_W = 0.001, 0.05
"""ASSUMED, of the module's monitor."""
_BUSY = 0.02
_OVER_CURRENT_MA = 5_000
_STEP_MC = 125


class Sensors:
    """The moving files of one tree."""

    def __init__(self, root: Path, rng: np.random.Generator) -> None:
        self._files, self._rng = Sysfs(root), rng

    def gpu_max_hz(self) -> int | None:
        """The cap that someone wrote, or None where a write is under way."""
        return self._files.gpu_max_hz()

    def round_gpu_max(self, hz: int) -> None:
        """Put the cap that the driver takes in place of the one that was asked for."""
        self._files.round_gpu_max(hz)

    def write_rails(self, mean: Rails, over_current_events: int) -> None:
        """The monitors' latest means, in mV and mA, the module's also in µW."""
        files = self._files
        for number, watts in enumerate((mean.gpu_w, mean.soc_w, mean.system_w)):
            files.rail_mv[number].write(RAIL_V * 1000)
            files.rail_ma[number].write(watts / RAIL_V * 1000)
        noise_w = float(self._rng.normal(0.0, _NOISE_W + _NOISE_SHARE * mean.module_w))
        module_w = max(0.0, mean.module_w + noise_w)
        files.module_uw.write(module_w * 1e6)
        files.module_ma.write(module_w / RAIL_V * 1000)
        files.over_current.write(over_current_events)
        files.gpu_alarm.write(mean.gpu_w / RAIL_V * 1000 > _OVER_CURRENT_MA)

    def write_clocks(self, chip: Chip, *, gpu_busy: float, cpu_busy: float) -> None:
        """The clocks in force; what has nothing to do goes to its lowest one."""
        self._files.gpu_cur_hz.write(chip.gpu_hz if gpu_busy > _BUSY else GPU_MIN_HZ)
        self._files.cpu_khz.write(chip.cpu_khz if max(gpu_busy, cpu_busy) > _BUSY else CPU_MIN_KHZ)

    def write_heat(self, heat: Heat, *, fan_works: bool) -> None:
        """Zones, fan and cooling devices; a fan that stands is still told to turn."""
        files, now = self._files, heat.temperatures
        nodes = {"cpu": now.cpu_c, "gpu": now.gpu_c, "soc012": now.soc012_c, "soc345": now.soc345_c}
        for name, celsius in nodes.items():
            files.zone_mc[f"{name}-thermal"].write(_millidegrees(celsius))
            files.cooling[f"{name}-throttle-alert"].write(heat.alert(celsius))
        files.zone_mc["tj-thermal"].write(_millidegrees(now.hottest_c))
        files.cooling["pwm-fan"].write(heat.fan_state)
        files.cooling["devfreq-gpu-gpc-0"].write(heat.gpu_state)
        files.fan_pwm.write(255 * heat.fan)
        files.fan_rpm.write(_FAN_RPM * heat.fan if fan_works else 0)


def _millidegrees(celsius: float) -> int:
    return round(celsius * 1000 / _STEP_MC) * _STEP_MC
