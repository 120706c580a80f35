"""`plant.json`: what a plant says of itself in the run directory.

Owns: where that stands and how it is read. Apart from the boards, so that `manage` needs no array library.
Must not know: what the plant is (the emulator, a simulator, a vehicle's own bridge).
"""

from pathlib import Path

import msgspec

from agent.errors import BoardError
from models.contract import PlantSpec
from models.errors import MalformedError

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
