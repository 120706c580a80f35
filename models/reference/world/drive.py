"""The world: one ego vehicle on one road, stepped in time, seen through its cameras, judged by a referee.

Owns: the state of a drive and the facts about it. Sticky facts (`collided`, `off_road`, `ran_red_light`) stay true.
Must not know: who drives, or why.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.reference.world.camera import CAMERAS, Box, Camera, Eye, Renderer, Scene
from models.reference.world.scenario import (
    CAR_LENGTH_M,
    CAR_WIDTH_M,
    LightColour,
    Scenario,
    StoppedCar,
    TrafficLight,
    cars_of_lap,
    endless,
)
from models.reference.world.vehicle import FRONT_M, LENGTH_M, WIDTH_M, VehicleState, advanced

OFF_ROAD_OFFSET_M = 1.2
_SIGHT_M = 95.0
_WAITING_GAP_M = 15.0
_WAITING_SPEED_MPS = 0.5
_LEAVING_MPS2 = 2.5
_LEAVING_MPS = 15.0
_SIGNAL_BEYOND_M = 8.0
_LAMPS = {
    LightColour.RED: (4.6, (255.0, 28.0, 28.0)),
    LightColour.YELLOW: (3.6, (255.0, 208.0, 24.0)),
    LightColour.GREEN: (2.6, (24.0, 240.0, 96.0)),
}


@dataclass(frozen=True, slots=True)
class Ego:
    """The rear axle's pose in the world, and the speed."""

    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float


@dataclass(frozen=True, slots=True)
class Situation:
    """All that matters for driving now, in road coordinates; gaps are from the front bumper, infinite where nothing is.

    `s_m` and `offset_m` are the rear axle's; `light` is the next signal within sight, `light_gap_m` its stop line's.
    """

    s_m: float
    offset_m: float
    heading_error_rad: float
    speed_mps: float
    light: LightColour | None
    light_gap_m: float
    car_gap_m: float


@dataclass(frozen=True, slots=True)
class _Car:
    """A stopped car as it is now."""

    spec: StoppedCar
    rear_s_m: float
    speed_mps: float = 0.0
    waited_s: float = 0.0


class World:
    """One drive: the endless circuit of `seed`, or a given scenario. Deterministic; no clock but `time_s`."""

    def __init__(
        self, seed: int, scenario: Scenario | None = None, cameras: tuple[Camera, ...] = CAMERAS
    ) -> None:
        self._seed = seed
        self._scenario = endless(seed) if scenario is None else scenario
        self.road = self._scenario.road
        self._renderer = Renderer(self.road, cameras)
        self._cars = [_Car(spec, spec.rear_s_m) for spec in self._scenario.cars]
        self._laps_filled = 0
        self.time_s = 0.0
        self.collided = self.off_road = self.ran_red_light = False
        self.vehicle = _placed(self._scenario)
        self._s_m, self._offset_m = self._scenario.start_s_m, self._scenario.offset_m
        self._fill_laps()

    @property
    def ego(self) -> Ego:
        """Where the vehicle is."""
        state = self.vehicle
        return Ego(state.x_m, state.y_m, state.yaw_rad, state.speed_mps)

    @property
    def lane_offset_m(self) -> float:
        """Rear axle's distance from the lane's centreline, left positive."""
        return self._offset_m

    @property
    def progress_m(self) -> float:
        """Arc length driven along the lane since the start."""
        return self._s_m - self._scenario.start_s_m

    @property
    def situation(self) -> Situation:
        """The privileged view that an expert drives by."""
        light, light_gap = self._next_light()
        return Situation(
            self._s_m,
            self._offset_m,
            self._heading_error_rad(),
            self.vehicle.speed_mps,
            None if light is None else light.colour(self.time_s),
            light_gap,
            self._car_gap_m(),
        )

    def step(self, acceleration_mps2: float, curvature_per_m: float, dt_s: float) -> None:
        """Let `dt_s` seconds pass under these commands; raises `ValueError` where they are not finite."""
        if not (math.isfinite(acceleration_mps2) and math.isfinite(curvature_per_m) and dt_s > 0):
            raise ValueError(f"no such step: {acceleration_mps2} m/s², {curvature_per_m} 1/m, {dt_s} s")
        before = self._s_m + FRONT_M
        self.vehicle = advanced(self.vehicle, acceleration_mps2, curvature_per_m, dt_s)
        self.time_s += dt_s
        self._s_m, self._offset_m = self.road.locate(self.vehicle.x_m, self.vehicle.y_m, self._s_m)
        self._move_cars(dt_s)
        self._fill_laps()
        self._judge(before, self._s_m + FRONT_M)

    def render(self) -> dict[str, NDArray[np.uint8]]:
        """What each camera sees at this instant, uint8 (height_px, width_px, 3), RGB."""
        state = self.vehicle
        return self._renderer.render(Eye(state.x_m, state.y_m, state.yaw_rad, self._s_m), self._scene())

    def _heading_error_rad(self) -> float:
        error = self.vehicle.yaw_rad - self.road.point(self._s_m)[2]
        return (error + math.pi) % (2 * math.pi) - math.pi

    def _next_light(self) -> tuple[TrafficLight | None, float]:
        front = self._s_m + FRONT_M
        near: tuple[TrafficLight | None, float] = (None, math.inf)
        for light in self._scenario.lights:
            gap = (light.stop_s_m - front) % self.road.length_m
            if gap < min(near[1], _SIGHT_M):
                near = (light, gap)
        return near

    def _car_gap_m(self) -> float:
        gaps = (car.rear_s_m - self._s_m - FRONT_M for car in self._cars)
        return min((gap for gap in gaps if -LENGTH_M < gap < _SIGHT_M), default=math.inf)

    def _move_cars(self, dt_s: float) -> None:
        front = self._s_m + FRONT_M
        moved = [_moved(car, car.rear_s_m - front, self.vehicle.speed_mps, dt_s) for car in self._cars]
        self._cars = [
            car for car in moved if car.rear_s_m - front > -30 and not _has_left(car, car.rear_s_m - front)
        ]

    def _fill_laps(self) -> None:
        """Keep the stopped cars of this lap and the next on the road."""
        if not self._scenario.recurring:
            return
        while self._laps_filled <= int(self._s_m // self.road.length_m) + 1:
            cars = cars_of_lap(self.road, self._seed, self._laps_filled)
            self._cars += [_Car(spec, spec.rear_s_m) for spec in cars]
            self._laps_filled += 1

    def _judge(self, front_before_m: float, front_m: float) -> None:
        self.off_road |= abs(self._offset_m) > OFF_ROAD_OFFSET_M
        beside = abs(self._offset_m) < (WIDTH_M + CAR_WIDTH_M) / 2
        for car in self._cars:
            self.collided |= beside and -(CAR_LENGTH_M + LENGTH_M) < car.rear_s_m - front_m < 0
        length = self.road.length_m
        for light in self._scenario.lights:
            crossed = (front_m - light.stop_s_m) // length > (front_before_m - light.stop_s_m) // length
            self.ran_red_light |= crossed and light.colour(self.time_s) is LightColour.RED

    def _scene(self) -> Scene:
        near = [car for car in self._cars if -8 < car.rear_s_m - self._s_m < _SIGHT_M + FRONT_M]
        boxes = [
            Box(car.rear_s_m, 0.0, CAR_LENGTH_M, CAR_WIDTH_M, 0.15, 1.35, car.spec.colour, tail_lights=True)
            for car in near
        ]
        lines = []
        for light in self._scenario.lights:
            gap = (light.stop_s_m - self._s_m + 20) % self.road.length_m - 20
            if gap < _SIGHT_M + FRONT_M:
                lines.append(self._s_m + gap)
                boxes += _signal(self._s_m + gap + _SIGNAL_BEYOND_M, light.colour(self.time_s))
        return Scene(tuple(boxes), tuple(lines))


def _placed(start: Scenario) -> VehicleState:
    x_m, y_m, yaw, curvature = start.road.point(start.start_s_m)
    x_m, y_m = x_m - start.offset_m * math.sin(yaw), y_m + start.offset_m * math.cos(yaw)
    return VehicleState(x_m, y_m, yaw + start.heading_error_rad, start.speed_mps, 0.0, curvature)


def _moved(car: _Car, gap_m: float, ego_speed_mps: float, dt_s: float) -> _Car:
    """A stopped car waits for the ego to wait, then drives off."""
    if car.waited_s >= car.spec.dwell_s:
        speed = min(car.speed_mps + _LEAVING_MPS2 * dt_s, _LEAVING_MPS)
        return replace(car, rear_s_m=car.rear_s_m + speed * dt_s, speed_mps=speed)
    waiting = 0 <= gap_m < _WAITING_GAP_M and ego_speed_mps < _WAITING_SPEED_MPS
    return replace(car, waited_s=car.waited_s + dt_s) if waiting else car


def _has_left(car: _Car, gap_m: float) -> bool:
    return car.speed_mps > 0 and gap_m > _SIGHT_M


def _signal(s_m: float, colour: LightColour) -> list[Box]:
    """A signal right of the lane: pole, housing, and the one lamp that is lit, nearest to the eye."""
    base, lamp = _LAMPS[colour]
    return [
        Box(s_m + 0.02, -4.4, 0.2, 0.25, 0.0, 2.5, (60.0, 60.0, 64.0)),
        Box(s_m + 0.01, -4.4, 0.4, 1.6, 2.5, 3.2, (24.0, 24.0, 28.0)),
        Box(s_m, -4.4, 0.05, 1.3, base, 1.0, lamp),
    ]
