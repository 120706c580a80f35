"""A worker that does not drive: what it knows of the one that does.

Owns: the boards of the driver's plan and of the vehicle. Must not know: policies, how plans are compared, what follows.
"""

import math
from pathlib import Path

from agent.board.change import PolicyRecord
from agent.board.feed import Feed
from agent.board.records import PLAN, VEHICLE, VEHICLE_BOARD, PlanRecord, VehicleRecord, Worker, plan_board
from agent.control.divergence import Divergence, divergence
from agent.control.plan import Plan, Selected, plan_from_record

_VEHICLE_MAX_AGE_NS = 500_000_000


class Beside:
    """The driver's plans, as the worker in `place` sees them."""

    def __init__(self, run: Path, place: Worker) -> None:
        self._driving: Feed[PlanRecord] = Feed(run / plan_board(place.other), PLAN)
        self._vehicle: Feed[VehicleRecord] = Feed(run / VEHICLE_BOARD, VEHICLE)

    def divergence(self, own: PlanRecord, selected: PolicyRecord, now_ns: int) -> Divergence | None:
        """How the plan `own` differs from the one that is driven on; None where nobody drives, or the speed is unknown."""
        self._driving.news(now_ns)
        self._vehicle.news(now_ns)
        driven, vehicle = self._driving.latest, self._vehicle.recent(now_ns, _VEHICLE_MAX_AGE_NS)
        if driven is None or vehicle is None or not math.isfinite(vehicle.speed_mps):
            return None
        driving = plan_from_record(driven.record, Selected(selected.epoch, selected.digest), None, now_ns)
        shadow = plan_from_record(own, Selected(own.epoch, own.digest), None, now_ns)
        if not (isinstance(driving, Plan) and isinstance(shadow, Plan)):
            return None
        return divergence(driving, shadow, now_ns, vehicle.speed_mps)
