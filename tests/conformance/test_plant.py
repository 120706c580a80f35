"""What every plant keeps, whoever wrote it: the emulated one, the tests' own, and the example that others copy."""

import math
import runpy
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.adapters.plant_file import read_plant
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
from agent.board.seqlock import BoardReader, BoardWriter, Stamped
from agent.emulator.plant import Plant
from models.reference.world.vehicle import VehicleState, advanced
from tests.fakes.plant import FakePlant, small_plant

EXAMPLE = Path(__file__).parents[2] / "docs/examples/point_car.py"
STEP_NS = 10_000_000
START_NS = 50_000_000_000


class StepsPlant(Protocol):
    """A plant in virtual time."""

    def step(self, mono_ns: int, /) -> None:
        """10 ms pass, up to `mono_ns`."""
        ...


class Plain:
    """A world without anything in it, for the emulated plant."""

    def __init__(self) -> None:
        self.collided = self.off_road = self.ran_red_light = False
        self.vehicle = VehicleState(0.0, 0.0, 0.0, 8.0)

    def step(self, acceleration_mps2: float, curvature_per_m: float, dt_s: float) -> None:
        self.vehicle = advanced(self.vehicle, acceleration_mps2, curvature_per_m, dt_s)

    def render(self) -> dict[str, NDArray[np.uint8]]:
        return {"front": np.full((4, 6, 3), 7, np.uint8)}


def _example(run: Path) -> StepsPlant:
    plant: StepsPlant = runpy.run_path(str(EXAMPLE))["PointCar"](run, 8.0)
    return plant


PLANTS: dict[str, Callable[[Path], StepsPlant]] = {
    "emulated": lambda run: Plant(Plain(), small_plant(), run),
    "fake": lambda run: FakePlant(run, 8.0),
    "example": _example,
}
"""Each begins at 8 m/s."""


class Drive:
    """A plant and a follower of which only the commands are there."""

    def __init__(self, make: Callable[[Path], StepsPlant], run: Path) -> None:
        self.run, self.now_ns = run, START_NS
        self._actuation = BoardWriter(run / ACTUATION_BOARD, ACTUATION)
        self._plant = make(run)
        self._ticks = 0

    def commands(
        self, seconds: float, acceleration_mps2: float, curvature_per_m: float = 0.0
    ) -> VehicleRecord:
        """Command this at every step; what the vehicle says at the end."""
        for _ in range(round(seconds * 100)):
            self._ticks += 1
            told = ActuationRecord(self._ticks, self.now_ns, acceleration_mps2, curvature_per_m)
            self._actuation.write(told, self.now_ns)
            self.passes(0.01)
        return self.vehicle.record

    def passes(self, seconds: float) -> VehicleRecord:
        """Time passes without a new command."""
        for _ in range(round(seconds * 100)):
            self.now_ns += STEP_NS
            self._plant.step(self.now_ns)
        return self.vehicle.record

    @property
    def vehicle(self) -> Stamped[VehicleRecord]:
        with BoardReader(self.run / VEHICLE_BOARD, VEHICLE) as board:
            stamped = board.read()
        assert stamped is not None
        return stamped

    @property
    def observation(self) -> ObservationRecord:
        with BoardReader(self.run / OBSERVATION_BOARD, observation_layout(read_plant(self.run))) as board:
            stamped = board.read()
        assert stamped is not None
        return stamped.record


@pytest.fixture(params=list(PLANTS))
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Drive]:
    return Drive(PLANTS[request.param], tmp_path)  # type: ignore[return-value]


def test_it_says_what_it_is_before_it_shows_anything(drive: Drive) -> None:
    assert read_plant(drive.run).cameras


def test_the_vehicle_is_told_at_every_step_with_the_time_that_it_is_of(drive: Drive) -> None:
    for _ in range(5):
        record = drive.commands(0.01, 0.0)
        assert (record.mono_ns, drive.vehicle.mono_ns) == (drive.now_ns, drive.now_ns)


def test_it_does_what_it_is_told(drive: Drive) -> None:
    faster = drive.commands(2.0, 1.0)
    assert faster.speed_mps == pytest.approx(10.0, abs=0.3)
    assert faster.acceleration_mps2 == pytest.approx(1.0, abs=0.05)
    turned = drive.commands(1.0, 0.0, 0.05)
    assert turned.curvature_per_m == pytest.approx(0.05, abs=0.002)
    assert turned.yaw_rad == pytest.approx(0.5, abs=0.08)
    assert turned.odometer_m == pytest.approx(28.0, abs=1.0)


def test_without_commands_it_brakes_by_itself_and_keeps_its_bend(drive: Drive) -> None:
    before = drive.commands(1.0, 0.0, 0.02)
    still = drive.passes(0.4)
    assert still.speed_mps == pytest.approx(before.speed_mps, abs=0.1)
    stopped = drive.passes(4.0)
    assert stopped.speed_mps == 0.0
    assert stopped.curvature_per_m == pytest.approx(0.02, abs=0.001)


@pytest.mark.parametrize("acceleration_mps2", [math.nan, math.inf])
def test_a_command_that_is_no_number_is_none(drive: Drive, acceleration_mps2: float) -> None:
    drive.commands(0.5, 0.0)
    assert drive.commands(4.0, acceleration_mps2).speed_mps == 0.0
    assert math.isfinite(drive.vehicle.record.x_m)


def test_it_never_rolls_back(drive: Drive) -> None:
    stopped = drive.commands(3.0, -6.0)
    held = drive.commands(1.0, -6.0)
    assert (stopped.speed_mps, held.speed_mps) == (0.0, 0.0)
    assert held.odometer_m == stopped.odometer_m


def test_observations_come_at_the_cameras_rate_numbered_and_stamped(drive: Drive) -> None:
    seen: list[ObservationRecord] = []
    for _ in range(100):
        drive.commands(0.01, 0.0)
        if not seen or drive.observation.sequence != seen[-1].sequence:
            seen.append(drive.observation)
    assert [one.sequence - seen[0].sequence for one in seen] == list(range(10))
    assert {later.mono_ns - one.mono_ns for one, later in pairwise(seen)} == {100_000_000}


def test_the_way_here_ends_at_the_vehicle_itself(drive: Drive) -> None:
    drive.commands(1.0, 0.5)
    steps = read_plant(drive.run).ego_history.steps
    rows = np.array(struct.unpack(f"<{steps * 4}f", drive.observation.ego_history)).reshape(steps, 4)
    assert rows[-1, :3] == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
    assert np.all(np.diff(rows[:, 0]) > 0)
    assert rows[-1, 3] == pytest.approx(drive.vehicle.record.speed_mps, abs=0.2)


def test_a_person_is_at_the_wheel_only_where_one_took_it(drive: Drive) -> None:
    record = drive.commands(0.5, 0.0)
    assert (record.takeovers, record.safe_to_swap) == (0, 1)


def test_the_example_drives_by_itself_and_is_short_enough_to_copy(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-I", str(EXAMPLE), str(tmp_path)])
    try:
        deadline_s = time.monotonic() + 20
        while not (tmp_path / VEHICLE_BOARD).exists():
            assert process.poll() is None
            assert time.monotonic() < deadline_s
        with BoardReader(tmp_path / VEHICLE_BOARD, VEHICLE) as board:
            begun = board.generation
            while board.generation < begun + 20:
                assert time.monotonic() < deadline_s
    finally:
        process.kill()
        process.wait()
    assert len(EXAMPLE.read_text().splitlines()) < 100
