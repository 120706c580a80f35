"""How far two plans lie apart: what a candidate would have done, beside what was done.

Owns: the comparison of two plans, and the root mean squares over many. Must not know: boards, workers, clocks.

Both plans are followed from the same place, heading and speed at the same moment, over the time that both cover. The vehicle
is a unicycle (v' = a, ψ' = κ·v, x' = v·cos ψ, y' = v·sin ψ; no rolling back), in steps of 50 ms by the midpoint rule.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from agent.control.gate import Command
from agent.control.plan import Plan

_S = 1_000_000_000
_STEP_NS = _S // 20
_STEP_S = _STEP_NS / _S


class Divergence(NamedTuple):
    """Root mean square differences of what two plans command, and how far apart they lead in metres after 1 s and 3 s.

    What is not known, say of plans that end before, is NaN.
    """

    acceleration_rms_mps2: float
    curvature_rms_per_m: float
    displacement_1s_m: float
    displacement_3s_m: float


UNKNOWN = Divergence(math.nan, math.nan, math.nan, math.nan)


@dataclass(slots=True)
class _Pose:
    """Where a plan has led, in the frame of its first moment: metres, radians, m/s."""

    speed_mps: float
    x_m: float = 0.0
    y_m: float = 0.0
    yaw_rad: float = 0.0

    def step(self, command: Command) -> None:
        after_mps = max(self.speed_mps + command.acceleration_mps2 * _STEP_S, 0.0)
        way_m = (self.speed_mps + after_mps) / 2 * _STEP_S
        turn_rad = command.curvature_per_m * way_m
        self.x_m += way_m * math.cos(self.yaw_rad + turn_rad / 2)
        self.y_m += way_m * math.sin(self.yaw_rad + turn_rad / 2)
        self.yaw_rad, self.speed_mps = self.yaw_rad + turn_rad, after_mps


def divergence(driving: Plan, shadow: Plan, now_ns: int, speed_mps: float) -> Divergence | None:
    """How `shadow` differs from `driving` from `now_ns` on, for a vehicle at `speed_mps`; None where they share no time."""
    start_ns = max(driving.start_ns, shadow.start_ns, now_ns)
    steps = (min(driving.end_ns, shadow.end_ns) - start_ns) // _STEP_NS
    if steps < 1:
        return None
    poses = _Pose(speed_mps), _Pose(speed_mps)
    squares, apart_m = [0.0, 0.0], {}
    for step in range(1, steps + 1):
        middle_ns = start_ns + step * _STEP_NS - _STEP_NS // 2
        commands = (
            driving.at(middle_ns) or driving.waypoints[-1],
            shadow.at(middle_ns) or shadow.waypoints[-1],
        )
        for pose, command in zip(poses, commands, strict=True):
            pose.step(command)
        for index, (one, other) in enumerate(zip(*commands, strict=True)):
            squares[index] += (one - other) ** 2
        apart_m[step] = math.hypot(poses[0].x_m - poses[1].x_m, poses[0].y_m - poses[1].y_m)
    acceleration, curvature = (math.sqrt(square / steps) for square in squares)
    after_m = (apart_m.get(seconds * _S // _STEP_NS, math.nan) for seconds in (1, 3))
    return Divergence(acceleration, curvature, *after_m)


@dataclass(frozen=True, slots=True)
class Diverged:
    """What `plans` comparisons came to; `sums` of squares and `counts`, by figure."""

    plans: int = 0
    sums: tuple[float, ...] = (0.0,) * len(UNKNOWN)
    counts: tuple[int, ...] = (0,) * len(UNKNOWN)

    def after(self, one: Divergence) -> "Diverged":
        """With `one` more comparison."""
        known = [math.isfinite(figure) for figure in one]
        sums = (s + (figure**2 if k else 0.0) for s, figure, k in zip(self.sums, one, known, strict=True))
        counts = (count + k for count, k in zip(self.counts, known, strict=True))
        return Diverged(self.plans + 1, tuple(sums), tuple(counts))

    @property
    def rms(self) -> Divergence:
        """The root mean squares over all comparisons."""
        pairs = zip(self.sums, self.counts, strict=True)
        return Divergence(*(math.sqrt(total / count) if count else math.nan for total, count in pairs))
