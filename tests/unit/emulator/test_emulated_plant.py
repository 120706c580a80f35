"""The emulated plant: what it shows, and that it stops by itself."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.board.records import (
    ACTUATION,
    ACTUATION_BOARD,
    OBSERVATION_BOARD,
    VEHICLE,
    VEHICLE_BOARD,
    ActuationRecord,
    VehicleRecord,
    observation_layout,
)
from agent.board.seqlock import BoardReader, BoardWriter
from agent.emulator.plant import PLANT_FILE, REFEREE_FILE, STEP_S, Plant, Referee
from models.contract import CameraSpec, EgoHistorySpec, JointActions, PlantSpec, UnicycleActions
from models.errors import ContractMismatchError
from models.reference.world.vehicle import VehicleState

STEP_NS = round(STEP_S * 1e9)
SPEC = PlantSpec(
    name="straight line",
    cameras=(CameraSpec("front", 4, 6, 2, 10.0),),
    ego_history=EgoHistorySpec(16, 0.1),
    instructions=("keep lane",),
    action_space=UnicycleActions(3.0, 6.0, 0.2, 2.0, 0.03),
)


class StraightWorld:
    """A point on a line, whose camera counts its renders."""

    def __init__(self) -> None:
        self.collided = self.off_road = self.ran_red_light = False
        self.vehicle = VehicleState(0.0, 0.0, 0.0, 10.0)
        self.renders = 0
        self.commands: list[tuple[float, float]] = []

    def step(self, acceleration_mps2: float, curvature_per_m: float, dt_s: float) -> None:
        self.commands.append((acceleration_mps2, curvature_per_m))
        speed = max(0.0, self.vehicle.speed_mps + acceleration_mps2 * dt_s)
        x_m = self.vehicle.x_m + speed * dt_s
        self.vehicle = VehicleState(x_m, 0.0, 0.0, speed, acceleration_mps2, curvature_per_m)

    def render(self) -> dict[str, NDArray[np.uint8]]:
        self.renders += 1
        return {"front": np.full((4, 6, 3), self.renders, np.uint8)}


class Drive:
    """A plant with the other end of its boards."""

    def __init__(self, run: Path) -> None:
        self.world = StraightWorld()
        self.plant = Plant(self.world, SPEC, run)
        self.run, self.now = run, 1_000_000_000
        self.actuation = BoardWriter(run / ACTUATION_BOARD, ACTUATION)

    def command(self, acceleration_mps2: float, curvature_per_m: float = 0.0) -> None:
        self.actuation.write(ActuationRecord(1, self.now, acceleration_mps2, curvature_per_m), self.now)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.now += STEP_NS
            self.plant.step(self.now)

    def vehicle(self) -> VehicleRecord:
        with BoardReader(self.run / VEHICLE_BOARD, VEHICLE) as board:
            stamped = board.read()
        assert stamped is not None
        return stamped.record


@pytest.fixture
def drive(tmp_path: Path) -> Drive:
    return Drive(tmp_path)


def test_the_plant_obeys_the_last_actuation_and_brakes_fully_once_it_is_half_a_second_old(
    drive: Drive,
) -> None:
    drive.command(1.0, 0.02)
    drive.steps(50)
    assert set(drive.world.commands) == {(1.0, 0.02)}
    drive.steps(1)
    assert drive.world.commands[-1] == (-6.0, 0.02)
    assert drive.plant.referee.stale_stops == 1
    drive.command(0.5)
    drive.steps(1)
    assert drive.world.commands[-1] == (0.5, 0.0)


def test_a_command_that_was_left_by_another_boot_is_not_obeyed(drive: Drive) -> None:
    left = ActuationRecord(1, drive.now + 3_600_000_000_000, 2.0, 0.0)
    drive.actuation.write(left, left.mono_ns)
    drive.steps(1)
    assert drive.world.commands[-1][0] == -6.0


def test_a_follower_that_is_held_up_in_the_middle_of_a_write_is_no_reason_to_brake(drive: Drive) -> None:
    drive.command(1.0)
    drive.steps(1)
    with (drive.run / ACTUATION_BOARD).open("r+b") as board:
        board.seek(8)
        board.write((3).to_bytes(8, "little"))  # an odd generation: a record is being written
    drive.steps(1)
    assert drive.world.commands[-1][0] == 1.0
    assert drive.plant.referee.stale_stops == 0
    drive.steps(60)
    assert drive.world.commands[-1][0] == -6.0


def test_without_any_follower_the_vehicle_comes_to_rest(tmp_path: Path) -> None:
    world = StraightWorld()
    plant = Plant(world, SPEC, tmp_path)
    for step in range(400):
        plant.step(step * STEP_NS + 1)
    assert world.vehicle.speed_mps == 0.0
    assert plant.referee.stale_stops == 0


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_command_that_is_no_number_brakes(drive: Drive, broken: float) -> None:
    drive.command(broken)
    drive.steps(1)
    assert drive.world.commands[-1][0] == -6.0


def test_cameras_show_every_tenth_step_with_two_frames_and_the_time_of_the_last(drive: Drive) -> None:
    drive.command(0.0)
    drive.steps(21)
    assert drive.world.renders == 3
    with BoardReader(drive.run / OBSERVATION_BOARD, observation_layout(SPEC)) as board:
        stamped = board.read()
    assert stamped is not None
    seen = stamped.record
    frames = np.frombuffer(seen.frames, np.uint8).reshape(2, 4, 6, 3)
    assert (frames[0] == 2).all()
    assert (frames[1] == 3).all()
    assert (seen.sequence, seen.mono_ns) == (3, drive.now)
    history = np.frombuffer(seen.ego_history, np.float32).reshape(16, 4)
    assert history[-1] == pytest.approx([0, 0, 0, 10.0])
    assert history[-2][0] == pytest.approx(-1.0, abs=1e-4)


def test_a_change_of_policy_is_unsafe_only_in_an_emergency_brake_at_speed(drive: Drive) -> None:
    safe = []
    for acceleration in (1.0, -2.0, -5.5):
        drive.command(acceleration)
        drive.steps(1)
        safe.append(drive.vehicle().safe_to_swap)
    assert safe == [1, 1, 0]
    drive.steps(600)
    assert drive.vehicle().speed_mps == 0.0
    assert drive.vehicle().safe_to_swap == 1


def test_the_plant_says_what_it_is_and_the_referee_how_it_went(drive: Drive) -> None:
    drive.command(0.0)
    drive.steps(50)
    drive.plant.write_referee()
    assert msgspec.json.decode((drive.run / PLANT_FILE).read_bytes(), type=PlantSpec) == SPEC
    referee = msgspec.json.decode((drive.run / REFEREE_FILE).read_bytes(), type=Referee)
    assert referee.odometer_m == pytest.approx(5.0)
    assert drive.vehicle().odometer_m == pytest.approx(5.0)


def test_a_plant_of_joints_is_refused(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, action_space=JointActions((), (), (), ()))
    with pytest.raises(ContractMismatchError):
        Plant(StraightWorld(), spec, tmp_path)


def test_the_emulate_command_drives_the_reference_world_and_ends_on_sigterm(tmp_path: Path) -> None:
    program = "from agent.emulator.command import app; app()"
    command = [sys.executable, "-c", program, "--root", str(tmp_path), "--seed", "3"]
    process = subprocess.Popen(command, env=dict(os.environ))
    try:
        _await_file(tmp_path / "run/roskva" / REFEREE_FILE)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
    referee = msgspec.json.decode((tmp_path / "run/roskva" / REFEREE_FILE).read_bytes(), type=Referee)
    assert not referee.collided
    assert (tmp_path / "run/roskva" / VEHICLE_BOARD).exists()
    assert list(tmp_path.glob("sys/class/hwmon/*/power1_input"))


def _await_file(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        threading.Event().wait(0.05)
