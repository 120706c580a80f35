"""The world: one ego vehicle on one road, stepped in time, seen through its cameras, judged by a referee.

Owns: the state of a drive and the view of it that an expert needs. Sticky facts (`faults`) stay true.
Must not know: who drives, or why.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from models.reference.world import referee, traffic
from models.reference.world.camera import Junction, Renderer
from models.reference.world.path import Shift
from models.reference.world.referee import Crossing, Fault
from models.reference.world.rig import CAMERAS, Camera, Eye
from models.reference.world.scenario import KEEP_LANE, Scenario, cars_of_lap, endless
from models.reference.world.scene import scene_of
from models.reference.world.things import (
    Blockage,
    CutIn,
    Gesture,
    Hand,
    LeadCar,
    LightColour,
    StoppedCar,
    StopSign,
    TrafficLight,
    WorkZone,
)
from models.reference.world.traffic import SIGHT_M, Bumper, Car, OfficerNow, SignNow, Traffic, WalkerNow
from models.reference.world.vehicle import FRONT_M, LENGTH_M, REAR_OVERHANG_M, WIDTH_M, VehicleState, advanced

_PASSING_MPS, _WORKS_MPS = 5.0, 7.0
_PASSING_RAMP_M, _PASSING_ROOM_M = 24.0, 0.6
_PASSED_ROOM_M = REAR_OVERHANG_M + 1.0
_JUNCTION_BEFORE_M = 3.0


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
    `sign_gap_m` is the line of a stop sign or marking that was not stopped at yet, `walker_gap_m` a person's
    who is not out of the way. `path` are the shifts within sight.
    """

    s_m: float
    offset_m: float
    heading_error_rad: float
    speed_mps: float
    light: LightColour | None
    light_gap_m: float
    car_gap_m: float
    car_speed_mps: float = 0.0
    car_merges: bool = False
    sign_gap_m: float = math.inf
    hand: Hand | None = None
    hand_gap_m: float = math.inf
    gesture: Gesture | None = None
    walker_gap_m: float = math.inf
    path: tuple[Shift, ...] = ()
    blind: frozenset[str] = field(default_factory=frozenset)
    instruction: str = KEEP_LANE


class World:
    """One drive: the endless circuit of `seed`, or a given scenario. Deterministic; no clock but `time_s`."""

    def __init__(
        self, seed: int, scenario: Scenario | None = None, cameras: tuple[Camera, ...] = CAMERAS
    ) -> None:
        self._seed = seed
        self._scenario = endless(seed) if scenario is None else scenario
        self.road = self._scenario.road
        self._shifts = shifts_of(self._scenario)
        self._renderer = Renderer(self.road, cameras, _junction(self._scenario))
        self._traffic = _traffic(self._scenario)
        self._laps_filled = 0
        self.time_s = 0.0
        self.faults: frozenset[Fault] = frozenset()
        self.vehicle = _placed(self._scenario)
        self._s_m, self._offset_m = self._scenario.start_s_m, self._scenario.offset_m
        self._fill_laps()

    @property
    def collided(self) -> bool:
        """Whether it ever touched anything."""
        return Fault.COLLIDED in self.faults

    @property
    def off_road(self) -> bool:
        """Whether it ever left what counts as its way."""
        return Fault.OFF_ROAD in self.faults

    @property
    def ran_red_light(self) -> bool:
        """Whether it ever crossed a stop line at red."""
        return Fault.RAN_RED_LIGHT in self.faults

    @property
    def instruction(self) -> str:
        """What the ego was told."""
        return self._scenario.instruction

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
        front = self._s_m + FRONT_M
        light, light_gap = self._next_light()
        car_gap, car = self._next_car()
        officer = next((o for o in self._traffic.officers if _ahead(o.spec.stop_s_m - front)), None)
        walker = next(
            (w for w in self._traffic.walkers if _ahead(w.spec.s_m - front) and not w.is_clear), None
        )
        signs = [s.spec.stop_s_m - front for s in self._traffic.signs if not s.is_served]
        return Situation(
            self._s_m,
            self._offset_m,
            self._heading_error_rad(),
            self.vehicle.speed_mps,
            None if light is None else light.colour(self.time_s),
            light_gap,
            car_gap,
            car.speed_mps if car else 0.0,
            bool(car and car.changes_lane),
            min((gap for gap in signs if _ahead(gap)), default=math.inf),
            officer.hand if officer else None,
            officer.spec.stop_s_m - front if officer else math.inf,
            walker.gesture if walker else None,
            walker.spec.s_m - front if walker else math.inf,
            tuple(
                s for s in self._shifts if s.begins_s_m < front + SIGHT_M and self._s_m < _concerns_until(s)
            ),
            self._blind(),
            self._scenario.instruction,
        )

    def step(self, acceleration_mps2: float, curvature_per_m: float, dt_s: float) -> None:
        """Let `dt_s` seconds pass under these commands; raises `ValueError` where they are not finite."""
        if not (math.isfinite(acceleration_mps2) and math.isfinite(curvature_per_m) and dt_s > 0):
            raise ValueError(f"no such step: {acceleration_mps2} m/s², {curvature_per_m} 1/m, {dt_s} s")
        before = self._s_m + FRONT_M
        self.vehicle = advanced(self.vehicle, acceleration_mps2, curvature_per_m, dt_s)
        self.time_s += dt_s
        self._s_m, self._offset_m = self.road.locate(self.vehicle.x_m, self.vehicle.y_m, self._s_m)
        ego = Bumper(self._s_m + FRONT_M, self.vehicle.speed_mps)
        self._traffic = traffic.advanced(self._traffic, ego, self.time_s, dt_s)
        self._fill_laps()
        step = Crossing(before, ego.s_m, self._offset_m)
        self.faults |= referee.faults(self._scenario, self._shifts, self._traffic, step, self.time_s)

    def render(self) -> dict[str, NDArray[np.uint8]]:
        """What each camera sees at this instant, uint8 (height_px, width_px, 3), RGB."""
        state = self.vehicle
        scene = scene_of(self._scenario, self._traffic, self._shifts, self._s_m, self.time_s)
        return self._renderer.render(Eye(state.x_m, state.y_m, state.yaw_rad, self._s_m), scene)

    def _blind(self) -> frozenset[str]:
        gaps = self._scenario.dropouts
        return frozenset(gap.camera for gap in gaps if gap.start_s <= self.time_s < gap.end_s)

    def _heading_error_rad(self) -> float:
        error = self.vehicle.yaw_rad - self.road.point(self._s_m)[2]
        return (error + math.pi) % (2 * math.pi) - math.pi

    def _next_light(self) -> tuple[TrafficLight | None, float]:
        front = self._s_m + FRONT_M
        near: tuple[TrafficLight | None, float] = (None, math.inf)
        for light in self._scenario.lights:
            gap = (light.stop_s_m - front) % self.road.length_m
            if gap < min(near[1], SIGHT_M):
                near = (light, gap)
        return near

    def _next_car(self) -> tuple[float, Car | None]:
        """The car ahead that concerns the lane, and the gap to it."""
        front = self._s_m + FRONT_M
        near: tuple[float, Car | None] = (math.inf, None)
        for car in self._traffic.cars:
            gap = car.rear_s_m - front
            if car.concerns_lane and -LENGTH_M < gap < min(near[0], SIGHT_M):
                near = (gap, car)
        return near

    def _fill_laps(self) -> None:
        """Keep the stopped cars of this lap and the next on the road."""
        if not self._scenario.recurring:
            return
        while self._laps_filled <= int(self._s_m // self.road.length_m) + 1:
            specs = cars_of_lap(self.road, self._seed, self._laps_filled)
            cars = (*self._traffic.cars, *(traffic.car_from(spec) for spec in specs))
            self._traffic = replace(self._traffic, cars=cars)
            self._laps_filled += 1


def _concerns_until(shift: Shift) -> float:
    """A line on the road leads back too; a vehicle is forgotten once the rear axle is past it and out of sight."""
    return shift.end_s_m - _PASSED_ROOM_M if shift.may_stay else shift.ends_s_m


def _ahead(gap_m: float) -> bool:
    return 0.0 <= gap_m < SIGHT_M


def _traffic(scenario: Scenario) -> Traffic:
    specs: tuple[StoppedCar | LeadCar | CutIn, ...] = (*scenario.cars, *scenario.leads, *scenario.cut_ins)
    return Traffic(
        tuple(traffic.car_from(spec) for spec in specs),
        tuple(OfficerNow(spec) for spec in scenario.officers),
        tuple(WalkerNow(spec, spec.start_d_m) for spec in scenario.walkers),
        tuple(SignNow(spec, _stood_s(scenario, spec)) for spec in scenario.signs),
        scenario.blockages,
    )


def _stood_s(scenario: Scenario, sign: StopSign) -> float:
    """A drive that begins at rest before a line looks as if it had stood there."""
    near = 0 < sign.stop_s_m - scenario.start_s_m - FRONT_M < traffic.SERVED_GAP_M
    return traffic.SERVED_S if near and scenario.speed_mps == 0 else 0.0


def shifts_of(scenario: Scenario) -> tuple[Shift, ...]:
    """Where the path leaves the lane's centre."""
    passing = tuple(_around(blockage) for blockage in scenario.blockages)
    return passing + tuple(_through(works) for works in scenario.works)


def _around(blockage: Blockage) -> Shift:
    """Left past a blockage, with room to spare and at a careful pace."""
    d_m = blockage.d_m + blockage.width_m / 2 + WIDTH_M / 2 + _PASSING_ROOM_M
    start, end = (
        blockage.rear_s_m - FRONT_M - 1.0,
        blockage.rear_s_m + blockage.length_m + _PASSED_ROOM_M,
    )
    return Shift(start, end, max(d_m, 0.0), _PASSING_RAMP_M, _PASSING_MPS, may_stay=True)


def _through(works: WorkZone) -> Shift:
    return Shift(works.start_s_m, works.end_s_m, works.shift_m, works.ramp_m, _WORKS_MPS, may_stay=False)


def _junction(scenario: Scenario) -> Junction | None:
    fork = scenario.fork
    if fork is None:
        return None
    reach = max(fork.left_radius_m, fork.right_radius_m) * 1.2
    return Junction(fork.s_m - _JUNCTION_BEFORE_M, fork.s_m + reach, scenario.side_roads)


def _placed(start: Scenario) -> VehicleState:
    x_m, y_m, yaw, curvature = start.road.point(start.start_s_m)
    x_m, y_m = x_m - start.offset_m * math.sin(yaw), y_m + start.offset_m * math.cos(yaw)
    return VehicleState(x_m, y_m, yaw + start.heading_error_rad, start.speed_mps, 0.0, curvature)
