"""What real policy workers decide, as pulses of an emulated Thor.

Owns: turning what their boards count into decisions, spread over the time in which they were counted. They are
emulated decisions of a 2B policy, whatever the worker really runs, and real workers do not wait for them.
An absent worker is no load. Must not know: what a decision costs.
"""

from contextlib import suppress
from pathlib import Path

from agent.board.records import POWER, POWER_BOARD, PowerRecord
from agent.board.seqlock import BoardReader
from agent.emulator.physics import EDGE, Decision
from agent.emulator.profile import CPUS
from agent.emulator.thor import Activity, EmulatedThor
from agent.errors import BoardError
from agent.power.progress import WorkersMeter

_BEHIND_NS = 500_000_000
"""Workers may decide faster than the emulated GPU could; what is further behind than this isn't done."""


class LoadMeter:
    """Reads the boards of both workers; flow steps and plan samples are what the governor allows."""

    def __init__(self, run: Path, thor: EmulatedThor) -> None:
        self._thor = thor
        self._workers = WorkersMeter(run)
        self._power_path = run / POWER_BOARD
        self._power: BoardReader[PowerRecord] | None = None

    def measure(self, until_ns: int) -> Activity:
        """What was decided between the emulator's time and `until_ns`."""
        from_ns = self._thor.now_ns
        done = self._workers.progress()
        span_ns = max(until_ns - from_ns, 1)
        cpu_busy = min(done.busy_ns / span_ns / CPUS, 1.0)
        pulses = []
        for number in range(done.decisions):
            at_ns = from_ns + span_ns * number // done.decisions
            if self._thor.free_ns - at_ns > _BEHIND_NS:
                break
            tokens = done.tokens * (number + 1) // done.decisions - done.tokens * number // done.decisions
            pulses.append(self._thor.place(Decision(EDGE, tokens, *self._flow()), at_ns)[0])
        return Activity(tuple(pulses), cpu_busy)

    def _flow(self) -> tuple[int, int]:
        """Steps, and plans: those are never more than the contract of the real release has."""
        stamped = None
        with suppress(BoardError):
            self._power = self._power or BoardReader(self._power_path, POWER)
            stamped = self._power.read()
        if stamped is None:
            return EDGE.flow_steps, EDGE.plan_samples
        return max(1, min(stamped.record.flow_steps, EDGE.flow_steps)), max(1, stamped.record.plan_samples)
