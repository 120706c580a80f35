"""The path within the road: how far from the lane's centreline one drives, and how fast at most.

Owns: shifts to the side and their sum, the corridor that counts as on the road. Must not know: why one shifts.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TOLERANCE_M = 1.2
"""How far from where one should drive the rear axle may be."""


class Shift(NamedTuple):
    """`d_m` to the left between `start_s_m` and `end_s_m`, ramps of `ramp_m` outside, at most `speed_mps` all along.

    `may_stay` is whether the lane's own centre is open too: else (cones) only the shifted path is.
    """

    start_s_m: float
    end_s_m: float
    d_m: float
    ramp_m: float
    speed_mps: float
    may_stay: bool

    @property
    def begins_s_m(self) -> float:
        """Where the ramp begins."""
        return self.start_s_m - self.ramp_m

    @property
    def ends_s_m(self) -> float:
        """Where the last ramp ends."""
        return self.end_s_m + self.ramp_m


def offset_m(shifts: tuple[Shift, ...], s_m: Floats) -> Floats:
    """The path's lateral offset at each arc length."""
    total = np.zeros_like(s_m)
    for shift in shifts:
        rise = _smooth((s_m - shift.begins_s_m) / shift.ramp_m)
        fall = _smooth((s_m - shift.end_s_m) / shift.ramp_m)
        total += shift.d_m * rise * (1.0 - fall)
    return total


def speed_limit_mps(shifts: tuple[Shift, ...], s_m: Floats, otherwise: float) -> Floats:
    """The most that one should drive at each arc length."""
    limit = np.full_like(s_m, otherwise)
    for shift in shifts:
        inside = (s_m > shift.begins_s_m) & (s_m < shift.ends_s_m)
        limit[inside] = np.minimum(limit[inside], shift.speed_mps)
    return limit


def corridor_m(shifts: tuple[Shift, ...], s_m: float) -> tuple[float, float]:
    """The lowest and highest lateral offset of the rear axle that counts as on the road at `s_m`."""
    low, high = -TOLERANCE_M, TOLERANCE_M
    for shift in shifts:
        d_m = float(offset_m((shift,), np.array([s_m]))[0])
        low, high = low + min(d_m, 0.0), high + max(d_m, 0.0)
        if not shift.may_stay:
            low, high = low + max(d_m, 0.0), high + min(d_m, 0.0)
    return low, high


def _smooth(part: Floats) -> Floats:
    """From 0 to 1 with neither a kink nor a jump in curvature (a quintic)."""
    x = np.clip(part, 0.0, 1.0)
    smooth: Floats = x * x * x * (x * (6.0 * x - 15.0) + 10.0)
    return smooth
