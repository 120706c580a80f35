"""What the cameras see: a cheap projection of the road, and what stands on it.

Owns: the ground's pixels, coloured by road coordinates with analytic coverage, so that a marking thinner than a pixel
still moves the pixel's value; and the order of painting. Must not know: how the scene came to be, or who looks at it.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.reference.world.boxes import Box, corners_of, paint
from models.reference.world.path import Shift, offset_m
from models.reference.world.rig import CAMERAS, MOUNT_HEIGHT_M, MOUNT_X_M, Camera, Eye
from models.reference.world.road import LANE_WIDTH_M, SHOULDER_M, Road
from models.reference.world.things import Colour

Pixels = NDArray[np.float32]

_BEHIND_M, _AHEAD_M, _SPACING_M = 4.5, 97.0, 1.5
_GRASS: Colour = (88.0, 112.0, 62.0)
_ASPHALT: Colour = (78.0, 78.0, 84.0)
_PAINT: Colour = (236.0, 236.0, 228.0)
_YELLOW: Colour = (246.0, 196.0, 30.0)
_LINE_HALF_M = 0.1
_DASH_PERIOD_M, _DASH_M = 9.0, 4.5
_STOP_LINE_HALF_M = 0.3
_ZEBRA_HALF_M, _ZEBRA_PERIOD_M = 1.5, 1.0
_BAND_M, _BAND_HALF_M = 3.0, 1.0
"""The painted word STOP: a broad grey-white band this far before its line."""
_BAND_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see besides the road."""

    boxes: tuple[Box, ...]
    stop_lines_s_m: tuple[float, ...]
    stop_words_s_m: tuple[float, ...] = ()
    zebras_s_m: tuple[float, ...] = ()
    yellow: tuple[Shift, ...] = ()
    blind: frozenset[str] = frozenset()
    """Names of cameras that show nothing."""


class Renderer:
    """Renders scenes on one road through a fixed set of cameras."""

    def __init__(
        self, road: Road, cameras: tuple[Camera, ...] = CAMERAS, junction: "Junction | None" = None
    ) -> None:
        self._road, self._junction = road, junction
        self._cameras = cameras
        self._offsets_s_m = np.arange(-_BEHIND_M, _AHEAD_M, _SPACING_M)
        grounds = [_ground(camera) for camera in cameras]
        self._rows = [ground.shape[0] for ground in grounds]
        columns = np.concatenate([ground.reshape(-1, 6) for ground in grounds]).astype(np.float32).T
        self._points = np.ascontiguousarray(columns[:2].T)
        self._px, self._py, self._wide, self._deep, self._turn_cos, self._turn_sin = columns.copy()
        self._skies = [_sky(camera, ground.shape[0]) for camera, ground in zip(cameras, grounds, strict=True)]

    def render(self, eye: Eye, scene: Scene) -> dict[str, NDArray[np.uint8]]:
        """One uint8 (height_px, width_px, 3) RGB image a camera, at this instant."""
        ground = self._ground_colours(eye, scene)
        far_to_near = sorted(scene.boxes, key=lambda box: -abs(box.s_m - eye.s_m))
        corners = corners_of(self._road, eye, far_to_near)
        images: dict[str, NDArray[np.uint8]] = {}
        start = 0
        for camera, rows, sky in zip(self._cameras, self._rows, self._skies, strict=True):
            count = rows * camera.width_px
            below = ground[:, start : start + count].reshape(3, rows, camera.width_px).transpose(1, 2, 0)
            image = np.empty((camera.height_px, camera.width_px, 3), np.float32)
            image[:-rows], image[-rows:] = sky, below
            start += count
            if camera.name in scene.blind:
                image = np.zeros_like(image)
            else:
                paint(image, camera, far_to_near, corners)
            images[camera.name] = np.clip(image + 0.5, 0, 255).astype(np.uint8)
        return images

    def _ground_colours(self, eye: Eye, scene: Scene) -> Pixels:
        """Colour of every ground pixel of all cameras, (3, pixels)."""
        seen = self._road_coordinates(self._road, eye)
        paved, paint = _paved(seen), self._lines(seen)
        if self._junction is not None:
            at = replace(eye, s_m=min(eye.s_m, self._junction.end_s_m))
            for side in self._junction.side_roads:
                beside = self._road_coordinates(side, at)
                paved = np.maximum(paved, _paved(beside))
                paint = np.maximum(paint, self._lines(beside))
        paint = np.maximum(paint, _markings(seen, scene, eye.s_m))
        colours = _blended(np.array(_GRASS, np.float32)[:, None], _ASPHALT, paved)
        colours = _blended(colours, _PAINT, paint)
        if scene.yellow:
            colours = _blended(colours, _YELLOW, _yellow(seen, scene.yellow))
        return colours

    def _lines(self, seen: "_Ground") -> Pixels:
        """The edges and the dashes between the lanes; a junction has none."""
        paint: Pixels = _coverage(seen.d_m + LANE_WIDTH_M / 2, _LINE_HALF_M, seen.foot_d)
        paint = np.maximum(paint, _coverage(seen.d_m - 1.5 * LANE_WIDTH_M, _LINE_HALF_M, seen.foot_d))
        dashes = _coverage(seen.d_m - LANE_WIDTH_M / 2, _LINE_HALF_M, seen.foot_d)
        paint = np.maximum(paint, dashes * _dash_coverage(seen.s_m, seen.foot_s))
        if self._junction is None:
            return paint
        outside = (seen.s_m < self._junction.start_s_m) | (seen.s_m > self._junction.end_s_m)
        return np.where(outside, paint, np.float32(0.0))

    def _road_coordinates(self, road: Road, eye: Eye) -> "_Ground":
        """What every ground pixel is on `road`, from the nearest centreline point."""
        x_m, y_m, yaw, curvature = road.at(eye.s_m + self._offsets_s_m)
        cos, sin = math.cos(eye.yaw_rad), math.sin(eye.yaw_rad)
        dx, dy = x_m - eye.x_m, y_m - eye.y_m
        line = np.stack([dx * cos + dy * sin, dy * cos - dx * sin]).astype(np.float32)
        score = self._points @ line
        score -= 0.5 * (line**2).sum(axis=0)  # in place: it is a megabyte
        nearest = score.argmax(axis=1)
        heading = (yaw - eye.yaw_rad).astype(np.float32)
        tx, ty = np.cos(heading)[nearest], np.sin(heading)[nearest]
        px, py = self._px - line[0][nearest], self._py - line[1][nearest]
        along, across = px * tx + py * ty, py * tx - px * ty
        bend = curvature.astype(np.float32)[nearest]
        d_m = across - 0.5 * bend * np.minimum(along * along, _SPACING_M**2)
        s_m = (eye.s_m + self._offsets_s_m).astype(np.float32)[nearest] + along
        cx = np.abs(tx * self._turn_cos + ty * self._turn_sin)
        cy = np.abs(ty * self._turn_cos - tx * self._turn_sin)
        return _Ground(s_m, d_m, cy * self._wide + cx * self._deep, cx * self._wide + cy * self._deep)


@dataclass(frozen=True, slots=True)
class Junction:
    """Where lines stop and other roads begin."""

    start_s_m: float
    end_s_m: float
    side_roads: tuple[Road, ...]


@dataclass(frozen=True, slots=True)
class _Ground:
    """The ground's pixels in road coordinates, and a pixel's extent along and across the road, each (pixels,)."""

    s_m: Pixels
    d_m: Pixels
    foot_s: Pixels
    foot_d: Pixels


def _paved(seen: _Ground) -> Pixels:
    left, right = 1.5 * LANE_WIDTH_M + SHOULDER_M, -0.5 * LANE_WIDTH_M - SHOULDER_M
    return _coverage(seen.d_m - (left + right) / 2, (left - right) / 2, seen.foot_d)


def _markings(seen: _Ground, scene: Scene, eye_s_m: float) -> Pixels:
    """Stop lines and words across the ego's lane, zebras across the road."""
    paint = np.zeros_like(seen.s_m)
    across = _coverage(seen.d_m, LANE_WIDTH_M / 2, seen.foot_d)
    for line in _in_view(scene.stop_lines_s_m, eye_s_m):
        paint = np.maximum(paint, across * _coverage(seen.s_m - line, _STOP_LINE_HALF_M, seen.foot_s))
    for line in _in_view(scene.stop_words_s_m, eye_s_m):
        band = _coverage(seen.s_m - (line - _BAND_M), _BAND_HALF_M, seen.foot_s)
        paint = np.maximum(paint, _BAND_SHARE * across * band)
    for line in _in_view(scene.zebras_s_m, eye_s_m):
        inside = _coverage(seen.d_m - LANE_WIDTH_M / 2, LANE_WIDTH_M, seen.foot_d)
        phase = np.mod(seen.d_m, np.float32(_ZEBRA_PERIOD_M)) - np.float32(_ZEBRA_PERIOD_M / 2)
        stripes = _coverage(phase, _ZEBRA_PERIOD_M / 4, np.minimum(seen.foot_d, np.float32(_ZEBRA_PERIOD_M)))
        paint = np.maximum(paint, inside * stripes * _coverage(seen.s_m - line, _ZEBRA_HALF_M, seen.foot_s))
    return paint


def _in_view(lines_s_m: tuple[float, ...], eye_s_m: float) -> list[float]:
    return [line for line in lines_s_m if -_BEHIND_M < line - eye_s_m < _AHEAD_M]


def _yellow(seen: _Ground, shifts: tuple[Shift, ...]) -> Pixels:
    """Temporary lines on both sides of the shifted lane."""
    paint = np.zeros_like(seen.s_m)
    for shift in shifts:
        away = seen.d_m - offset_m((shift,), seen.s_m.astype(np.float64)).astype(np.float32)
        sides = np.maximum(
            _coverage(away + LANE_WIDTH_M / 2, 1.5 * _LINE_HALF_M, seen.foot_d),
            _coverage(away - LANE_WIDTH_M / 2, 1.5 * _LINE_HALF_M, seen.foot_d),
        )
        paint = np.maximum(paint, sides * ((seen.s_m > shift.begins_s_m) & (seen.s_m < shift.ends_s_m)))
    return paint


def _ground(camera: Camera) -> NDArray[np.float64]:
    """(rows, width, 6) of the pixels below the horizon: x, y in the rig, a pixel's width and depth on the ground,
    and the cosine and sine of the camera's turn."""
    focal = camera.focal_px
    down = np.arange(camera.height_px // 2, camera.height_px) + 0.5 - camera.height_px / 2
    right = np.arange(camera.width_px) + 0.5 - camera.width_px / 2
    depth = np.broadcast_to((MOUNT_HEIGHT_M * focal / down)[:, None], (len(down), len(right)))
    y_m = -right[None, :] * depth / focal
    deep = depth**2 / (focal * MOUNT_HEIGHT_M)
    cos, sin = math.cos(camera.yaw_rad), math.sin(camera.yaw_rad)
    x_rig, y_rig = depth * cos - y_m * sin + MOUNT_X_M, depth * sin + y_m * cos
    turn = [np.full_like(depth, cos), np.full_like(depth, sin)]
    return np.stack([x_rig, y_rig, depth / focal, np.minimum(deep, 60.0), *turn], axis=-1)


def _sky(camera: Camera, ground_rows: int) -> Pixels:
    rows = camera.height_px - ground_rows
    fade = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    sky = np.array([120, 160, 214], np.float32) * (1 - fade) + np.array([196, 208, 220], np.float32) * fade
    return np.broadcast_to(sky, (rows, camera.width_px, 3))


def _coverage(offset: Pixels, half: float, extent: Pixels) -> Pixels:
    """How much of a pixel of `extent` at `offset` a strip of half-width `half` covers, 0 to 1."""
    high = np.minimum(offset + extent / 2, half)
    low = np.maximum(offset - extent / 2, -half)
    return np.clip((high - low) / extent, 0, 1)


def _dash_coverage(s_m: Pixels, extent: Pixels) -> Pixels:
    """Dashes near by, their mean far away, where a pixel is longer than a period."""
    phase: Pixels = np.mod(s_m, np.float32(_DASH_PERIOD_M)) - np.float32(_DASH_PERIOD_M / 2)
    share = _DASH_M / _DASH_PERIOD_M
    near = _coverage(phase, _DASH_M / 2, np.minimum(extent, _DASH_PERIOD_M))
    return np.where(extent > _DASH_PERIOD_M / 2, share, near)


def _blended(below: Pixels, above: Colour, coverage: Pixels) -> Pixels:
    """(3, pixels) of `above` over `below`: a row a channel, which NumPy goes through three times as fast."""
    return below + coverage * (np.array(above, np.float32)[:, None] - below)
