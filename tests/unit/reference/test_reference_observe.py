"""Observations are cut as the contract says, from the first instant on."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.contract import CameraSpec, EgoHistorySpec
from models.errors import ConfigurationError
from models.reference.world.observe import ObservationHistory

CAMERA = CameraSpec("front", 2, 3, 2, 10.0)


def _image(value: int) -> dict[str, NDArray[np.uint8]]:
    return {"front": np.full((2, 3, 3), value, np.uint8)}


def _history(steps: int = 4) -> ObservationHistory:
    return ObservationHistory((CAMERA,), EgoHistorySpec(steps, 0.1))


def test_frames_come_oldest_first_and_only_the_newest_are_kept() -> None:
    history = _history()
    for value in range(5):
        history.add(value, _image(value), (0, 0, 0, 0))
    frames = history.observation(9, 0).frames["front"]
    assert frames.shape == (2, 2, 3, 3)
    assert [int(frame[0, 0, 0]) for frame in frames] == [3, 4]


def test_the_history_is_in_the_rig_frame_of_its_last_row() -> None:
    history = _history()
    for step in range(4):
        history.add(step, _image(0), (10.0, 5.0 + step, math.pi / 2, 10.0))
    rows = history.observation(0, 0).ego_history
    assert rows.dtype == np.float32
    assert rows == pytest.approx(
        np.array([[-3, 0, 0, 10], [-2, 0, 0, 10], [-1, 0, 0, 10], [0, 0, 0, 10]]), abs=1e-6
    )


def test_before_the_window_is_full_the_past_is_taken_as_steady() -> None:
    history = _history()
    history.add(77, _image(1), (3.0, 4.0, math.pi, 5.0))
    observation = history.observation(0, 0)
    assert observation.ego_history[:, 0] == pytest.approx([-1.5, -1.0, -0.5, 0.0])
    assert observation.frames["front"].shape[0] == 2
    assert observation.mono_ns == 77


def test_yaw_does_not_jump_where_the_angle_wraps() -> None:
    history = _history(2)
    history.add(0, _image(0), (0, 0, math.pi - 0.01, 1.0))
    history.add(1, _image(0), (0, 0, -math.pi + 0.01, 1.0))
    assert history.observation(0, 0).ego_history[0, 2] == pytest.approx(-0.02, abs=1e-6)


def test_cameras_and_history_at_different_rates_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="front"):
        ObservationHistory((CAMERA,), EgoHistorySpec(4, 0.05))


def test_nothing_observed_is_no_observation() -> None:
    with pytest.raises(ValueError, match="nothing"):
        _history().observation(0, 0)
