"""One emulated Thor: load in, sysfs out. Its watts and degrees are emulated.

Owns: the state between two steps of the physics, and which value goes to which file.
Must not know: who produces the load, or when it is stepped.
"""

from pathlib import Path

import numpy as np

from agent.emulator.physics import (
    OVER_CURRENT_W,
    THROTTLE_C,
    Load,
    Rails,
    Temperatures,
    fan_for,
    rails_under,
    warmed,
)
from agent.emulator.profile import CPU_MAX_KHZ, CPU_MIN_KHZ, GPU_MAX_HZ, GPU_MIN_HZ, gpu_frequencies_hz
from agent.emulator.sysfs import Sysfs

_RAIL_V = 19.864
_FAN_RPM = 4_800
_RIPPLE_W = 0.4
_IDLE_BUSY = 0.02


class EmulatedThor:
    """Step it with `advance`; the files below `root` follow."""

    def __init__(self, root: Path, seed: int) -> None:
        self._files = Sysfs(root)
        self._rng = np.random.default_rng([seed, 23])
        self._idle_w = float(self._rng.uniform(23.5, 26.5))
        self._cap_hz = GPU_MAX_HZ
        self._over_current = 0.0
        self.temperatures = Temperatures()
        self.rails = Rails(0.4, 8.5, 6.0, self._idle_w, 0.0)

    def advance(self, load: Load, dt_s: float) -> None:
        """Let `dt_s` seconds pass under `load` and write what the sensors say then."""
        self._take_cap()
        clock_hz = self._cap_hz
        throttled = self.temperatures.gpu_c > THROTTLE_C
        if throttled:
            clock_hz = max(GPU_MIN_HZ, clock_hz // 2)
        self.rails = rails_under(load, clock_hz, self._idle_w)
        fan = fan_for(self.temperatures.hottest_c)
        self.temperatures = warmed(self.temperatures, self.rails, fan, dt_s)
        if self.rails.module_w > OVER_CURRENT_W:
            self._over_current += dt_s
        self._write_rails()
        self._write_clocks(clock_hz, load)
        self._write_thermal(fan, throttled)

    def _take_cap(self) -> None:
        """Obey `max_freq`, rounded down to the driver's table without a word, as the real one does."""
        asked = self._files.gpu_max_hz()
        if asked is None or asked == self._cap_hz:
            return
        self._cap_hz = max((hz for hz in gpu_frequencies_hz() if hz <= asked), default=GPU_MIN_HZ)
        if self._cap_hz != asked:
            self._files.round_gpu_max(self._cap_hz)

    def _write_rails(self) -> None:
        files, rails = self._files, self.rails
        for number, watts in enumerate((rails.gpu_w, rails.soc_w, rails.system_w)):
            files.rail_mv[number].write(_RAIL_V * 1000)
            files.rail_ma[number].write(watts / _RAIL_V * 1000)
        module_w = max(0.0, rails.module_w + float(self._rng.normal(0.0, _RIPPLE_W)))
        files.module_uw.write(module_w * 1e6)
        files.module_ma.write(module_w / _RAIL_V * 1000)
        files.over_current.write(int(self._over_current))

    def _write_clocks(self, clock_hz: int, load: Load) -> None:
        working = self.rails.utilisation > _IDLE_BUSY
        self._files.gpu_cur_hz.write(clock_hz if working else GPU_MIN_HZ)
        self._files.cpu_khz.write(CPU_MAX_KHZ if load.cpu_busy > _IDLE_BUSY else CPU_MIN_KHZ)

    def _write_thermal(self, fan: float, throttled: bool) -> None:
        files, now = self._files, self.temperatures
        nodes = {
            "cpu-thermal": now.cpu_c,
            "gpu-thermal": now.gpu_c,
            "soc012-thermal": now.soc012_c,
            "soc345-thermal": now.soc345_c,
            "tj-thermal": now.hottest_c,
        }
        for kind, celsius in nodes.items():
            files.zone_mc[kind].write(round(celsius * 8) * 125)
        files.gpu_alert.write(int(throttled))
        files.fan_pwm.write(255 * fan)
        files.fan_rpm.write(_FAN_RPM * fan)
