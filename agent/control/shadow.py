"""A worker that does not drive: what it knows of the one that does.

Owns: the boards of the driver's plan and of the vehicle, and the driver's cadence. Must not know: policies, how plans are
compared, what follows.
"""

import math
from pathlib import Path

from agent.board.change import PolicyRecord
from agent.board.feed import Feed
from agent.board.records import PLAN, VEHICLE, VEHICLE_BOARD, PlanRecord, VehicleRecord, Worker, plan_board
from agent.control.cadence import Cadence
from agent.control.divergence import Divergence, divergence
from agent.control.gate import VEHICLE_MAX_AGE_NS
from agent.control.plan import Plan, Selected, plan_from_record


class Beside:
    """The driver's plans, as the worker in `place` sees them."""

    def __init__(self, run: Path, place: Worker) -> None:
        self._driving: Feed[PlanRecord] = Feed(run / plan_board(place.other), PLAN)
        self._vehicle: Feed[VehicleRecord] = Feed(run / VEHICLE_BOARD, VEHICLE)
        self._cadence = Cadence()

    def driver_due_ns(self, selected: PolicyRecord, period_ns: int, now_ns: int) -> int | None:
        """From when on the driver, at one decision in `period_ns`, may begin its next one, by its latest plan: what it decides
        now is not known of. None where nobody drives; a driver that makes no plans is always due."""
        self._driving.news(now_ns)
        told = self._driving.latest
        if told is None or told.record.epoch != selected.epoch:
            return None
        if told.record.observation_ns != self._cadence.decided_ns:
            self._cadence = self._cadence.after(told.record.observation_ns, period_ns)
        return self._cadence.earliest_ns(period_ns)

    def divergence(self, own: PlanRecord, selected: PolicyRecord, now_ns: int) -> Divergence | None:
        """How the plan `own` differs from the one that is driven on; None where nobody drives, or the speed is unknown."""
        self._driving.news(now_ns)
        self._vehicle.news(now_ns)
        driven, vehicle = self._driving.latest, self._vehicle.recent(now_ns, VEHICLE_MAX_AGE_NS)
        if driven is None or vehicle is None or not math.isfinite(vehicle.speed_mps):
            return None
        driving = plan_from_record(driven.record, Selected(selected.epoch, selected.digest), None, now_ns)
        shadow = plan_from_record(own, Selected(own.epoch, own.digest), None, now_ns)
        if not (isinstance(driving, Plan) and isinstance(shadow, Plan)):
            return None
        return divergence(driving, shadow, now_ns, vehicle.speed_mps)
