"""The telemetry thread: rings and events in, batches into the spool, the spool to the server.

Owns: the rhythm. Must not know: how decisions are joined, stored or sent.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from agent.board.feed import Feed
from agent.board.records import (
    APPLIED_RING,
    LOOP,
    LOOP_BOARD,
    POWER,
    POWER_BOARD,
    LoopRecord,
    PowerRecord,
    Worker,
    decisions_ring,
)
from agent.ports import Clock
from agent.telemetry.batch import Batcher
from agent.telemetry.courier import Courier
from agent.telemetry.events import EventLog
from agent.telemetry.figures import loop_figures, power_figures
from agent.telemetry.sources import AppliedFeed, DecisionFeed
from agent.telemetry.spool import Spool
from models.wire.messages import DecisionRecord, EventRecord, TelemetryBatch, encode

_TICK_S = 0.1
_SYNC_S = 2.0
_PER_BATCH = 64
"""Decisions and events in one batch, at most; at 4 KiB each, far below the wire's limit."""
_FRESH_NS = 3_000_000_000


@dataclass(frozen=True, slots=True)
class TelemetryWorld:
    """What the recorder works with."""

    run: Path
    boot: str
    clock: Clock
    spool: Spool
    courier: Courier
    events: EventLog
    batch_s: float
    stopping: threading.Event


class Recorder:
    """Call `loop` on a thread of its own."""

    def __init__(self, world: TelemetryWorld) -> None:
        self._world, self._batcher = world, Batcher()
        self._decisions = tuple(DecisionFeed(world.run / decisions_ring(worker)) for worker in Worker)
        self._ticks = AppliedFeed(world.run / APPLIED_RING)
        self._loop: Feed[LoopRecord] = Feed(world.run / LOOP_BOARD, LOOP)
        self._power: Feed[PowerRecord] = Feed(world.run / POWER_BOARD, POWER)
        self._reported_lost = 0

    @property
    def lost(self) -> int:
        """Decisions lost before the server had them, since the boot as far as the rings know."""
        rings = sum(feed.lost for feed in self._decisions)
        return rings + self._batcher.lost + self._world.spool.dropped_decisions

    def loop(self) -> None:
        """Until the process stops; then everything read is in the spool, synced."""
        record_ns = sync_ns = 0
        while not self._world.stopping.wait(_TICK_S):
            now_ns = self._world.clock.mono_ns()
            self._read_meter(now_ns)
            if now_ns >= record_ns:
                record_ns = now_ns + int(self._world.batch_s * 1e9)
                self.record(now_ns)
            if now_ns >= sync_ns:
                sync_ns = now_ns + int(_SYNC_S * 1e9)
                self.secure()
            self._world.courier.tick()
        self.close()

    def record(self, now_ns: int) -> None:
        """Read everything once and put what is complete into the spool."""
        for feed in self._decisions:
            for decision in feed.take():
                self._batcher.decided(decision, now_ns)
        for tick in self._ticks.take():
            self._batcher.applied(tick)
        done = self._batcher.finished(now_ns, self._world.clock.utc_ns() - now_ns)
        events = self._world.events.drain(_PER_BATCH)
        if not done and not events and self.lost == self._reported_lost:
            return
        for at in range(0, max(len(done), 1), _PER_BATCH):
            self._put(done[at : at + _PER_BATCH], events if at == 0 else ())
        self._reported_lost = self.lost

    def secure(self) -> None:
        """Sync the spool, and only then give back what it was made of: a process killed before reads that again.

        What was spooled and is read again is sent twice; the server takes each decision once.
        """
        self._world.spool.sync()
        for feed in self._decisions:
            feed.release(self._batcher.is_waiting)
        self._ticks.release(self._batcher.is_waiting)

    def close(self) -> None:
        """Take in what is complete, sync, unmap; what is not complete yet stays in the rings for the next process."""
        self.record(self._world.clock.mono_ns())
        self.secure()
        self._ticks.close()
        self._loop.close()
        self._power.close()
        for feed in self._decisions:
            feed.close()

    def _put(self, decisions: list[DecisionRecord], events: tuple[EventRecord, ...]) -> None:
        world, now_ns = self._world, self._world.clock.mono_ns()
        self._loop.news(now_ns)
        loop, power = self._loop.recent(now_ns, _FRESH_NS), self._power.recent(now_ns, _FRESH_NS)
        batch = TelemetryBatch(
            boot=world.boot,
            sequence=world.spool.next_sequence,
            utc_ns=world.clock.utc_ns(),
            decisions=tuple(decisions),
            events=events,
            loop=loop_figures(loop) if loop else None,
            power=power_figures(power) if power else None,
            decisions_lost=self.lost,
        )
        world.spool.append(encode(batch), len(decisions), len(events))

    def _read_meter(self, now_ns: int) -> None:
        stamped = self._power.news(now_ns)
        if stamped is not None:
            self._batcher.metered(stamped.mono_ns, stamped.record.energy_j)
