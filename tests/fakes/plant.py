"""A plant small enough to run beside a test: a point car on the plane, driven through boards only.

Owns: the fake plant, its contract, and a thread that runs it in real time. It obeys what a vehicle's bridge must:
it stops by itself where actuation is older than half a second.
"""

import math
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from agent.adapters.clock import MonotonicClock
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
from models.contract import (
    CameraSpec,
    EgoHistorySpec,
    PlantSpec,
    PolicyContract,
    ReasoningSpec,
    UnicycleActions,
)

STEP_S = 0.01
STEPS_PER_FRAME = 10
_STALE_NS = 500_000_000
_BRAKING_MPS2 = 6.0


def small_contract() -> PolicyContract:
    """A policy with one tiny camera and 64 waypoints, 0.1 s apart."""
    return PolicyContract(
        name="small",
        cameras=(CameraSpec("front", 4, 6, 2, 10.0),),
        ego_history=EgoHistorySpec(4, 0.1),
        instructions=("turn back", "keep lane"),
        reasoning=ReasoningSpec(("<bos>", "<eos>", "clear"), 0, 1, 8),
        action_space=UnicycleActions(3.0, _BRAKING_MPS2, 0.2, 2.0, 0.03),
        horizon_steps=64,
        dt_s=0.1,
        flow_steps=4,
    )


def small_plant() -> PlantSpec:
    """A plant that `small_contract` fits; it gives one of the policy's two instructions."""
    contract = small_contract()
    return PlantSpec(
        "point car", contract.cameras, contract.ego_history, ("keep lane",), contract.action_space
    )


@dataclass
class PointCar:
    """Where the car is: metres, radians, m/s, in the local frame."""

    x_m: float = 0.0
    y_m: float = 0.0
    yaw_rad: float = 0.0
    speed_mps: float = 0.0
    acceleration_mps2: float = 0.0
    curvature_per_m: float = 0.0
    odometer_m: float = 0.0

    def step(self, acceleration_mps2: float, curvature_per_m: float) -> None:
        """Move for `STEP_S`; the car does not roll back."""
        self.acceleration_mps2, self.curvature_per_m = acceleration_mps2, curvature_per_m
        self.speed_mps = max(0.0, self.speed_mps + acceleration_mps2 * STEP_S)
        way_m = self.speed_mps * STEP_S
        self.yaw_rad += curvature_per_m * way_m
        self.x_m += math.cos(self.yaw_rad) * way_m
        self.y_m += math.sin(self.yaw_rad) * way_m
        self.odometer_m += way_m


class FakePlant:
    """Boards around a `PointCar`. Every command that it obeyed is in `commands`."""

    def __init__(self, run: Path, speed_mps: float = 0.0) -> None:
        run.mkdir(parents=True, exist_ok=True)
        spec = small_plant()
        (run / "plant.json").write_bytes(msgspec.json.encode(spec))
        self.car = PointCar(speed_mps=speed_mps)
        self.safe_to_swap = True
        self.takeovers = 0
        self.commands: list[ActuationRecord] = []
        self.longest_silence_ns = 0
        self._camera = spec.cameras[0]
        self._history_steps = spec.ego_history.steps
        self._observations = BoardWriter(run / OBSERVATION_BOARD, observation_layout(spec), wakes=True)
        self._vehicles = BoardWriter(run / VEHICLE_BOARD, VEHICLE)
        self._actuations: Feed[ActuationRecord] = Feed(run / ACTUATION_BOARD, ACTUATION)
        self._steps = 0

    def step(self, mono_ns: int) -> None:
        """Obey, move, show; cameras every tenth step."""
        news = self._actuations.news(mono_ns)
        if news is not None:
            self.commands.append(news.record)
        latest = self._actuations.latest
        age_ns = mono_ns - latest.mono_ns if latest else _STALE_NS
        if latest is not None:
            self.longest_silence_ns = max(self.longest_silence_ns, age_ns)
        if latest is None or age_ns >= _STALE_NS or not math.isfinite(sum(latest.record[2:])):
            self.car.step(-_BRAKING_MPS2, self.car.curvature_per_m)
        else:
            self.car.step(latest.record.acceleration_mps2, latest.record.curvature_per_m)
        self._vehicles.write(self._vehicle(mono_ns), mono_ns)
        if self._steps % STEPS_PER_FRAME == 0:
            self._observations.write(self._observation(mono_ns), mono_ns)
        self._steps += 1

    def _vehicle(self, mono_ns: int) -> VehicleRecord:
        car = self.car
        return VehicleRecord(
            mono_ns,
            car.x_m,
            car.y_m,
            car.yaw_rad,
            car.speed_mps,
            car.acceleration_mps2,
            car.curvature_per_m,
            car.odometer_m,
            int(self.safe_to_swap),
            self.takeovers,
        )

    def _observation(self, mono_ns: int) -> ObservationRecord:
        camera = self._camera
        shape = (camera.frames, camera.height_px, camera.width_px, 3)
        frames = np.full(shape, self._steps % 256, np.uint8)
        history = np.zeros((self._history_steps, 4), np.float32)
        history[:, 0] = -self.car.speed_mps * 0.1 * np.arange(self._history_steps)[::-1]
        history[:, 3] = self.car.speed_mps
        sequence = self._steps // STEPS_PER_FRAME + 1
        return ObservationRecord(sequence, mono_ns, 0, history.tobytes(), frames.tobytes())


class PlantThread(threading.Thread):
    """Runs a plant in real time until `stop`; a late step is made up for, so that the car keeps time."""

    def __init__(self, plant: FakePlant) -> None:
        super().__init__(name="plant", daemon=True)
        self.plant = plant
        self._stopped = threading.Event()

    def run(self) -> None:
        """Step on absolute deadlines."""
        clock = MonotonicClock()
        due_ns = clock.mono_ns()
        while not self._stopped.is_set():
            due_ns += round(STEP_S * 1e9)
            clock.sleep_until(due_ns)
            self.plant.step(clock.mono_ns())

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self.join()
