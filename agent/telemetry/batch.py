"""Joining decisions with what became of them: the pure core of telemetry.

Owns: which ticks executed which decision, when that is final, the energy of the time that it drove.
Must not know: rings, files, the wire beyond `DecisionRecord`. Monotonic times are arguments.
"""

from collections import deque
from dataclasses import dataclass, replace

import msgspec

from agent.board.records import AppliedRecord
from models.wire.messages import DecisionRecord

_SETTLED_NS = 500_000_000
"""A decision that another one followed is final this long after its last tick."""
_UNUSED_NS = 3_000_000_000
"""A decision that no tick has executed by then was overtaken."""
_HELD_MAX = 2048
_METER_NS = 30_000_000_000


@dataclass(frozen=True, slots=True)
class _Execution:
    """The ticks of one decision so far; its last one holds until `until_ns`, when the next tick is another's."""

    first_ns: int
    last_ns: int
    until_ns: int
    ticks: int
    acceleration_mps2: float
    curvature_per_m: float
    interventions: int


class Batcher:
    """Takes records in any order and gives complete decisions, each once."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[DecisionRecord, int]] = {}
        self._executions: dict[int, _Execution] = {}
        self._driving = 0
        self._meter: deque[tuple[int, float]] = deque()
        self.lost = 0
        """Decisions that were pushed out here because too many waited."""

    def decided(self, record: DecisionRecord, now_ns: int) -> None:
        """A worker decided."""
        if len(self._held) >= _HELD_MAX:
            self._held.pop(next(iter(self._held)))
            self.lost += 1
        self._held[record.sequence] = (record, now_ns)

    def applied(self, tick: AppliedRecord) -> None:
        """The follower executed one tick; decision 0 means that it followed none."""
        self._hold_until(tick)
        self._driving = tick.decision
        if tick.decision == 0:
            return
        past = self._executions.get(tick.decision)
        changed = int(tick.intervened != 0)
        if past is None:
            commanded = (tick.acceleration_mps2, tick.curvature_per_m)
            now_ns = tick.mono_ns
            self._executions[tick.decision] = _Execution(now_ns, now_ns, now_ns, 1, *commanded, changed)
        else:
            self._executions[tick.decision] = replace(
                past,
                last_ns=tick.mono_ns,
                until_ns=tick.mono_ns,
                ticks=past.ticks + 1,
                interventions=past.interventions + changed,
            )

    def _hold_until(self, tick: AppliedRecord) -> None:
        """Where `tick` is another decision's, the one before held until then, unless ticks between them are lost."""
        past = self._executions.get(self._driving)
        if past is None or tick.decision == self._driving or tick.mono_ns - past.last_ns > _SETTLED_NS:
            return
        self._executions[self._driving] = replace(past, until_ns=max(past.until_ns, tick.mono_ns))

    def metered(self, mono_ns: int, energy_j: float) -> None:
        """The energy counter stood at `energy_j` at `mono_ns`; a counter that falls was started anew."""
        if self._meter and (energy_j < self._meter[-1][1] or mono_ns <= self._meter[-1][0]):
            if mono_ns == self._meter[-1][0]:
                return
            self._meter.clear()
        self._meter.append((mono_ns, energy_j))
        while self._meter[0][0] < mono_ns - _METER_NS:
            self._meter.popleft()

    def is_waiting(self, sequence: int) -> bool:
        """Whether the decision was not given yet, or its ticks came before it."""
        return sequence in self._held or sequence in self._executions

    def finished(self, now_ns: int, utc_offset_ns: int) -> list[DecisionRecord]:
        """The decisions whose execution is over, completed; `utc_offset_ns` is UTC minus monotonic time."""
        done = [
            self._completed(record, utc_offset_ns)
            for record, held_ns in list(self._held.values())
            if self._is_final(record.sequence, held_ns, now_ns)
        ]
        self._forget_old(now_ns)
        return done

    def _is_final(self, sequence: int, held_ns: int, now_ns: int) -> bool:
        execution = self._executions.get(sequence)
        if execution is None:
            return now_ns - held_ns > _UNUSED_NS
        ended = sequence != self._driving and now_ns - execution.last_ns > _SETTLED_NS
        return ended or now_ns - execution.last_ns > _UNUSED_NS

    def _completed(self, record: DecisionRecord, utc_offset_ns: int) -> DecisionRecord:
        del self._held[record.sequence]
        execution = self._executions.pop(record.sequence, None)
        if execution is None:
            return record
        return msgspec.structs.replace(
            record,
            ticks=execution.ticks,
            first_tick_utc_ns=execution.first_ns + utc_offset_ns,
            applied_acceleration_mps2=execution.acceleration_mps2,
            applied_curvature_per_m=execution.curvature_per_m,
            interventions=execution.interventions,
            energy_j=self._energy_j(execution.first_ns, execution.until_ns),
        )

    def _energy_j(self, start_ns: int, end_ns: int) -> float:
        """Energy between two moments, from the counter, linear between its readings."""
        return max(0.0, self._counter_at(end_ns) - self._counter_at(start_ns))

    def _counter_at(self, mono_ns: int) -> float:
        before: tuple[int, float] | None = None
        for at_ns, energy_j in self._meter:
            if at_ns >= mono_ns:
                if before is None:
                    return energy_j
                share = (mono_ns - before[0]) / (at_ns - before[0])
                return before[1] + share * (energy_j - before[1])
            before = (at_ns, energy_j)
        return before[1] if before else 0.0

    def _forget_old(self, now_ns: int) -> None:
        """Executions of decisions whose record never came."""
        gone = [
            s for s, e in self._executions.items() if s not in self._held and now_ns - e.last_ns > _METER_NS
        ]
        for sequence in gone:
            del self._executions[sequence]
