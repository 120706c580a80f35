"""Which worker is followed, and what a supervisor before this one left of that on the boards.

Owns: the selection; from which epoch and order number the next supervisor counts on. Must not know: who selects, and when.
"""

from dataclasses import dataclass
from pathlib import Path

from agent.board.change import POLICY, POLICY_BOARD, PolicyRecord
from agent.board.feed import Feed
from agent.board.records import WORKER, Worker, WorkerRecord, raw_from_digest, worker_board


@dataclass(frozen=True, slots=True)
class Selection:
    """What the follower is told to follow: the worker and its epoch when it was last ready."""

    place: Worker
    epoch: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What a supervisor before this one left on the boards: its last epoch and order, and what it had selected."""

    epoch: int
    request: int
    selection: Selection


def left_over(run: Path, mono_ns: int) -> LeftOver:
    """Epochs go on above every epoch that any worker had; the last selection stays until another worker is ready."""
    policy: Feed[PolicyRecord] = Feed(run / POLICY_BOARD, POLICY)
    policy.news(mono_ns)
    epochs = [0]
    for place in Worker:
        worker: Feed[WorkerRecord] = Feed(run / worker_board(place), WORKER)
        worker.news(mono_ns)
        if worker.latest:
            epochs.append(worker.latest.record.epoch)
        worker.close()
    policy.close()
    if policy.latest is None:
        return LeftOver(max(epochs), 0, Selection(Worker.A, 0, raw_from_digest(None)))
    last = policy.latest.record
    selection = Selection(Worker(last.worker & 1), last.epoch, last.digest)
    return LeftOver(max(*epochs, last.epoch), last.request, selection)
