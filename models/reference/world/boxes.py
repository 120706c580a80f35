"""What stands on the road: boxes, projected and painted as flat rectangles.

Owns: their pixels. Must not know: the ground, what a box stands for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.reference.world.rig import MOUNT_HEIGHT_M, MOUNT_X_M, Camera, Eye
from models.reference.world.road import Road
from models.reference.world.things import Colour

Pixels = NDArray[np.float32]
Floats = NDArray[np.float64]

_NEAREST_M, _FARTHEST_M = 0.3, 110.0
_ACROSS = np.array([-0.5, 0.5] * 4)
_AHEAD = np.repeat([0.0, 1.0], 4)
_UP = np.array([0.0, 0.0, 1.0, 1.0] * 2)
"""A box's eight corners in shares of its width, length and height: its rear face first."""
_EDGES = np.array(
    [(0, 1), (2, 3), (0, 2), (1, 3), (4, 5), (6, 7), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7)]
)
"""Pairs of corners that an edge joins."""
_HAS_DEPTH_M = 1.0
_DARK: Colour = (24.0, 24.0, 28.0)
_TAIL: Colour = (200.0, 24.0, 24.0)
_Edges = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """An upright box in road coordinates: its rear face at `s_m`, its centre line at `d_m`, standing on `base_m`."""

    s_m: float
    d_m: float
    length_m: float
    width_m: float
    base_m: float
    height_m: float
    colour: Colour
    tail_lights: bool = False


def corners_of(road: Road, eye: Eye, boxes: Sequence[Box]) -> Floats:
    """(n, 8, 3) corners of boxes relative to the camera mount: forward, left, up; rear face first."""
    if not boxes:
        return np.empty((0, 8, 3))
    rows = [(box.s_m, box.d_m, box.length_m, box.width_m, box.base_m, box.height_m) for box in boxes]
    s_m, d_m, length_m, width_m, base_m, height_m = np.array(rows).T[..., None]
    x_m, y_m, yaw, _ = road.at(s_m)
    cos, sin = np.cos(yaw), np.sin(yaw)
    along, across = _AHEAD * length_m, d_m + _ACROSS * width_m
    dx = x_m + along * cos - across * sin - eye.x_m
    dy = y_m + along * sin + across * cos - eye.y_m
    up = _UP * height_m + base_m - MOUNT_HEIGHT_M
    turn_cos, turn_sin = math.cos(eye.yaw_rad), math.sin(eye.yaw_rad)
    return np.stack([dx * turn_cos + dy * turn_sin - MOUNT_X_M, dy * turn_cos - dx * turn_sin, up], axis=-1)


def paint(image: Pixels, camera: Camera, boxes: Sequence[Box], corners: Floats) -> None:
    """Paint `boxes` with `corners` (n, 8, 3) into `image`, in their order."""
    if not boxes:
        return
    seen = _turned(corners, camera.yaw_rad)
    nearest, farthest = seen[..., 0].min(axis=1), seen[..., 0].max(axis=1)
    bodies, rears = _rectangles(camera, seen), _rectangles(camera, seen[:, :4])
    shows_rear = (seen[:, :4, 0].min(axis=1) >= _NEAREST_M).tolist()
    for index in np.flatnonzero((farthest >= _NEAREST_M) & (nearest <= _FARTHEST_M)).tolist():
        box = boxes[index]
        if box.length_m > _HAS_DEPTH_M:
            body = bodies[index]
            if nearest[index] < _NEAREST_M:
                body = _rectangles(camera, _before_the_eye(seen[index])[None])[0]
            _fill(image, body, _darker(box.colour))
        if shows_rear[index]:
            _paint_rear(image, box, rears[index])


def _paint_rear(image: Pixels, box: Box, edges: _Edges) -> None:
    _fill(image, edges, box.colour)
    if not box.tail_lights:
        return
    left, right, top, bottom = edges
    width, tall = (right - left) / 4, (bottom - top) / 5
    high = top + 2 * tall
    _fill(image, (left, left + width, high, high + tall), _TAIL)
    _fill(image, (right - width, right, high, high + tall), _TAIL)
    _fill(image, (left, right, bottom - tall, bottom), _DARK)


def _turned(corners: Floats, yaw_rad: float) -> Floats:
    """Corners as a camera sees them that is turned to the left."""
    if yaw_rad == 0.0:
        return corners
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    forward, left = (
        corners[..., 0] * cos + corners[..., 1] * sin,
        corners[..., 1] * cos - corners[..., 0] * sin,
    )
    return np.stack([forward, left, corners[..., 2]], axis=-1)


def _rectangles(camera: Camera, points: Floats) -> list[_Edges]:
    """Left, right, top and bottom in pixels of what spans points (n, k, 3); of points behind the eye nothing that counts."""
    scale = camera.focal_px / np.maximum(points[..., 0], _NEAREST_M)
    u = camera.width_px / 2 - points[..., 1] * scale
    v = camera.height_px / 2 - points[..., 2] * scale
    edges = np.stack([u.min(axis=1), u.max(axis=1), v.min(axis=1), v.max(axis=1)], axis=1)
    return [(left, right, top, bottom) for left, right, top, bottom in edges.tolist()]


def _before_the_eye(corners: Floats) -> Floats:
    """The corners in front of the eye, and where the edges to the others leave its view, so that what stands
    alongside stays in sight."""
    start, end = corners[_EDGES[:, 0]], corners[_EDGES[:, 1]]
    crosses = (start[:, 0] < _NEAREST_M) != (end[:, 0] < _NEAREST_M)
    start, end = start[crosses], end[crosses]
    part = (_NEAREST_M - start[:, :1]) / (end[:, :1] - start[:, :1])
    return np.concatenate([corners[corners[:, 0] >= _NEAREST_M], start + part * (end - start)])


def _darker(colour: Colour) -> Colour:
    red, green, blue = colour
    return 0.6 * red, 0.6 * green, 0.6 * blue


def _fill(image: Pixels, edges: _Edges, colour: Colour) -> None:
    """Blend an axis-aligned rectangle (left, right, top, bottom in pixels) by its coverage of each pixel."""
    left, right, top, bottom = edges
    height, width = image.shape[:2]
    first, last = max(int(left), 0), min(math.ceil(right), width)
    upper, lower = max(int(top), 0), min(math.ceil(bottom), height)
    if first >= last or upper >= lower:
        return
    across = _covered(first, last, left, right)
    down = _covered(upper, lower, top, bottom)
    cover = (down[:, None] * across[None, :]).astype(np.float32)[..., None]
    part = image[upper:lower, first:last]
    part += cover * (np.array(colour, np.float32) - part)


def _covered(first: int, last: int, start: float, end: float) -> Floats:
    """How much of each pixel from `first` to `last` lies between `start` and `end`: all of it but at the two edges."""
    covered = np.ones(last - first)
    covered[-1] = min(last, end) - max(last - 1, start)
    covered[0] = min(first + 1, end) - max(first, start)
    return covered
