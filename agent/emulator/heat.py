"""Emulated heat of a Thor: watts to degrees, degrees to fan, clocks and the end. Every figure is emulated.

Owns: the thermal nodes, the fan, the cooling devices and their hysteresis. A step is exact for power that is constant
in it. Ambient is an argument. Trips of fan, GPU and shutdown are published; what is not is marked ASSUMED.
Must not know: files, clocks of the GPU other than how many states it is throttled by.
"""

import math
from dataclasses import dataclass, field, replace

from agent.emulator.physics import Rails, Temperatures
from agent.emulator.profile import GPU_CLOCKS

AMBIENT_C = 25.0
CRITICAL_C = 114.5
PASSIVE_C, PASSIVE_OFF_C = 109.0, 106.0
"""GPU throttling begins at 109 °C (published); that it ends 3 °C below is ASSUMED."""
ALERT_C = (109.0, 112.0)
"""ASSUMED trips of the throttle alerts' states 1 and 2."""
FAN_TRIPS_C = (80.0, 86.0, 91.0, 100.0)
_FAN_BACK_C = 3.0
_FAN_AT_STATE = (0.0, 0.45, 0.65, 0.85, 1.0)
"""ASSUMED: share of full speed at each state of the cooling device."""
PASSIVE_PERIOD_S = 0.25
"""ASSUMED: one state of 169 each time."""
_SINK_J_PER_C, _DIE_TAU_S = 400.0, 2.0
_STILL_W_PER_C = 1.67
"""ASSUMED: capacity and time constant of sink and dies, and the sink's conductance without a fan."""
_FANNED_W_PER_C = 4.57
"""Fitted: 66.6 °C at 124.5 W and 25 °C, with the fan where its curve has it."""
_GPU_C_PER_W, _CPU_C_PER_W, _SOC_C_PER_W = 0.18, 0.20, 0.12


@dataclass(frozen=True, slots=True)
class Heat:
    """Temperatures and what they have set in motion. `fan` is the share of full speed that is asked for."""

    temperatures: Temperatures = field(default_factory=Temperatures)
    fan: float = 0.2
    fan_state: int = 0
    gpu_state: int = 0
    since_passive_s: float = 0.0
    critical: bool = False

    def alert(self, celsius: float) -> int:
        """State of the throttle alert of a zone that is this warm."""
        return sum(celsius >= trip for trip in ALERT_C)


def warmed(heat: Heat, rails: Rails, ambient_c: float, dt_s: float, *, fan_works: bool = True) -> Heat:
    """Heat `dt_s` later under constant `rails`; `critical` stays once it was reached."""
    per_w = _sink_c_per_w(heat.fan if fan_works else 0.0)
    temperatures = _warmed(heat.temperatures, rails, ambient_c, per_w, dt_s)
    hottest_c = temperatures.hottest_c
    fan_state = _fan_state(heat.fan_state, hottest_c)
    gpu_state, waited_s = _passive(heat, temperatures.gpu_c, dt_s)
    return Heat(
        temperatures,
        max(curve(hottest_c), _FAN_AT_STATE[fan_state]),
        fan_state,
        gpu_state,
        waited_s,
        heat.critical or hottest_c >= CRITICAL_C,
    )


def settled(rails: Rails, ambient_c: float) -> Temperatures:
    """Where temperatures come to rest under `rails` with a fan that works."""
    heat = Heat()
    for _ in range(720):
        heat = replace(warmed(heat, rails, ambient_c, 5.0), critical=False)
    return heat.temperatures


def curve(hottest_c: float) -> float:
    """Share of full speed by the fan daemon's curve. ASSUMED: a slow start, then a line from 45 to 80 °C."""
    return min(max(0.2 + 0.8 * (hottest_c - 45.0) / 35.0, 0.2), 1.0)


def _sink_c_per_w(fan: float) -> float:
    return 1.0 / (_STILL_W_PER_C + (_FANNED_W_PER_C - _STILL_W_PER_C) * fan)


def _warmed(now: Temperatures, rails: Rails, ambient_c: float, per_w: float, dt_s: float) -> Temperatures:
    """An RC heat sink, and each die a first-order step above it."""
    rest_c = ambient_c + rails.module_w * per_w
    sink_c = rest_c + (now.sink_c - rest_c) * math.exp(-dt_s / (per_w * _SINK_J_PER_C))
    keep = math.exp(-dt_s / _DIE_TAU_S)

    def die(node_c: float, over_sink_c: float) -> float:
        return sink_c + over_sink_c + (node_c - sink_c - over_sink_c) * keep

    return Temperatures(
        sink_c,
        die(now.gpu_c, _GPU_C_PER_W * rails.gpu_w + 1.0),
        die(now.cpu_c, _CPU_C_PER_W * rails.soc_w),
        die(now.soc012_c, _SOC_C_PER_W * rails.soc_w + 0.5),
        die(now.soc345_c, _SOC_C_PER_W * rails.soc_w + 1.0),
    )


def _fan_state(state: int, hottest_c: float) -> int:
    """Up at a trip, down again 3 °C below it."""
    up = sum(hottest_c >= trip for trip in FAN_TRIPS_C)
    down = sum(hottest_c >= trip - _FAN_BACK_C for trip in FAN_TRIPS_C)
    return min(max(state, up), down)


def _passive(heat: Heat, gpu_c: float, dt_s: float) -> tuple[int, float]:
    """States by which the GPU's clock is lowered, and what remains of the period: one more a period while it is too
    hot, one less while it is cool again."""
    if heat.gpu_state == 0 and gpu_c < PASSIVE_C:
        return 0, 0.0
    waited_s = heat.since_passive_s + dt_s
    periods = int(waited_s / PASSIVE_PERIOD_S + 1e-9)
    step = periods if gpu_c >= PASSIVE_C else -periods if gpu_c < PASSIVE_OFF_C else 0
    return min(max(heat.gpu_state + step, 0), GPU_CLOCKS - 1), waited_s - periods * PASSIVE_PERIOD_S
