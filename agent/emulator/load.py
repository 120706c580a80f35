"""How hard the policy workers work, read from their boards.

Owns: turning their cumulative counts into smooth rates. An absent worker is no load.
Must not know: what the rates cost.
"""

import math
from pathlib import Path

from agent.board.records import POWER, POWER_BOARD, PowerRecord
from agent.board.seqlock import BoardReader
from agent.emulator.physics import Load
from agent.errors import BoardError
from agent.power.progress import WorkersMeter

_SMOOTHING_S = 0.5
_FLOW_STEPS = 4
"""Flow steps a decision where no governor says otherwise."""


class LoadMeter:
    """Rates over about half a second, summed over both workers; flow steps are what the governor allows."""

    def __init__(self, run: Path) -> None:
        self._workers = WorkersMeter(run)
        self._power_path = run / POWER_BOARD
        self._power: BoardReader[PowerRecord] | None = None
        self._load = Load()

    def measure(self, dt_s: float) -> Load:
        """The load now; call it every `dt_s` seconds."""
        done = self._workers.progress()
        gain = 1.0 - math.exp(-dt_s / _SMOOTHING_S)
        before = self._load
        rate = before.decisions_per_s + gain * (done.decisions / dt_s - before.decisions_per_s)
        self._load = Load(
            decisions_per_s=rate,
            tokens_per_s=before.tokens_per_s + gain * (done.tokens / dt_s - before.tokens_per_s),
            flow_steps_per_s=rate * self._flow_steps(),
            cpu_busy=before.cpu_busy + gain * (done.busy_ns / 1e9 / dt_s - before.cpu_busy),
        )
        return self._load

    def _flow_steps(self) -> int:
        try:
            self._power = self._power or BoardReader(self._power_path, POWER)
        except BoardError:
            return _FLOW_STEPS
        stamped = self._power.read()
        return min(stamped.record.flow_steps, _FLOW_STEPS) if stamped else _FLOW_STEPS
