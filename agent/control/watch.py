"""The watch over a candidate that drives: looks at the boards, and asks the judge.

Owns: which boards a look is made of, and what has to be seen before anyone drives on trial.
Must not know: what is a breach (`agent.control.trial`), what follows from one.
"""

import math
from pathlib import Path

from agent.board.feed import Feed
from agent.board.records import (
    LOOP,
    LOOP_BOARD,
    POWER,
    POWER_BOARD,
    VEHICLE,
    VEHICLE_BOARD,
    LoopRecord,
    LoopState,
    PowerRecord,
    VehicleRecord,
)
from agent.control.gate import VEHICLE_MAX_AGE_NS
from agent.control.lowering import Lowering
from agent.control.seat import Seat
from agent.control.trial import Breach, Look, Trial, begun, judged

_ALIVE_NS = 3_000_000_000
_PLANT_NS = VEHICLE_MAX_AGE_NS * 2 // 3
"""Sooner than the loop, which stops then: between two looks the plant may speak again."""
_TOLD_NS = 250_000_000
"""The loop tells its state ten times a second; one that it told longer ago may be that before a silence or a decision."""
_STATES = set(LoopState)


class TrialWatch:
    """One trial after the other: `begin`, then `breach` until it is over. `notice` all the while, before either."""

    def __init__(self, run: Path) -> None:
        self._loop: Feed[LoopRecord] = Feed(run / LOOP_BOARD, LOOP)
        self._vehicle: Feed[VehicleRecord] = Feed(run / VEHICLE_BOARD, VEHICLE)
        self._power: Feed[PowerRecord] = Feed(run / POWER_BOARD, POWER)
        self._lowering = Lowering()
        self._plant_speaks, self._spoke_ns = False, 0
        self._trial: Trial | None = None

    def notice(self, now_ns: int) -> None:
        """See the plant and the limit of watts: when a candidate begins to drive, power may be on its way down to it."""
        self._vehicle.news(now_ns)
        before_ns, vehicle = self._spoke_ns, self._vehicle.latest
        self._spoke_ns = vehicle.mono_ns if vehicle else 0
        # A silence between two looks stops the loop like any other.
        unbroken = self._spoke_ns - before_ns <= _PLANT_NS
        self._plant_speaks = unbroken and self._vehicle.recent(now_ns, _PLANT_NS) is not None
        self._power.news(now_ns)
        power = self._power.recent(now_ns, _ALIVE_NS)
        self._lowering = self._lowering.after(power.envelope_w if power else math.nan, now_ns)

    def begin(self) -> None:
        """Another candidate drives."""
        self._trial = None

    def breach(self, seat: Seat, beside: Seat | None, now_ns: int) -> Breach | None:
        """What the candidate in `seat` does that it must not; None where nothing shows. `beside` drove before it."""
        look = self._look(seat, beside, now_ns)
        if look is None:
            return None
        found = judged(self._trial, look) if self._trial else begun(look)
        if isinstance(found, Breach):
            return found
        self._trial = found
        return None

    def _look(self, seat: Seat, beside: Seat | None, now_ns: int) -> Look | None:
        """None while the loop or the worker says nothing: each has a watch of its own for that."""
        self._loop.news(now_ns)
        loop, worker = self._loop.recent(now_ns, _ALIVE_NS), seat.figures(now_ns)
        if loop is None or worker is None:
            return None
        power, vehicle = self._power.recent(now_ns, _ALIVE_NS), self._vehicle.latest
        other = beside.figures(now_ns) if beside else None
        return Look(
            now_ns,
            self._state(now_ns),
            # Where the governor lets nothing be decided, the stop is not the candidate's either.
            self._plant_speaks and not (power and power.decision_rate_hz == 0),
            loop.ticks,
            # Without a real-time class the kernel owes nobody a tick.
            loop.ticks_missed if loop.realtime.startswith(b"fifo") else 0,
            loop.gate_interventions,
            worker.decisions,
            worker.slow,
            worker.failed,
            vehicle.record.takeovers if vehicle else 0,
            # Unknown watts are NaN, and no breach: the governor already assumes the worst.
            bool(power and power.module_w > power.envelope_w) and now_ns >= self._lowering.until_ns,
            power.energy_j if power else math.nan,
            other.decisions if other else 0,
            seat.promised_j(now_ns),
            seat.overdue_ns(now_ns),
        )

    def _state(self, now_ns: int) -> LoopState:
        """What the loop does now, as far as it says so."""
        loop = self._loop.recent(now_ns, _TOLD_NS)
        return LoopState(loop.state) if loop and loop.state in _STATES else LoopState.WAITING
