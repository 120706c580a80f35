"""A policy worker that only keeps count: as fast as the governor lets it, with reasoning as long as it is told.

Owns: the synthetic load of the power tests. It obeys `power.board` as the real one must.
"""

from dataclasses import dataclass
from pathlib import Path

from agent.board.records import (
    POWER,
    POWER_BOARD,
    WORKER,
    PowerRecord,
    Worker,
    WorkerRecord,
    WorkerState,
    worker_board,
)
from agent.board.seqlock import BoardReader, BoardWriter
from agent.errors import BoardError

_STALE_NS = 3_000_000_000
_FRUGAL_HZ = 1.0


@dataclass(slots=True)
class _Count:
    decisions: int = 0
    tokens: int = 0
    owed: float = 0.0


class SyntheticWorker:
    """Call `advance` often; it decides at the governor's rate, or at `wanted_hz` where that is lower."""

    def __init__(self, run: Path, wanted_hz: float, tokens: int) -> None:
        self._run, self.wanted_hz, self.tokens = run, wanted_hz, tokens
        self._board = BoardWriter(run / worker_board(Worker.A), WORKER)
        self._power: BoardReader[PowerRecord] | None = None
        self._count = _Count()
        self._last_ns = 0

    def advance(self, mono_ns: int) -> None:
        """Make the decisions that are due by `mono_ns`, and publish the counts."""
        rate_hz, cap = self._knobs(mono_ns)
        if self._last_ns:
            self._count.owed += (mono_ns - self._last_ns) / 1e9 * min(rate_hz, self.wanted_hz)
        self._last_ns = mono_ns
        due = min(int(self._count.owed), 1)  # one that is late is dropped, as a real worker does
        self._count.owed = min(self._count.owed - due, 1.0)
        self._count.decisions += due
        self._count.tokens += due * min(self.tokens, cap)
        self._board.write(self._record(), mono_ns)

    def _knobs(self, mono_ns: int) -> tuple[float, int]:
        try:
            self._power = self._power or BoardReader(self._run / POWER_BOARD, POWER)
        except BoardError:
            return _FRUGAL_HZ, 8
        stamped = self._power.read()
        if stamped is None or mono_ns - stamped.mono_ns > _STALE_NS:
            return _FRUGAL_HZ, 8
        return stamped.record.decision_rate_hz, stamped.record.max_reasoning_tokens

    def _record(self) -> WorkerRecord:
        done = self._count
        return WorkerRecord(
            pid=1,
            epoch=1,
            state=WorkerState.READY,
            digest=bytes(32),
            decisions=done.decisions,
            slow=0,
            failed=0,
            dropped=0,
            tokens_total=done.tokens,
            busy_ns=done.decisions * 20_000_000,
            latency_last_ns=20_000_000,
            latency_p50_ns=20_000_000,
            latency_p99_ns=20_000_000,
            reason=b"",
            detail=b"",
            version=b"",
            precision=b"",
            sentence=b"",
        )
