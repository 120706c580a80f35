"""A plant that meets us in shared memory: the observation board.

Owns: the way from an observation record to an `Observation`.
Must not know: what the plant is (the emulator, a simulator, a vehicle's own bridge).
"""

from pathlib import Path

import numpy as np

from agent.board.feed import Feed
from agent.board.records import OBSERVATION_BOARD, ObservationRecord, observation_layout
from models.contract import PlantSpec, PolicyContract, check_fits
from models.runtime.policy import Observation


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

    def wait(self, until_ns: int) -> bool:
        """Return when there may be news, at `until_ns` at the latest; False at once where there is no plant to wait for."""
        return self._feed.wait(until_ns)

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
