"""Where plans lead, and how far apart they do.

Owns: the integration of a plan to places. Must not know: who made it.
"""

import numpy as np
from numpy.typing import NDArray

from models.reference.contract import DT_S


def positions_m(plan: NDArray[np.float32], speed_mps: float, dt_s: float = DT_S) -> NDArray[np.float64]:
    """Where a plan (H, 2) of acceleration and curvature leads, (H, 2) in the rig frame at its start."""
    free = speed_mps + np.cumsum(plan[:, 0].astype(np.float64)) * dt_s
    speeds = free - np.minimum(
        np.minimum.accumulate(free), 0.0
    )  # nothing drives backwards: held at 0, it starts from there
    yaw = np.cumsum(speeds * dt_s * plan[:, 1])
    steps = speeds * dt_s
    return np.stack([np.cumsum(steps * np.cos(yaw)), np.cumsum(steps * np.sin(yaw))], axis=1)


def displacement_m(one: NDArray[np.float32], other: NDArray[np.float32], speed_mps: float) -> float:
    """Average displacement error: the mean distance over the horizon between where two plans lead, from one start."""
    away = positions_m(one, speed_mps) - positions_m(other, speed_mps)
    return float(np.hypot(away[:, 0], away[:, 1]).mean())
