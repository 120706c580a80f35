"""Whether the vehicle is parked: it stands, and nothing of ours would move it.

Owns: which boards say so, and how old they may be. Must not know: what is done with it; times are arguments.
"""

from pathlib import Path

from agent.board.feed import Feed
from agent.board.records import (
    LOOP,
    LOOP_BOARD,
    VEHICLE,
    VEHICLE_BOARD,
    LoopRecord,
    LoopState,
    VehicleRecord,
)
from agent.control.plan import STANDING_MPS

_MAX_AGE_NS = 500_000_000
_BRAKES_ON = (LoopState.WAITING, LoopState.SAFE_STOP)
"""Where the loop follows no plan; one that stands before a red light follows one, and may start any moment."""


def is_parked(vehicle: VehicleRecord | None, loop: LoopRecord | None) -> bool:
    """Whether it is, by what plant and follower say now; None for one that says nothing. NaN is no standing."""
    if vehicle is None or loop is None:
        return False
    stands = abs(vehicle.speed_mps) <= STANDING_MPS and vehicle.safe_to_swap == 1
    return stands and loop.state in _BRAKES_ON


class Parked:
    """Reads the boards below `run`, whenever their writers come and go."""

    def __init__(self, run: Path) -> None:
        self._vehicle: Feed[VehicleRecord] = Feed(run / VEHICLE_BOARD, VEHICLE)
        self._loop: Feed[LoopRecord] = Feed(run / LOOP_BOARD, LOOP)

    def now(self, mono_ns: int) -> bool:
        """Whether the vehicle is parked now; not where either is silent for more than half a second."""
        self._vehicle.news(mono_ns)
        self._loop.news(mono_ns)
        vehicle = self._vehicle.recent(mono_ns, _MAX_AGE_NS)
        return is_parked(vehicle, self._loop.recent(mono_ns, _MAX_AGE_NS))

    def close(self) -> None:
        """Unmap."""
        self._vehicle.close()
        self._loop.close()
