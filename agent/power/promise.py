"""What the driving release promises of its decisions' length, from the boards of `control`.

Owns: which board counts. Must not know: what follows from it; times are arguments.
"""

from pathlib import Path

from agent.board.change import POLICY, POLICY_BOARD, PolicyRecord
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
        self._policy.news(mono_ns)
        for feed in self._limits:
            feed.news(mono_ns)
        driving = self._policy.latest
        found = (feed.latest.record for feed in self._limits if feed.latest is not None)
        return next(
            (
                limits.decision_p99_ns / 1e9
                for limits in found
                if driving is not None and limits.epoch == driving.record.epoch
            ),
            None,
        )

    def close(self) -> None:
        """Unmap; what was read last stays."""
        self._policy.close()
        for feed in self._limits:
            feed.close()
