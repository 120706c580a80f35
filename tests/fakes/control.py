"""A `control` that drives nothing: it obeys `swap.board` on `policy.board`, as the real one's table says.

`refuses`, `fails_in_trial` and `fails_before_keep` name an error code that the candidate is to end with; the last one shows
only after the order to keep it was given. Its worker says that twelve of its plans were compared.
"""

import threading
import time
from pathlib import Path
from typing import Self

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
from agent.board.records import (
    LOOP,
    LOOP_BOARD,
    NO_DIGEST,
    VEHICLE,
    VEHICLE_BOARD,
    WORKER,
    LoopRecord,
    LoopState,
    VehicleRecord,
    Worker,
    bytes_from_spans,
    worker_board,
)
from agent.board.seqlock import BoardWriter


class FakeControl:
    """A thread that turns every 10 ms; a context manager. Where time is not real, call `turn` instead."""

    def __init__(
        self, run: Path, live: bytes = NO_DIGEST, refuses: str = "", fails_in_trial: str = ""
    ) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self.live, self.refuses, self.fails_in_trial = live, refuses, fails_in_trial
        self.fails_before_keep = ""
        self.puts_off = 0
        self.orders: list[SwapOrder] = []
        self.safe = threading.Event()
        self.safe.set()
        self._swap: Feed[SwapRecord] = Feed(run / SWAP_BOARD, SWAP)
        self._policy = BoardWriter(run / POLICY_BOARD, POLICY)
        self._loop = BoardWriter(run / LOOP_BOARD, LOOP)
        self._vehicle = BoardWriter(run / VEHICLE_BOARD, VEHICLE)
        self._worker = BoardWriter(run / worker_board(Worker.B), WORKER)
        self._state, self._candidate, self._before = CandidateState.NONE, NO_DIGEST, live
        self._request, self._reason, self._ready = 0, "", False
        self._shown = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self.turn(time.monotonic_ns())

    def turn(self, now_ns: int) -> None:
        """Obey the order on the board, or go one step on."""
        self._swap.news(now_ns)
        order = self._swap.latest
        if order is not None and order.record.request != self._request:
            self._obey(order.record)
        elif self._state is CandidateState.LOADING:
            self._state, self._shown = CandidateState.SHADOW, 20
        elif self._state is CandidateState.SHADOW and self._shown:
            self._shown -= 1  # long enough to be seen by who looks ten times a second
        elif self._state is CandidateState.SHADOW:
            self._reason = "not-now" if self.puts_off else self.refuses
            self.puts_off = max(0, self.puts_off - 1)
            self._state = CandidateState.REFUSED if self._reason else CandidateState.READY
        elif self._ready and self.safe.is_set():
            self._ready, self._state = False, CandidateState.DRIVING
            self._before, self.live = self.live, self._candidate
        elif self._state is CandidateState.DRIVING and self.fails_in_trial:
            self._fail(self.fails_in_trial)
        self._publish(now_ns)

    def _fail(self, reason: str) -> None:
        self._state, self._reason, self.live = CandidateState.FAILED, reason, self._before

    def _obey(self, order: SwapRecord) -> None:
        self._request = order.request
        self.orders.append(SwapOrder(order.order))
        if order.order == SwapOrder.LOAD:
            self._state, self._candidate, self._reason = CandidateState.LOADING, order.digest, ""
        elif order.order == SwapOrder.GO and self._state is CandidateState.READY:
            self._ready = True
        elif order.order == SwapOrder.GO and self._state is CandidateState.NONE and order.digest == self.live:
            self._state, self._candidate = CandidateState.DRIVING, order.digest
        elif order.order == SwapOrder.KEEP and self.fails_before_keep:
            self._fail(self.fails_before_keep)
        elif order.order == SwapOrder.KEEP and self._state is CandidateState.DRIVING:
            self._state, self._candidate = CandidateState.NONE, NO_DIGEST
        elif order.order == SwapOrder.RETURN and self._state is CandidateState.DRIVING:
            self._state, self.live = CandidateState.FAILED, self._before
        elif order.order == SwapOrder.DROP:
            self._state, self._candidate, self._ready = CandidateState.NONE, NO_DIGEST, False

    def _publish(self, now_ns: int) -> None:
        driving = int(self.live != NO_DIGEST)
        self._policy.write(
            PolicyRecord(
                0,
                1,
                self.live,
                driving,
                self._request,
                int(self._state),
                self._candidate,
                0,
                self._reason.encode(),
                b"as the test asked",
            ),
            now_ns,
        )
        state = LoopState.OK if driving else LoopState.WAITING
        self._loop.write(_loop_in(state), now_ns)
        blank = WORKER.record_from(WORKER.packer.unpack(bytes(WORKER.packer.size)))
        self._worker.write(blank._replace(digest=self._candidate, compared=12), now_ns)
        self._vehicle.write(VehicleRecord(now_ns, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 1, 0), now_ns)


def _loop_in(state: LoopState) -> LoopRecord:
    blank = LOOP.record_from(LOOP.packer.unpack(bytes(LOOP.packer.size)))
    return blank._replace(
        state=state,
        tick_period_ns=10_000_000,
        ticks=1,
        speed_mps=5.0,
        realtime=b"none",
        recent_misses=bytes_from_spans(()),
    )
