"""What releases promise of their decisions: how long one takes, how many plans it may draw, from the boards of `control`.

Owns: which boards count. Must not know: what follows from it; times are arguments.
"""

from pathlib import Path

from agent.board.change import POLICY, POLICY_BOARD, CandidateState, PolicyRecord
from agent.board.feed import Feed
from agent.board.records import LIMITS, LimitsRecord, Worker, limits_board


class Promise:
    """Reads the boards below `run`, whenever their writers come and go."""

    def __init__(self, run: Path) -> None:
        self._policy: Feed[PolicyRecord] = Feed(run / POLICY_BOARD, POLICY)
        self._limits: list[Feed[LimitsRecord]] = [
            Feed(run / limits_board(worker), LIMITS) for worker in Worker
        ]

    def p99_s(self, mono_ns: int) -> float | None:
        """The 99th percentile in seconds that the driving release promises; None where none drives."""
        selected, found = self._read(mono_ns)
        drives = (limits for limits in found if selected is not None and limits.epoch == selected.epoch)
        return next((limits.decision_p99_ns / 1e9 for limits in drives), None)

    def plan_samples(self, mono_ns: int) -> int:
        """The most plans that the driving release or its candidate may draw for a decision; 1 where there is neither."""
        selected, found = self._read(mono_ns)
        if selected is None:
            return 1
        return max((limits.plan_samples for limits in found if _decides(limits, selected)), default=1)

    def _read(self, mono_ns: int) -> tuple[PolicyRecord | None, list[LimitsRecord]]:
        """Who drives, and what the releases that were loaded last promise."""
        self._policy.news(mono_ns)
        for feed in self._limits:
            feed.news(mono_ns)
        selected = self._policy.latest
        found = [feed.latest.record for feed in self._limits if feed.latest is not None]
        return selected.record if selected else None, found

    def close(self) -> None:
        """Unmap; what was read last stays."""
        self._policy.close()
        for feed in self._limits:
            feed.close()


def _decides(limits: LimitsRecord, selected: PolicyRecord) -> bool:
    """Whether these are the limits of the driver, or of a candidate beside it: it is admitted by what it takes undiminished."""
    candidate = selected.candidate != CandidateState.NONE and limits.digest == selected.candidate_digest
    return candidate or limits.epoch == selected.epoch
