"""What a policy worker tells the others: plans, figures, decisions.

Owns: the worker's four files (plan, limits and worker board, decision ring) and the counts in them.
Must not know: policies, what is driven.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from agent.board.layout import bytes_from_text
from agent.board.records import (
    DECISION_SLOT_BYTES,
    DECISION_SLOTS,
    LIMITS,
    PLAN,
    WORKER,
    LimitsRecord,
    PlanRecord,
    Worker,
    WorkerRecord,
    WorkerState,
    decisions_ring,
    limits_board,
    plan_board,
    raw_from_digest,
    worker_board,
)
from agent.board.ring import RingWriter
from agent.board.seqlock import BoardWriter
from agent.control.divergence import Diverged, Divergence
from models.contract import PolicyContract, UnicycleActions
from models.digest import Digest
from models.errors import ContractMismatchError, RoskvaError
from models.release.manifest import ReleaseLimits
from models.runtime.policy import Decision
from models.wire.messages import DecisionRecord, encode

_KEPT_LATENCIES = 256
_PLAN_DIGITS = 7
"""Decimals of a waypoint in a decision record: finer than float32 is at these magnitudes' use."""
_REASONING_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class Post:
    """The place that a worker was given, and what for."""

    place: Worker
    slot: str
    digest: Digest
    epoch: int
    pid: int
    candidate: bool = False
    """Whether it has to be admitted first, within a candidate's limits."""


class Publisher:
    """A worker's boards. Its figures start at zero with each worker."""

    def __init__(self, run: Path, post: Post) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self._post = post
        self._raw = raw_from_digest(post.digest)
        self._worker = BoardWriter(run / worker_board(post.place), WORKER)
        self._limits = BoardWriter(run / limits_board(post.place), LIMITS)
        self._plan = BoardWriter(run / plan_board(post.place), PLAN)
        self._ring = RingWriter(run / decisions_ring(post.place), DECISION_SLOT_BYTES, DECISION_SLOTS)
        self._latencies = _Latencies()
        self._figures = _first_figures(post, self._raw)
        self._told = self._figures.record()
        self._promised_ns = 0

    def loading(self, mono_ns: int) -> None:
        """The worker lives and has not loaded yet."""
        self._write(replace(self._figures, state=WorkerState.LOADING), mono_ns)

    def loaded(self, version: str, precision: str, mono_ns: int) -> None:
        """The release is loaded and reproduces its golden outputs; its latency is not admitted yet."""
        known = replace(self._figures, version=version, precision=precision)
        self._write(replace(known, state=WorkerState.SHADOW), mono_ns)

    def ready(self, mono_ns: int) -> None:
        """What was loaded may drive."""
        self._write(replace(self._figures, state=WorkerState.READY), mono_ns)

    def refused(self, error: RoskvaError, mono_ns: int) -> None:
        """The release cannot drive here, or no longer, for the reason in `error`."""
        told = replace(self._figures, reason=error.code, detail=str(error))
        self._write(replace(told, state=WorkerState.REFUSED), mono_ns)

    def alive(self, mono_ns: int) -> None:
        """Say the same again, with a fresh stamp."""
        self._write(self._figures, mono_ns)

    def promised(self, contract: PolicyContract, limits: ReleaseLimits, mono_ns: int) -> None:
        """Publish what the gate has to hold the release to.

        Raises `ContractMismatchError` for joints, and for a limit that is not a finite number above zero.
        """
        actions = contract.action_space
        if not isinstance(actions, UnicycleActions):
            raise ContractMismatchError(
                f"policy {contract.name} moves joints; this loop drives acceleration and curvature"
            )
        _check_limits(limits)
        record = LimitsRecord(
            epoch=self._post.epoch,
            digest=self._raw,
            max_acceleration_mps2=actions.max_acceleration_mps2,
            max_braking_mps2=actions.max_braking_mps2,
            max_jerk_mps3=limits.max_jerk_mps3,
            max_curvature_per_m=actions.max_curvature_per_m,
            max_curvature_rate_per_ms=actions.max_curvature_per_m * _SWEEPS_PER_S,
            max_lateral_mps2=limits.max_lateral_mps2,
            max_speed_mps=limits.max_speed_mps,
            decision_p99_ns=round(limits.decision_p99_ms * 1e6),
            max_decision_j=math.nan
            if limits.max_joules_per_decision is None
            else limits.max_joules_per_decision,
            plan_samples=contract.sampled.samples,
        )
        self._promised_ns = record.decision_p99_ns
        self._limits.write(record, mono_ns)

    def plan(self, decision: Decision, sequence: int, dt_ns: int, mono_ns: int) -> PlanRecord:
        """Put the plan of decision `sequence` on the board, for the follower to take or not; returns what stands there."""
        record = PlanRecord(
            decision=sequence,
            epoch=self._post.epoch,
            observation_ns=decision.observation_ns,
            decided_ns=mono_ns,
            dt_ns=dt_ns,
            steps=len(decision.plan),
            digest=self._raw,
            waypoints=np.ascontiguousarray(decision.plan, "<f4").tobytes(),
        )
        self._plan.write(record, mono_ns)
        return record

    def drives(self) -> None:
        """From now on latencies are those of the driver: what a shadow took, at other knobs or beside another, is not."""
        self._latencies = _Latencies()

    def decided(
        self, decision: Decision, times: "Times", mono_ns: int, diverged: Divergence | None = None
    ) -> None:
        """Count one decision; `diverged` is how its plan differs from the one that is driven on, where it is a shadow's."""
        before, latency_ns = self._figures, times.latency_ns
        after = replace(
            before,
            decisions=before.decisions + 1,
            slow=before.slow + (latency_ns > self._promised_ns),
            tokens_total=before.tokens_total + len(decision.tokens),
            busy_ns=before.busy_ns + latency_ns,
            latency_last_ns=latency_ns,
            decided_ns=mono_ns,
            quantiles=self._latencies.with_one(decision, times),
            sentence=decision.reasoning,
            diverged=before.diverged.after(diverged) if diverged else before.diverged,
        )
        self._write(after, mono_ns)

    def dropped(self, count: int) -> None:
        """Count observations that no decision was made on; told with the next write."""
        self._figures = replace(self._figures, dropped=self._figures.dropped + count)

    def failed(self, busy_ns: int, mono_ns: int) -> None:
        """Count one decision that was made for nothing in `busy_ns`, and tell it at once."""
        before = self._figures
        self._write(
            replace(
                before,
                failed=before.failed + 1,
                dropped=before.dropped + 1,
                busy_ns=before.busy_ns + busy_ns,
            ),
            mono_ns,
        )

    def record(self, record: DecisionRecord) -> None:
        """Queue a decision for the fleet; where the ring is full it is counted there.

        One that is too long is told without its words; if that is too long as well, it is counted as dropped.
        """
        told = encode(record)
        if len(told) > DECISION_SLOT_BYTES:
            told = encode(msgspec.structs.replace(record, reasoning=""))
        if len(told) > DECISION_SLOT_BYTES:
            self.dropped(1)
            return
        self._ring.push(told)

    def begins(self, mono_ns: int) -> None:
        """A decision is under way from now on: the governor counts what it takes."""
        self._worker.write(self._told._replace(deciding_since_ns=mono_ns), mono_ns)

    def _write(self, figures: "Figures", mono_ns: int) -> None:
        self._figures, self._told = figures, figures.record()
        self._worker.write(self._told, mono_ns)


def _check_limits(limits: ReleaseLimits) -> None:
    for name in (
        "decision_p99_ms",
        "max_speed_mps",
        "max_lateral_mps2",
        "max_jerk_mps3",
        "max_joules_per_decision",
    ):
        value: float | None = getattr(limits, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ContractMismatchError(f"{name} of the release is {value:g}, which is no limit")


_SWEEPS_PER_S = 2.0
"""From straight to full curvature in half a second: no release states a rate yet, steering systems have one."""


class Quantiles(NamedTuple):
    """Of the last decisions: how long they took, how long their observations waited, how long each stage took."""

    latency_p50_ns: int = 0
    latency_p99_ns: int = 0
    queue_p50_ns: int = 0
    queue_p99_ns: int = 0
    visual_p50_ns: int = 0
    visual_p99_ns: int = 0
    reason_p50_ns: int = 0
    reason_p99_ns: int = 0
    action_p50_ns: int = 0
    action_p99_ns: int = 0


class _Latencies:
    """The last latencies by stage, in the order of `Quantiles`."""

    def __init__(self) -> None:
        self._rows = np.zeros((_KEPT_LATENCIES, len(Quantiles._fields) // 2), np.int64)
        self._count = 0

    def with_one(self, decision: Decision, times: "Times") -> Quantiles:
        """With one more decision: of n in order, those at n/2 and 99·n/100."""
        stages = decision.latency
        row = (times.latency_ns, times.queue_ns, stages.visual_ns, stages.reason_ns, stages.action_ns)
        self._rows[self._count % _KEPT_LATENCIES] = row
        self._count += 1
        count = min(self._count, _KEPT_LATENCIES)
        ordered = np.sort(self._rows[:count], axis=0)
        return Quantiles(*ordered[[count // 2, count * 99 // 100]].T.ravel().tolist())


@dataclass(frozen=True, slots=True)
class Figures:
    """`WorkerRecord` with its texts still texts."""

    pid: int
    epoch: int
    state: WorkerState
    digest: bytes
    decisions: int = 0
    slow: int = 0
    failed: int = 0
    dropped: int = 0
    tokens_total: int = 0
    busy_ns: int = 0
    latency_last_ns: int = 0
    quantiles: Quantiles = field(default_factory=Quantiles)
    reason: str = ""
    detail: str = ""
    version: str = ""
    precision: str = ""
    sentence: str = ""
    diverged: Diverged = field(default_factory=Diverged)
    decided_ns: int = 0

    def record(self) -> WorkerRecord:
        """As it goes on the board."""
        return WorkerRecord(
            self.pid,
            self.epoch,
            int(self.state),
            self.digest,
            self.decisions,
            self.slow,
            self.failed,
            self.dropped,
            self.tokens_total,
            self.busy_ns,
            self.latency_last_ns,
            self.quantiles.latency_p50_ns,
            self.quantiles.latency_p99_ns,
            bytes_from_text(self.reason, 48),
            bytes_from_text(self.detail, 160),
            bytes_from_text(self.version, 32),
            bytes_from_text(self.precision, 16),
            bytes_from_text(self.sentence, 256),
            self.quantiles.queue_p50_ns,
            self.quantiles.queue_p99_ns,
            self.quantiles.visual_p50_ns,
            self.quantiles.visual_p99_ns,
            self.quantiles.reason_p50_ns,
            self.quantiles.reason_p99_ns,
            self.quantiles.action_p50_ns,
            self.quantiles.action_p99_ns,
            self.diverged.plans,
            *self.diverged.rms,
            deciding_since_ns=0,
            decided_ns=self.decided_ns,
        )


def _first_figures(post: Post, raw: bytes) -> Figures:
    return Figures(pid=post.pid, epoch=post.epoch, state=WorkerState.LOADING, digest=raw)


class Times(NamedTuple):
    """When a decision was made: UTC of its observation, how long that waited, how long the decision took then."""

    observed_utc_ns: int
    queue_ns: int
    latency_ns: int


def record_of(decision: Decision, sequence: int, times: Times) -> DecisionRecord:
    """What the fleet learns of a decision before it is known whether and how it was executed."""
    rows = decision.plan.astype(float).round(_PLAN_DIGITS).tolist()
    return DecisionRecord(
        sequence=sequence,
        release_digest=decision.release_digest,
        observed_utc_ns=times.observed_utc_ns,
        latency_ns=times.latency_ns,
        visual_ns=decision.latency.visual_ns,
        reason_ns=decision.latency.reason_ns,
        action_ns=decision.latency.action_ns,
        tokens=len(decision.tokens),
        reasoning=decision.reasoning[:_REASONING_CHARACTERS],
        plan=tuple((acceleration, curvature) for acceleration, curvature in rows),
        flow_steps=decision.flow_steps,
        seed=decision.seed,
        ticks=0,
        first_tick_utc_ns=0,
        applied_acceleration_mps2=0.0,
        applied_curvature_per_m=0.0,
        interventions=0,
        energy_j=0.0,
        queue_ns=times.queue_ns,
        plan_samples=decision.plan_samples,
    )
