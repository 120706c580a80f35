"""A plant that meets us in shared memory: `plant.json`, the observation board.

Owns: where a plant says what it is, and the way from an observation record to an `Observation`.
Must not know: what the plant is (the emulator, a simulator, a vehicle's own bridge).
"""

from pathlib import Path

import msgspec
import numpy as np

from agent.board.feed import Feed
from agent.board.records import OBSERVATION_BOARD, ObservationRecord, observation_layout
from agent.errors import BoardError
from models.contract import PlantSpec, PolicyContract, check_fits
from models.errors import MalformedError
from models.runtime.policy import Observation

PLANT_NAME = "plant.json"
_MAX_PLANT_BYTES = 64 << 10


def read_plant(run: Path) -> PlantSpec:
    """What the plant whose boards are in `run` offers.

    Raises:
        BoardError: no plant has said so yet.
        MalformedError: what it said is not a `PlantSpec`.
    """
    try:
        with (run / PLANT_NAME).open("rb") as file:
            data = file.read(_MAX_PLANT_BYTES + 1)
    except OSError as error:
        raise BoardError(f"{PLANT_NAME} is not there: no plant is running ({error.strerror})") from error
    try:
        return msgspec.json.decode(data, type=PlantSpec, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"{PLANT_NAME}: {error}") from error


class SharedPlant:
    """The plant's observations, for a policy with `contract`. Raises `ContractMismatchError` where they do not fit."""

    def __init__(self, run: Path, plant: PlantSpec, contract: PolicyContract) -> None:
        check_fits(contract, plant)
        self._plant = plant
        self._wanted = {camera.name for camera in contract.cameras}
        self._instructions = tuple(contract.instructions.index(name) for name in plant.instructions)
        self._feed: Feed[ObservationRecord] = Feed(run / OBSERVATION_BOARD, observation_layout(plant))

    def news(self, mono_ns: int) -> Observation | None:
        """The latest observation, where it is another than at the call before."""
        stamped = self._feed.news(mono_ns)
        return self._observation(stamped.record) if stamped else None

    def _observation(self, record: ObservationRecord) -> Observation | None:
        """`record` with the frames as arrays over its bytes; None where its instruction is none of the plant's."""
        if not 0 <= record.instruction < len(self._instructions):
            return None
        frames, at = {}, 0
        for camera in self._plant.cameras:
            shape = (camera.frames, camera.height_px, camera.width_px, 3)
            count = camera.frames * camera.height_px * camera.width_px * 3
            if camera.name in self._wanted:
                frames[camera.name] = np.frombuffer(record.frames, np.uint8, count, at).reshape(shape)
            at += count
        history = np.frombuffer(record.ego_history, np.float32).reshape(self._plant.ego_history.steps, 4)
        instruction = self._instructions[record.instruction]
        return Observation(record.sequence, record.mono_ns, frames, history, instruction)
