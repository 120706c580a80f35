"""The line to `control`: numbered orders out on `swap.board`, what became of them in from `policy.board`.

Owns: the order numbers, which go on after a restart, the samples of a trial, and the words on what a candidate planned in shadow.
Must not know: slots, releases, when an order is due.
"""

import math
from pathlib import Path

from agent.board.change import (
    POLICY,
    POLICY_BOARD,
    SWAP,
    SWAP_BOARD,
    CandidateState,
    PolicyRecord,
    SwapOrder,
    SwapRecord,
)
from agent.board.feed import Feed
from agent.board.layout import bytes_from_text, text_from
from agent.board.records import (
    LOOP,
    LOOP_BOARD,
    VEHICLE,
    VEHICLE_BOARD,
    WORKER,
    LoopRecord,
    LoopState,
    VehicleRecord,
    Worker,
    WorkerRecord,
    raw_from_digest,
    worker_board,
)
from agent.board.seqlock import BoardWriter
from agent.ports import Clock
from agent.update.trial import TrialSample
from models.digest import Digest

_ALIVE_NS = 3_000_000_000
"""A board older than this has lost its writer."""
_PLANT_NS = 1_000_000_000


class ControlLine:
    """Speaks to `control` through the boards in `run`."""

    def __init__(self, run: Path, clock: Clock) -> None:
        self._clock = clock
        self._policy: Feed[PolicyRecord] = Feed(run / POLICY_BOARD, POLICY)
        self._loop: Feed[LoopRecord] = Feed(run / LOOP_BOARD, LOOP)
        self._vehicle: Feed[VehicleRecord] = Feed(run / VEHICLE_BOARD, VEHICLE)
        self._workers: tuple[Feed[WorkerRecord], ...] = tuple(
            Feed(run / worker_board(worker), WORKER) for worker in Worker
        )
        earlier = _last_request(run, clock.mono_ns())
        self._swap = BoardWriter(run / SWAP_BOARD, SWAP)
        policy = self.policy()
        self._request = max(earlier, policy.request if policy else 0)

    def order(self, order: SwapOrder, digest: Digest | None, slot: str) -> int:
        """Publish an order; its number comes back on `policy.board` once it is taken."""
        self._request += 1
        record = SwapRecord(self._request, order, raw_from_digest(digest), bytes_from_text(slot, 16))
        self._swap.write(record, self._clock.mono_ns())
        return self._request

    def answer(self) -> PolicyRecord | None:
        """What `control` says after it took the latest order; None before that, or where it does not run."""
        policy = self.policy()
        return policy if policy is not None and policy.request >= self._request else None

    def policy(self) -> PolicyRecord | None:
        """What `control` says now, None where it does not run."""
        now_ns = self._clock.mono_ns()
        self._policy.news(now_ns)
        return self._policy.recent(now_ns, _ALIVE_NS)

    def sample(self, digest: Digest) -> TrialSample | None:
        """How `digest` does, None where `control` does not run or has not taken the latest order."""
        policy, now_ns = self.answer(), self._clock.mono_ns()
        if policy is None:
            return None
        self._loop.news(now_ns)
        self._vehicle.news(now_ns)
        loop = self._loop.recent(now_ns, _ALIVE_NS)
        return TrialSample(
            mono_ns=now_ns,
            candidate=CandidateState(policy.candidate),
            drives=bool(policy.driving) and policy.digest == raw_from_digest(digest),
            plant_alive=self._vehicle.recent(now_ns, _PLANT_NS) is not None,
            loop=LoopState(loop.state) if loop else LoopState.WAITING,
            reason=text_from(policy.reason),
            detail=text_from(policy.detail),
        )

    def shadow(self, digest: Digest) -> str:
        """In words, how the plans that `digest` made in shadow differed from those driven on; empty where none was compared."""
        now_ns = self._clock.mono_ns()
        for feed in self._workers:
            feed.news(now_ns)
            record = feed.recent(now_ns, _ALIVE_NS)
            if record is not None and record.digest == raw_from_digest(digest) and record.compared:
                return _difference(record)
        return ""

    def close(self) -> None:
        """Unmap everything."""
        self._policy.close()
        self._loop.close()
        self._vehicle.close()
        for feed in self._workers:
            feed.close()
        self._swap.close()


def _difference(record: WorkerRecord) -> str:
    """A plan that ends sooner leads nowhere after 1 or 3 s."""
    figures = (
        (record.acceleration_rms_mps2, ".2f", "m/s²"),
        (record.curvature_rms_per_m, ".4f", "1/m"),
        (record.displacement_1s_m, ".2f", "m after 1 s"),
        (record.displacement_3s_m, ".2f", "m after 3 s"),
    )
    known = ", ".join(f"{value:{form}} {unit}" for value, form, unit in figures if math.isfinite(value))
    return f"{record.compared} plans in shadow; rms differences {known}"


def _last_request(run: Path, mono_ns: int) -> int:
    """The number of the last order of whoever wrote the board before."""
    feed: Feed[SwapRecord] = Feed(run / SWAP_BOARD, SWAP)
    feed.news(mono_ns)
    request = feed.latest.record.request if feed.latest else 0
    feed.close()
    return request
