"""The plant beside an emulated Thor: a world in real time, seen and driven through boards only.

Owns: the order of a step (obey, move, show), what happens without fresh actuation, and the referee's file.
Must not know: the policy, the follower, the clock.
"""

import os
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.board.feed import Feed
from agent.board.records import (
    ACTUATION,
    ACTUATION_BOARD,
    OBSERVATION_BOARD,
    VEHICLE,
    VEHICLE_BOARD,
    ActuationRecord,
    ObservationRecord,
    VehicleRecord,
    observation_layout,
)
from agent.board.seqlock import BoardWriter
from models.contract import PlantSpec, UnicycleActions
from models.errors import ContractMismatchError
from models.reference.world.observe import ObservationHistory
from models.reference.world.vehicle import VehicleState

PLANT_FILE = "plant.json"
REFEREE_FILE = "referee.json"
STEP_S = 0.01
STEPS_PER_FRAME = 10
STALE_NS = 500_000_000
_EMERGENCY_SHARE = 0.75
_STANDING_MPS = 0.1


class DrivenWorld(Protocol):
    """What the plant needs of a world; `models.reference.world.drive.World` is one."""

    vehicle: VehicleState

    @property
    def collided(self) -> bool:
        """Whether it ever touched anything."""
        ...

    @property
    def off_road(self) -> bool:
        """Whether it ever left the road."""
        ...

    @property
    def ran_red_light(self) -> bool:
        """Whether it ever crossed a stop line at red."""
        ...

    def step(self, acceleration_mps2: float, curvature_per_m: float, dt_s: float) -> None:
        """Let time pass under these commands."""
        ...

    def render(self) -> dict[str, NDArray[np.uint8]]:
        """What each camera sees now, uint8 (height_px, width_px, 3)."""
        ...


class Referee(msgspec.Struct, frozen=True):
    """The truth about a drive, for demonstrations and tests; no part of the agent reads it."""

    collided: bool
    off_road: bool
    ran_red_light: bool
    odometer_m: float
    speed_mps: float
    time_s: float
    stale_stops: int
    """Times that actuation went stale, so that the plant braked by itself."""


class Plant:
    """A world with boards around it. Call `step` every `STEP_S`; raises `ContractMismatchError` for joints."""

    def __init__(self, world: DrivenWorld, spec: PlantSpec, run: Path) -> None:
        if not isinstance(spec.action_space, UnicycleActions):
            raise ContractMismatchError(f"plant {spec.name} isn't driven by acceleration and curvature")
        self._world, self._spec, self._run = world, spec, run
        self._braking_mps2 = spec.action_space.max_braking_mps2
        self._history = ObservationHistory(spec.cameras, spec.ego_history)
        self._steps = self._sequence = self._stale_stops = 0
        self._odometer_m = self._curvature_per_m = 0.0
        self._was_fresh = False
        run.mkdir(parents=True, exist_ok=True)
        _replace(run / PLANT_FILE, msgspec.json.encode(spec))
        self._observations = BoardWriter(run / OBSERVATION_BOARD, observation_layout(spec), wakes=True)
        self._vehicles = BoardWriter(run / VEHICLE_BOARD, VEHICLE)
        self._actuations: Feed[ActuationRecord] = Feed(run / ACTUATION_BOARD, ACTUATION)

    @property
    def referee(self) -> Referee:
        """The truth now."""
        world = self._world
        return Referee(
            collided=world.collided,
            off_road=world.off_road,
            ran_red_light=world.ran_red_light,
            odometer_m=self._odometer_m,
            speed_mps=world.vehicle.speed_mps,
            time_s=self._steps * STEP_S,
            stale_stops=self._stale_stops,
        )

    def step(self, mono_ns: int) -> None:
        """Obey the follower for one step that ends at `mono_ns`, then show the vehicle, and at 10 Hz the cameras."""
        acceleration_mps2 = self._obey(self._command(mono_ns))
        self._world.step(acceleration_mps2, self._curvature_per_m, STEP_S)
        self._odometer_m += self._world.vehicle.speed_mps * STEP_S
        self._show_vehicle(mono_ns, acceleration_mps2)
        if self._steps % STEPS_PER_FRAME == 0:
            self._show_cameras(mono_ns)
        self._steps += 1

    def write_referee(self) -> None:
        """Publish the truth beside the boards."""
        _replace(self._run / REFEREE_FILE, msgspec.json.encode(self.referee))

    def close(self) -> None:
        """Unmap the boards; their age says that the plant is gone."""
        self._observations.close()
        self._vehicles.close()
        self._actuations.close()

    def _command(self, mono_ns: int) -> ActuationRecord | None:
        """The follower's command, where there is one that is younger than `STALE_NS` and finite."""
        self._actuations.news(mono_ns)
        record = self._actuations.recent(mono_ns, STALE_NS)
        if record is None or not np.isfinite((record.acceleration_mps2, record.curvature_per_m)).all():
            return None
        return record

    def _obey(self, command: ActuationRecord | None) -> float:
        """The acceleration to apply. Without a command: full brakes along the last curvature."""
        if command is not None:
            self._was_fresh = True
            self._curvature_per_m = command.curvature_per_m
            return command.acceleration_mps2
        self._stale_stops += self._was_fresh
        self._was_fresh = False
        return -self._braking_mps2

    def _show_vehicle(self, mono_ns: int, commanded_mps2: float) -> None:
        state = self._world.vehicle
        emergency = commanded_mps2 < -_EMERGENCY_SHARE * self._braking_mps2
        safe = state.speed_mps < _STANDING_MPS or not emergency
        record = VehicleRecord(
            mono_ns,
            state.x_m,
            state.y_m,
            state.yaw_rad,
            state.speed_mps,
            state.acceleration_mps2,
            state.curvature_per_m,
            self._odometer_m,
            int(safe),
            takeovers=0,
        )
        self._vehicles.write(record, mono_ns)

    def _show_cameras(self, mono_ns: int) -> None:
        state = self._world.vehicle
        pose = (state.x_m, state.y_m, state.yaw_rad, state.speed_mps)
        self._history.add(mono_ns, self._world.render(), pose)
        self._sequence += 1
        seen = self._history.observation(self._sequence, instruction=0)
        frames = b"".join(seen.frames[camera.name].tobytes() for camera in self._spec.cameras)
        record = ObservationRecord(self._sequence, mono_ns, 0, seen.ego_history.tobytes(), frames)
        self._observations.write(record, mono_ns)


def _replace(path: Path, content: bytes) -> None:
    """Write a file that no reader sees half of."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)
