"""From a plant's bytes in shared memory to what a policy sees."""

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.adapters.plant_file import PLANT_NAME, read_plant
from agent.adapters.plant_shared import SharedPlant
from agent.board.records import OBSERVATION_BOARD, ObservationRecord, observation_layout
from agent.board.seqlock import BoardWriter
from agent.errors import BoardError
from models.contract import CameraSpec
from models.errors import ContractMismatchError, MalformedError
from tests.fakes.plant import FakePlant, small_contract, small_plant

_S = 1_000_000_000


def test_what_the_plant_says_of_itself_is_read_back(tmp_path: Path) -> None:
    FakePlant(tmp_path)
    assert read_plant(tmp_path) == small_plant()


def test_no_plant_yet_is_not_the_same_as_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="no plant is running"):
        read_plant(tmp_path)
    (tmp_path / PLANT_NAME).write_bytes(b'{"name": 7}')
    with pytest.raises(MalformedError):
        read_plant(tmp_path)
    (tmp_path / PLANT_NAME).write_bytes(b" " * 100_000)
    with pytest.raises(MalformedError):
        read_plant(tmp_path)


def test_an_observation_arrives_once_with_its_frames_and_the_contracts_instruction(tmp_path: Path) -> None:
    plant = FakePlant(tmp_path, speed_mps=3.0)
    shared = SharedPlant(tmp_path, small_plant(), small_contract())
    assert shared.news(_S) is None
    plant.step(2 * _S)
    seen = shared.news(2 * _S)
    assert seen is not None
    assert (seen.sequence, seen.mono_ns) == (1, 2 * _S)
    assert small_contract().instructions[seen.instruction] == "keep lane"
    assert {name: (frames.shape, frames.dtype) for name, frames in seen.frames.items()} == {
        "front": ((2, 4, 6, 3), np.dtype(np.uint8))
    }
    assert seen.ego_history.shape == (4, 4)
    assert seen.ego_history[-1, 3] < 3.0
    assert shared.news(3 * _S) is None


def test_cameras_that_the_policy_does_not_name_are_left_out_and_the_others_stay_in_place(
    tmp_path: Path,
) -> None:
    extra = CameraSpec("rear", 2, 2, 1, 10.0)
    plant = msgspec.structs.replace(small_plant(), cameras=(extra, *small_plant().cameras))
    board = BoardWriter(tmp_path / OBSERVATION_BOARD, observation_layout(plant))
    rear, front = bytes(12), bytes(range(144))
    board.write(ObservationRecord(5, _S, 0, bytes(64), rear + front), _S)
    seen = SharedPlant(tmp_path, plant, small_contract()).news(_S)
    assert seen is not None
    assert list(seen.frames) == ["front"]
    assert seen.frames["front"].tobytes() == front


@pytest.mark.parametrize("instruction", [-1, 1, 99])
def test_an_instruction_that_the_plant_never_named_is_no_observation(
    tmp_path: Path, instruction: int
) -> None:
    board = BoardWriter(tmp_path / OBSERVATION_BOARD, observation_layout(small_plant()))
    board.write(ObservationRecord(5, _S, instruction, bytes(64), bytes(144)), _S)
    assert SharedPlant(tmp_path, small_plant(), small_contract()).news(_S) is None


def test_a_contract_that_does_not_fit_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    blind = msgspec.structs.replace(small_plant(), cameras=())
    with pytest.raises(ContractMismatchError, match="front"):
        SharedPlant(tmp_path, blind, small_contract())


def test_a_policy_can_wait_for_the_next_observation(tmp_path: Path) -> None:
    plant = FakePlant(tmp_path)
    shared = SharedPlant(tmp_path, small_plant(), small_contract())
    assert shared.news(_S) is None
    plant.step(2 * _S)
    assert shared.wait(time.monotonic_ns() + 60 * _S)
    assert shared.news(2 * _S) is not None
