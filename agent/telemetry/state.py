"""The device as its boards show it, for `state` on the wire and for `roskva-agent status`.

Owns: which board feeds which figure, and how old a board may be before its writer counts as gone.
Must not know: who asks.
"""

from dataclasses import dataclass
from pathlib import Path

from agent.board.change import POLICY, POLICY_BOARD, UPDATE, UPDATE_BOARD, PolicyRecord, UpdateRecord
from agent.board.feed import Feed
from agent.board.layout import text_from
from agent.board.records import (
    LOOP,
    LOOP_BOARD,
    POWER,
    POWER_BOARD,
    WORKER,
    LoopRecord,
    PowerRecord,
    Worker,
    WorkerRecord,
    digest_from_raw,
    worker_board,
)
from agent.ports import Clock, Disk
from agent.power.limits import Limits
from agent.telemetry.energy import EnergyWatch
from agent.telemetry.figures import loop_figures, policy_figures, power_figures
from agent.update.slots import Pointer, read_pointer
from models.errors import MalformedError
from models.wire.messages import (
    DeviceState,
    HostFigures,
    LoopFigures,
    PolicyFigures,
    PowerFigures,
    UpdatePhase,
    UpdateStatus,
)

_ALIVE_NS = 3_000_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while the device is up."""

    boot: str
    hardware: str
    emulated: bool


class StateReader:
    """Reads boards in `run` and the pointer on `disk`; whatever is missing is left out."""

    def __init__(self, run: Path, disk: Disk, clock: Clock, limits: Limits) -> None:
        self._disk, self._clock, self._limits = disk, clock, limits
        self._energy = EnergyWatch(run)
        self._loop: Feed[LoopRecord] = Feed(run / LOOP_BOARD, LOOP)
        self._power: Feed[PowerRecord] = Feed(run / POWER_BOARD, POWER)
        self._policy: Feed[PolicyRecord] = Feed(run / POLICY_BOARD, POLICY)
        self._update: Feed[UpdateRecord] = Feed(run / UPDATE_BOARD, UPDATE)
        self._workers: tuple[Feed[WorkerRecord], ...] = tuple(
            Feed(run / worker_board(worker), WORKER) for worker in Worker
        )

    def state(
        self, who: Identity, update: UpdateStatus | None = None, host: HostFigures | None = None
    ) -> DeviceState:
        """Everything now; `update` where the caller knows better than `update.board`, `host` where it looked.

        Joules a decision and a metre are of the time since the calls before.
        """
        now_ns, pointer = self._clock.mono_ns(), self._pointer()
        return DeviceState(
            utc_ns=self._clock.utc_ns(),
            boot=who.boot,
            hardware=who.hardware,
            live_digest=pointer.live_digest,
            fallback_digest=pointer.fallback_digest,
            on_trial=pointer.trial,
            update=update or self._update_status(now_ns),
            loop=self._loop_figures(now_ns),
            power=self._power_figures(now_ns),
            policy=self._policy_figures(now_ns),
            emulated=who.emulated,
            envelope_sequence=self._limits.ordered(now_ns).sequence,
            host=host,
        )

    def broker_connected(self) -> bool | None:
        """What `manage` last said of the broker; None where it does not run."""
        now_ns = self._clock.mono_ns()
        self._update.news(now_ns)
        record = self._update.recent(now_ns, _ALIVE_NS)
        return bool(record.broker_connected) if record else None

    def _pointer(self) -> Pointer:
        try:
            return read_pointer(self._disk)
        except (MalformedError, OSError):
            return Pointer()

    def _loop_figures(self, now_ns: int) -> LoopFigures | None:
        self._loop.news(now_ns)
        record = self._loop.recent(now_ns, _ALIVE_NS)
        return loop_figures(record, self._energy.odometer_m(now_ns)) if record else None

    def _power_figures(self, now_ns: int) -> PowerFigures | None:
        self._power.news(now_ns)
        record = self._power.recent(now_ns, _ALIVE_NS)
        if record is None:
            return None
        source, shares = self._limits.limit(now_ns).source.value, self._energy.look(now_ns, record.energy_j)
        return power_figures(record, source, shares)

    def _policy_figures(self, now_ns: int) -> PolicyFigures | None:
        self._policy.news(now_ns)
        policy = self._policy.recent(now_ns, _ALIVE_NS)
        if policy is None:
            return None
        worker = self._workers[policy.worker & 1]
        worker.news(now_ns)
        record = worker.recent(now_ns, _ALIVE_NS)
        return policy_figures(record) if record else None

    def _update_status(self, now_ns: int) -> UpdateStatus:
        self._update.news(now_ns)
        if self._update.latest is None:
            return UpdateStatus(UpdatePhase.IDLE)
        record, phases = self._update.latest.record, {phase.value: phase for phase in UpdatePhase}
        return UpdateStatus(
            phase=phases.get(text_from(record.phase), UpdatePhase.IDLE),
            release_digest=digest_from_raw(record.digest) or "",
            bytes_done=record.bytes_done,
            bytes_total=record.bytes_total,
            reason=text_from(record.reason),
            detail=text_from(record.detail),
        )

    def close(self) -> None:
        """Unmap."""
        self._limits.close()
        self._energy.close()
        self._loop.close()
        self._power.close()
        self._policy.close()
        self._update.close()
        for feed in self._workers:
            feed.close()
