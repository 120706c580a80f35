"""The rig: which cameras there are, where they are mounted, where the rig is.

Owns: the cameras' optics and order. Must not know: what they see.
"""

import math
from dataclasses import dataclass

MOUNT_X_M = 1.7
MOUNT_HEIGHT_M = 1.4


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera of `fov_rad` horizontally, square pixels, level, at the mount, turned `yaw_rad` to the left."""

    name: str
    height_px: int
    width_px: int
    fov_rad: float
    yaw_rad: float = 0.0

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return self.width_px / 2 / math.tan(self.fov_rad / 2)


CAMERAS = (
    Camera("cross_left_120", 32, 64, math.radians(120), math.radians(55)),
    Camera("front_wide_120", 32, 64, math.radians(120)),
    Camera("cross_right_120", 32, 64, math.radians(120), math.radians(-55)),
    Camera("front_tele_30", 32, 64, math.radians(30)),
)
"""Alpamayo's four, in its order, at a size that a processor sees through."""


@dataclass(frozen=True, slots=True)
class Eye:
    """Where the rig is: pose in the world, and its arc length on the road."""

    x_m: float
    y_m: float
    yaw_rad: float
    s_m: float
