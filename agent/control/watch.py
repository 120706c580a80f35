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
    WorkerRecord,
)
from agent.control.gate import VEHICLE_MAX_AGE_NS
from agent.control.lowering import Lowering
from agent.control.trial import Breach, Look, Trial, begun, judged

_ALIVE_NS = 3_000_000_000
_PLANT_NS = VEHICLE_MAX_AGE_NS * 2 // 3
"""Sooner than the loop, which stops then: between two looks the plant may speak again."""
_STATES = set(LoopState)


class TrialWatch:
    """One trial after the other: `begin`, then `breach` until it is over. `notice` all the while, before either."""

    def __init__(self, run: Path) -> None:
        self._loop: Feed[LoopRecord] = Feed(run / LOOP_BOARD, LOOP)
        self._vehicle: Feed[VehicleRecord] = Feed(run / VEHICLE_BOARD, VEHICLE)
        self._power: Feed[PowerRecord] = Feed(run / POWER_BOARD, POWER)
        self._lowering = Lowering()
        self._trial: Trial | None = None

    def notice(self, now_ns: int) -> None:
        """See the limit of watts: power may be on its way down to it when a candidate begins to drive."""
        self._power.news(now_ns)
        power = self._power.recent(now_ns, _ALIVE_NS)
        self._lowering = self._lowering.after(power.envelope_w if power else math.nan, now_ns)

    def begin(self) -> None:
        """Another candidate drives."""
        self._trial = None

    def breach(
        self, worker: WorkerRecord | None, beside: WorkerRecord | None, promised_j: float, now_ns: int
    ) -> Breach | None:
        """What the candidate does that it must not; None where nothing shows.

        It says `worker` of itself and the one that drove before says `beside`; its release promises `promised_j` a decision.
        """
        look = self._look(worker, now_ns)
        if look is None:
            return None
        look = look._replace(beside=beside.decisions if beside else 0, max_decision_j=promised_j)
        found = judged(self._trial, look) if self._trial else begun(look)
        if isinstance(found, Breach):
            return found
        self._trial = found
        return None

    def _look(self, worker: WorkerRecord | None, now_ns: int) -> Look | None:
        """None while the loop or the worker says nothing: each has a watch of its own for that."""
        for feed in (self._loop, self._vehicle):
            feed.news(now_ns)
        loop, vehicle = self._loop.recent(now_ns, _ALIVE_NS), self._vehicle.latest
        if loop is None or worker is None:
            return None
        power = self._power.recent(now_ns, _ALIVE_NS)
        return Look(
            now_ns,
            LoopState(loop.state) if loop.state in _STATES else LoopState.WAITING,
            # Where the governor lets nothing be decided, the stop is not the candidate's either.
            self._vehicle.recent(now_ns, _PLANT_NS) is not None
            and not (power and power.decision_rate_hz == 0),
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
        )
