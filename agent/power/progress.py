"""How far the policy workers got since the last look, from their boards.

Owns: turning cumulative counts into steps, across restarts and replaced files. An absent worker makes no progress.
Must not know: clocks, watts.
"""

from pathlib import Path
from typing import NamedTuple

from agent.board.records import WORKER, Worker, WorkerRecord, worker_board
from agent.board.seqlock import BoardReader
from agent.errors import BoardError


class Turn(NamedTuple):
    """Where one worker is: its latest decision, and since when the next is under way, 0 where none is; what was done between
    two looks."""

    decisions: int
    busy_ns: int
    decided_ns: int
    latency_ns: int
    since_ns: int


class Progress(NamedTuple):
    """Work done between two looks, by all workers, and where each is."""

    decisions: int = 0
    tokens: int = 0
    busy_ns: int = 0
    turns: tuple[Turn, ...] = ()


class WorkersMeter:
    """Both workers' progress, summed."""

    def __init__(self, run: Path) -> None:
        self._meters = [_WorkerMeter(run / worker_board(worker)) for worker in Worker]

    def progress(self) -> Progress:
        """What was done since the call before."""
        parts = [meter.progress() for meter in self._meters]
        return Progress(
            sum(part.decisions for part in parts),
            sum(part.tokens for part in parts),
            sum(part.busy_ns for part in parts),
            tuple(turn for part in parts for turn in part.turns),
        )


class _WorkerMeter:
    """One worker's progress."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._reader: BoardReader[WorkerRecord] | None = None
        self._last: WorkerRecord | None = None

    def progress(self) -> Progress:
        now, before = self._latest(), self._last
        self._last = now
        if now is None or before is None:
            return Progress()
        fresh = now.epoch != before.epoch  # not the pid, which may come back
        decisions = now.decisions - (0 if fresh else before.decisions)
        tokens = now.tokens_total - (0 if fresh else before.tokens_total)
        busy_ns = now.busy_ns - (0 if fresh else before.busy_ns)
        turn = Turn(decisions, busy_ns, now.decided_ns, now.latency_last_ns, now.deciding_since_ns)
        return Progress(decisions, tokens, busy_ns, (turn,))

    def _latest(self) -> WorkerRecord | None:
        """The latest record; a board that was replaced by a new file is opened again.

        Where a record is being written just now, the one before stands.
        """
        try:
            inode = self._path.stat().st_ino
            if self._reader is None or inode != self._inode:
                self._reader, self._inode = BoardReader(self._path, WORKER), inode
        except (OSError, BoardError):
            return None
        stamped = self._reader.read()
        return stamped.record if stamped else self._last
