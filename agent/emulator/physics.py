"""Emulated physics of a Thor: work and clocks to watts, watts to degrees. Every figure here is emulated.

Owns: the rail model and the thermal model. Calibrated so that an idle module takes 23 to 29 W and that 10.9
decisions/s of 14 reasoning tokens and 4 flow steps at MAXN take about 130 W, near the 12.45 J a decision and
the 124 to 135 W published for a 2B policy on AGX Thor; not fitted to any board.
Must not know: files, processes, time other than `dt_s`.
"""

import math
from dataclasses import dataclass, replace

from agent.emulator.profile import GPU_MAX_HZ

PREFILL_S = 0.045
"""Encoding and prefill of one decision at the highest clock; slower in proportion at lower ones."""
TOKEN_S = 0.002
FLOW_STEP_S = 0.0047
"""Tokens and flow steps wait for memory, so that the clock doesn't matter."""
_PREFILL_J = 4.4
_TOKEN_J = 0.15
_FLOW_STEP_J = 0.30
_ACTIVE_W = 20.0
_CPU_W = 9.0
_GPU_SHARE, _SOC_SHARE = 0.42, 0.24
"""Of the dynamic power, what shows on VDD_GPU and VDD_CPU_SOC_MSS; the rest is memory, board and conversion."""

AMBIENT_C = 25.0
_SINK_J_PER_C = 400.0
_DIE_TAU_S = 2.0
_STILL_C_PER_W, _FANNED_C_PER_W = 0.46, 0.26
THROTTLE_C = 109.0
OVER_CURRENT_W = 128.0


@dataclass(frozen=True, slots=True)
class Load:
    """What the policy workers do: rates a second, and `cpu_busy`, the share of one core that they keep."""

    decisions_per_s: float = 0.0
    tokens_per_s: float = 0.0
    flow_steps_per_s: float = 0.0
    cpu_busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Rails:
    """Power by rail in watts; `utilisation` of the GPU, 0 to 1."""

    gpu_w: float
    soc_w: float
    system_w: float
    module_w: float
    utilisation: float


@dataclass(frozen=True, slots=True)
class Temperatures:
    """Nodes in °C: the heat sink, and the dies above it."""

    sink_c: float = 36.0
    gpu_c: float = 38.0
    cpu_c: float = 38.0
    soc012_c: float = 38.0
    soc345_c: float = 38.0

    @property
    def hottest_c(self) -> float:
        """The hottest junction, as `tj-thermal` says it."""
        return max(self.gpu_c, self.cpu_c, self.soc012_c, self.soc345_c)


def voltage_ratio(clock_hz: float) -> float:
    """Supply voltage at `clock_hz` relative to that at the highest clock; a straight line between the ends."""
    return 0.65 + 0.35 * clock_hz / GPU_MAX_HZ


def rails_under(load: Load, clock_hz: int, idle_w: float) -> Rails:
    """Rails while `load` is asked of a GPU at `clock_hz`; what is more than the GPU can do isn't done."""
    wanted = (
        load.decisions_per_s * PREFILL_S * GPU_MAX_HZ / clock_hz
        + load.tokens_per_s * TOKEN_S
        + load.flow_steps_per_s * FLOW_STEP_S
    )
    done = min(1.0, 1.0 / wanted) if wanted > 0 else 0.0
    utilisation = min(wanted, 1.0)
    prefill_w = done * load.decisions_per_s * _PREFILL_J * voltage_ratio(clock_hz) ** 2
    memory_w = done * (load.tokens_per_s * _TOKEN_J + load.flow_steps_per_s * _FLOW_STEP_J)
    dynamic_w = prefill_w + memory_w + utilisation * _active_w(clock_hz)
    cpu_w = _CPU_W * min(load.cpu_busy, 1.0) / 14
    return Rails(
        gpu_w=0.4 + _GPU_SHARE * dynamic_w,
        soc_w=8.5 + _SOC_SHARE * dynamic_w + cpu_w,
        system_w=6.0 + 0.05 * dynamic_w,
        module_w=idle_w + dynamic_w + cpu_w,
        utilisation=utilisation,
    )


def _active_w(clock_hz: int) -> float:
    """What a busy GPU takes beside its work: a tenth constant, the rest about f·V²."""
    return _ACTIVE_W * (0.1 + 0.9 * clock_hz / GPU_MAX_HZ * voltage_ratio(clock_hz) ** 2)


def fan_for(hottest_c: float) -> float:
    """Share of the fan's full speed: a slow start, then a line from 45 to 80 °C."""
    return min(max(0.2 + 0.8 * (hottest_c - 45.0) / 35.0, 0.2), 1.0)


def warmed(now: Temperatures, rails: Rails, fan: float, dt_s: float) -> Temperatures:
    """Temperatures `dt_s` later: an RC heat sink, and each die a first-order step above it."""
    per_w = _STILL_C_PER_W + (_FANNED_C_PER_W - _STILL_C_PER_W) * fan
    settled_c = AMBIENT_C + rails.module_w * per_w
    sink_c = settled_c + (now.sink_c - settled_c) * math.exp(-dt_s / (per_w * _SINK_J_PER_C))
    keep = math.exp(-dt_s / _DIE_TAU_S)

    def die(node_c: float, over_sink_c: float) -> float:
        return sink_c + over_sink_c + (node_c - sink_c - over_sink_c) * keep

    return replace(
        now,
        sink_c=sink_c,
        gpu_c=die(now.gpu_c, 0.18 * rails.gpu_w + 1.0),
        cpu_c=die(now.cpu_c, 0.20 * rails.soc_w),
        soc012_c=die(now.soc012_c, 0.12 * rails.soc_w + 0.5),
        soc345_c=die(now.soc345_c, 0.12 * rails.soc_w + 1.0),
    )
