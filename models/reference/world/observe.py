"""From renders and poses to observations.

Owns: the sliding window of frames and ego poses at a contract's rate, and its cut into an `Observation`.
Must not know: where frames and poses come from. The device's plant adapters use it as well.
"""

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from models.contract import CameraSpec, EgoHistorySpec
from models.errors import ConfigurationError
from models.runtime.policy import Observation

Frames = dict[str, NDArray[np.uint8]]


class ObservationHistory:
    """The last frames and poses, one `add` every `dt_s`; before the window is full its oldest entry is extended back.

    Raises `ConfigurationError` where a camera's rate isn't the history's.
    """

    def __init__(self, cameras: tuple[CameraSpec, ...], ego_history: EgoHistorySpec) -> None:
        for camera in cameras:
            if not math.isclose(camera.rate_hz * ego_history.dt_s, 1.0, rel_tol=1e-6):
                raise ConfigurationError(f"camera {camera.name} does not run at the ego history's rate")
        self._cameras = cameras
        self._spec = ego_history
        self._frames: deque[Frames] = deque(maxlen=max(camera.frames for camera in cameras))
        self._poses: deque[tuple[float, float, float, float]] = deque(maxlen=ego_history.steps)
        self._mono_ns = 0

    def add(self, mono_ns: int, frames: Frames, pose: tuple[float, float, float, float]) -> None:
        """Append one instant: an image a camera, and (x_m, y_m, yaw_rad, speed_mps) in a fixed frame."""
        self._mono_ns = mono_ns
        self._frames.append(frames)
        self._poses.append(pose)

    def observation(self, sequence: int, instruction: int) -> Observation:
        """The observation at the instant added last; raises `ValueError` before the first `add`."""
        if not self._poses:
            raise ValueError("nothing has been observed yet")
        frames = {camera.name: self._stack(camera) for camera in self._cameras}
        return Observation(sequence, self._mono_ns, frames, self._ego_history(), instruction)

    def _stack(self, camera: CameraSpec) -> NDArray[np.uint8]:
        kept = [frames[camera.name] for frames in self._frames][-camera.frames :]
        return np.stack([kept[0]] * (camera.frames - len(kept)) + kept)

    def _ego_history(self) -> NDArray[np.float32]:
        """(steps, 4) in the rig frame at the last pose, oldest first."""
        rows = np.array(self._poses, dtype=np.float64)
        missing = self._spec.steps - len(rows)
        if missing:
            back = np.arange(missing, 0, -1) * self._spec.dt_s * rows[0, 3]
            extended = np.repeat(rows[:1], missing, axis=0)
            extended[:, 0] -= back * math.cos(rows[0, 2])
            extended[:, 1] -= back * math.sin(rows[0, 2])
            rows = np.concatenate([extended, rows])
        x_m, y_m, yaw, _ = rows[-1]
        dx, dy = rows[:, 0] - x_m, rows[:, 1] - y_m
        cos, sin = math.cos(yaw), math.sin(yaw)
        turn = (rows[:, 2] - yaw + math.pi) % (2 * math.pi) - math.pi
        return np.stack([dx * cos + dy * sin, dy * cos - dx * sin, turn, rows[:, 3]], axis=1).astype(
            np.float32
        )
