"""The road: a seeded closed circuit of straights, clothoids and arcs, or one way through a junction.

Owns: the geometry of one lane's centreline (arc length s, lateral offset d, left positive) and its lane widths.
Must not know: vehicles, cameras, traffic.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LANE_WIDTH_M = 3.5
SHOULDER_M = 0.5
MIN_RADIUS_M = 40.0
_STEP_M = 0.5
_RAMP_M = 25.0
_MIN_STRAIGHT_M = 30.0
_TURN_RAMP_M = 5.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Straight:
    """A stretch without curvature, from `start_s_m` to `end_s_m` on the circuit."""

    start_s_m: float
    end_s_m: float

    @property
    def length_m(self) -> float:
        """Its length in metres."""
        return self.end_s_m - self.start_s_m


@dataclass(frozen=True, slots=True)
class Road:
    """A closed centreline, sampled every `step_m`; each array has one row more than the circuit has steps.

    `yaw_rad` is unwrapped: its last entry is its first plus or minus a full turn.
    """

    step_m: float
    x_m: Floats
    y_m: Floats
    yaw_rad: Floats
    curvature_per_m: Floats
    straights: tuple[Straight, ...]

    @property
    def length_m(self) -> float:
        """One lap, in metres."""
        return self.step_m * (len(self.x_m) - 1)

    def at(self, s_m: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """x, y (m), yaw (rad) and curvature (1/m) of the centreline at arc lengths `s_m`, wrapped to the lap."""
        position = np.mod(s_m, self.length_m) / self.step_m
        index = np.minimum(position.astype(np.int64), len(self.x_m) - 2)
        part = position - index
        rows = (self.x_m, self.y_m, self.yaw_rad, self.curvature_per_m)
        x_m, y_m, yaw_rad, curvature = (row[index] + part * (row[index + 1] - row[index]) for row in rows)
        return x_m, y_m, yaw_rad, curvature

    def point(self, s_m: float) -> tuple[float, float, float, float]:
        """The same as `at` for one arc length, as plain floats."""
        position = (s_m % self.length_m) / self.step_m
        index = min(int(position), len(self.x_m) - 2)
        part = position - index
        rows = (self.x_m, self.y_m, self.yaw_rad, self.curvature_per_m)
        x_m, y_m, yaw_rad, curvature = (
            float(row[index]) * (1 - part) + float(row[index + 1]) * part for row in rows
        )
        return x_m, y_m, yaw_rad, curvature

    def xy(self, s_m: Floats, d_m: Floats) -> tuple[Floats, Floats]:
        """Plane coordinates of road coordinates."""
        x_m, y_m, yaw_rad, _ = self.at(s_m)
        return x_m - d_m * np.sin(yaw_rad), y_m + d_m * np.cos(yaw_rad)

    def project(self, x_m: Floats, y_m: Floats) -> tuple[Floats, Floats]:
        """Road coordinates (s, d) of points of the plane: the nearest sample, then its tangent."""
        distance = (x_m[..., None] - self.x_m[:-1]) ** 2 + (y_m[..., None] - self.y_m[:-1]) ** 2
        s_m = distance.argmin(axis=-1) * self.step_m
        for _ in range(2):
            along, across = self._offsets(x_m, y_m, s_m)
            s_m = s_m + along
        return np.mod(s_m, self.length_m), across

    def locate(self, x_m: float, y_m: float, near_s_m: float) -> tuple[float, float]:
        """Road coordinates (s, d) of one point, searched from `near_s_m`; s isn't wrapped, so it counts laps."""
        s_m = near_s_m
        across = 0.0
        for _ in range(3):
            cx, cy, yaw, curvature = self.point(s_m)
            along = (x_m - cx) * math.cos(yaw) + (y_m - cy) * math.sin(yaw)
            across = (y_m - cy) * math.cos(yaw) - (x_m - cx) * math.sin(yaw)
            s_m += along / max(1.0 - across * curvature, 0.5)
        return s_m, across

    def _offsets(self, x_m: Floats, y_m: Floats, s_m: Floats) -> tuple[Floats, Floats]:
        cx, cy, yaw, _ = self.at(s_m)
        cos, sin = np.cos(yaw), np.sin(yaw)
        return (x_m - cx) * cos + (y_m - cy) * sin, (y_m - cy) * cos - (x_m - cx) * sin


@dataclass(frozen=True, slots=True)
class _Corner:
    """A symmetric turn: curvature ramps up over `ramp_m`, holds over `arc_m`, ramps down."""

    turn_rad: float
    ramp_m: float
    arc_m: float
    tangent_m: float

    @property
    def length_m(self) -> float:
        return 2 * self.ramp_m + self.arc_m

    @property
    def peak_per_m(self) -> float:
        return self.turn_rad / (self.ramp_m + self.arc_m)


@lru_cache(maxsize=64)
def circuit(seed: int) -> Road:
    """A closed road of about two kilometres with 6 to 9 corners of 40 m radius or more, run either way round."""
    rng = np.random.default_rng([seed, 1])
    while True:
        vertices = _polygon(rng)
        corners = _corners(vertices, rng)
        if corners is None:
            continue
        edges = np.hypot(*(np.roll(vertices, -1, axis=0) - vertices).T)
        tangents = np.array([corner.tangent_m for corner in corners])
        free = edges - tangents - np.roll(tangents, -1)
        if free.min() >= _MIN_STRAIGHT_M and (free >= 100).sum() >= 4:
            return _laid_out(corners, free)


def _polygon(rng: np.random.Generator) -> Floats:
    count = int(rng.integers(6, 10))
    angle = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * 2 * np.pi / count
    radius = rng.uniform(170, 420, count)
    side = rng.choice([-1.0, 1.0])  # clockwise or not, so that neither hand is the usual one
    return np.stack([radius * np.cos(angle), side * radius * np.sin(angle)], axis=1)


def _corners(vertices: Floats, rng: np.random.Generator) -> list[_Corner] | None:
    """One corner a vertex; None where a turn is too slight or too sharp to be a road."""
    incoming = vertices - np.roll(vertices, 1, axis=0)
    outgoing = np.roll(vertices, -1, axis=0) - vertices
    turn = np.arctan2(outgoing[:, 1], outgoing[:, 0]) - np.arctan2(incoming[:, 1], incoming[:, 0])
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    if np.abs(turn).min() < 0.15 or np.abs(turn).max() > 1.9:
        return None
    return [_corner(float(angle), float(rng.uniform(MIN_RADIUS_M, 2 * MIN_RADIUS_M))) for angle in turn]


def _corner(turn_rad: float, radius_m: float) -> _Corner:
    """A corner of at least `radius_m`, with its tangent length found by walking along it."""
    whole = abs(turn_rad) * radius_m
    ramp, arc = (_RAMP_M, whole - _RAMP_M) if whole > _RAMP_M else (whole, 0.0)
    corner = _Corner(turn_rad, ramp, arc, 0.0)
    s_m = np.linspace(0, corner.length_m, 2001)
    knots = [0, ramp, ramp + arc + 1e-9, corner.length_m]
    curvature = np.interp(s_m, knots, [0, corner.peak_per_m, corner.peak_per_m, 0])
    yaw = _integral(curvature, float(s_m[1]))
    return _Corner(turn_rad, ramp, arc, float(_integral(np.sin(yaw), float(s_m[1]))[-1] / math.sin(turn_rad)))


def _integral(values: Floats, step: float) -> Floats:
    return np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) * step / 2)])


def _laid_out(corners: list[_Corner], free_m: Floats) -> Road:
    """Walk straight 0, corner 1, straight 1, … and spread the closing error (millimetres) over the lap."""
    s_m, knots, values, straights = 0.0, [0.0], [0.0], []
    for index, straight in enumerate(free_m):
        corner = corners[(index + 1) % len(corners)]
        straights.append(Straight(s_m, s_m + float(straight)))
        s_m += float(straight)
        knots += [s_m, s_m + corner.ramp_m, s_m + corner.ramp_m + corner.arc_m + 1e-9, s_m + corner.length_m]
        values += [0.0, corner.peak_per_m, corner.peak_per_m, 0.0]
        s_m += corner.length_m
    return _walked(s_m, knots, values, tuple(straights), closed=True)


@lru_cache(maxsize=64)
def way(before_m: float, turn_rad: float, radius_m: float, after_m: float) -> Road:
    """An open road: straight for `before_m`, one turn (left positive, 0 for none), straight for `after_m`.

    It ends at its end: arc lengths beyond wrap to its beginning, so make `after_m` longer than a drive.
    """
    arc = abs(turn_rad) * radius_m
    ramp = min(_TURN_RAMP_M, arc / 2)
    peak = turn_rad / arc if arc else 0.0
    start, length = before_m, before_m + arc + ramp + after_m
    knots = [0.0, start, start + ramp, start + arc + 1e-9, start + arc + ramp, length]
    values = [0.0, 0.0, peak, peak, 0.0, 0.0]
    straights = (Straight(0.0, start), Straight(start + arc + ramp, length))
    return _walked(length, knots, values, straights, closed=False)


def _walked(
    length_m: float,
    knots: list[float],
    values: list[float],
    straights: tuple[Straight, ...],
    *,
    closed: bool,
) -> Road:
    """Integrate the curvature (`values` at `knots`) into a road; where `closed`, spread the closing error."""
    count = round(length_m / _STEP_M)
    grid = np.linspace(0, length_m, count * 10 + 1)
    fine = float(grid[1])
    curvature = np.interp(grid, knots, values)
    yaw = _integral(curvature, fine)
    x_m, y_m = _integral(np.cos(yaw), fine), _integral(np.sin(yaw), fine)
    if closed:
        x_m, y_m = x_m - x_m[-1] * grid / length_m, y_m - y_m[-1] * grid / length_m
    pick = slice(None, None, 10)
    return Road(length_m / count, x_m[pick], y_m[pick], yaw[pick], curvature[pick], straights)
