"""How hard the policy workers work, read from their boards.

Owns: turning their cumulative counts into smooth rates. An absent worker is no load.
Must not know: what the rates cost.
"""

import math
from pathlib import Path

from agent.board.records import POWER, POWER_BOARD, WORKER, PowerRecord, Worker, WorkerRecord, worker_board
from agent.board.seqlock import BoardReader
from agent.emulator.physics import Load
from agent.errors import BoardError

_SMOOTHING_S = 0.5
_FLOW_STEPS = 4
"""Flow steps a decision where no governor says otherwise."""


class LoadMeter:
    """Rates over about half a second, summed over both workers; flow steps are what the governor allows."""

    def __init__(self, run: Path) -> None:
        self._meters = [_WorkerMeter(run / worker_board(worker)) for worker in Worker]
        self._power_path = run / POWER_BOARD
        self._power: BoardReader[PowerRecord] | None = None
        self._load = Load()

    def measure(self, dt_s: float) -> Load:
        """The load now; call it every `dt_s` seconds."""
        decisions = tokens = busy_s = 0.0
        for meter in self._meters:
            more = meter.progress()
            decisions, tokens, busy_s = decisions + more[0], tokens + more[1], busy_s + more[2]
        gain = 1.0 - math.exp(-dt_s / _SMOOTHING_S)
        before = self._load
        rate = before.decisions_per_s + gain * (decisions / dt_s - before.decisions_per_s)
        self._load = Load(
            decisions_per_s=rate,
            tokens_per_s=before.tokens_per_s + gain * (tokens / dt_s - before.tokens_per_s),
            flow_steps_per_s=rate * self._flow_steps(),
            cpu_busy=before.cpu_busy + gain * (busy_s / dt_s - before.cpu_busy),
        )
        return self._load

    def _flow_steps(self) -> int:
        try:
            self._power = self._power or BoardReader(self._power_path, POWER)
        except BoardError:
            return _FLOW_STEPS
        stamped = self._power.read()
        return min(stamped.record.flow_steps, _FLOW_STEPS) if stamped else _FLOW_STEPS


class _WorkerMeter:
    """One worker's counts since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._reader: BoardReader[WorkerRecord] | None = None
        self._last: WorkerRecord | None = None

    def progress(self) -> tuple[float, float, float]:
        """Decisions, tokens and busy seconds since the call before; zeros where a worker is new or absent."""
        stamped = self._open_reader()
        now, before = (stamped, self._last)
        self._last = now
        if now is None or before is None or now.pid != before.pid or now.decisions < before.decisions:
            return 0.0, 0.0, 0.0
        return (
            float(now.decisions - before.decisions),
            float(now.tokens_total - before.tokens_total),
            (now.busy_ns - before.busy_ns) / 1e9,
        )

    def _open_reader(self) -> WorkerRecord | None:
        """The latest record; a board that was replaced by a new file is opened again."""
        try:
            inode = self._path.stat().st_ino
            if self._reader is None or inode != self._inode:
                self._reader, self._inode = BoardReader(self._path, WORKER), inode
        except (OSError, BoardError):
            return None
        stamped = self._reader.read()
        return stamped.record if stamped else None
