"""The follower: a fixed-rate process that turns the newest plan into actuations, through the gate.

Owns: one tick, from boards to boards. Must not know: policies, networks, disks. A tick opens nothing in the
steady state, waits for nothing and logs nothing; where a board is missing or old it does the safe thing.
`agent.app.follower` is the process around it.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agent.board.change import POLICY, POLICY_BOARD, PolicyRecord
from agent.board.feed import Feed
from agent.board.layout import bytes_from_text
from agent.board.records import (
    ACTUATION,
    ACTUATION_BOARD,
    APPLIED,
    APPLIED_RING,
    APPLIED_SLOTS,
    LIMITS,
    LOOP,
    LOOP_BOARD,
    NO_DIGEST,
    PLAN,
    VEHICLE,
    VEHICLE_BOARD,
    ActuationRecord,
    AppliedRecord,
    LimitsRecord,
    LoopRecord,
    LoopState,
    PlanRecord,
    VehicleRecord,
    Worker,
    bytes_from_spans,
    limits_board,
    plan_board,
)
from agent.board.ring import RingWriter
from agent.board.seqlock import BoardWriter
from agent.control.earlier import earlier
from agent.control.gate import (
    DEVICE_LIMITS,
    VEHICLE_MAX_AGE_NS,
    Command,
    GateLimits,
    GateReason,
    Situation,
    passed,
)
from agent.control.pacing import Histogram, Pacer, Spread
from agent.control.plan import FollowRules, Motion, PlanFollower, Selected
from agent.ports import Clock

_REPORT_TICKS = 10
_FOLLOWS = (LoopState.OK, LoopState.DEGRADED)
"""Where commands are a plan's; in the other states the loop stops by itself."""


class Follower:
    """The boards of the loop and one tick over them."""

    def __init__(self, run: Path, clock: Clock, tick_hz: float, limits: GateLimits = DEVICE_LIMITS) -> None:
        self._clock, self._device_limits = clock, limits
        period_ns = round(1e9 / tick_hz)
        before = earlier(run, clock.mono_ns(), period_ns)
        self._pacer = Pacer(clock, period_ns, before.last_ns, before.missed)
        self._execution = Histogram()
        self._vehicle: Feed[VehicleRecord] = Feed(run / VEHICLE_BOARD, VEHICLE)
        self._policy: Feed[PolicyRecord] = Feed(run / POLICY_BOARD, POLICY)
        self._plans: tuple[Feed[PlanRecord], ...] = tuple(Feed(run / plan_board(w), PLAN) for w in Worker)
        self._limits: tuple[Feed[LimitsRecord], ...] = tuple(
            Feed(run / limits_board(w), LIMITS) for w in Worker
        )
        self._actuation = BoardWriter(run / ACTUATION_BOARD, ACTUATION)
        self._loop = BoardWriter(run / LOOP_BOARD, LOOP)
        self._packer = APPLIED.packer
        self._ring = RingWriter(run / APPLIED_RING, self._packer.size, APPLIED_SLOTS)
        self._follow = PlanFollower(FollowRules())
        self._gate_limits = self._stop_limits = limits
        self._offered = (0, 0)
        self._limited = (0, NO_DIGEST)
        self._last, self._commanded_ns = before.command, 0
        self._speed_mps = 0.0
        self._ticks = before.ticks
        self._interventions = before.interventions
        self._durations = (self._pacer.lateness, self._pacer.period, self._execution)
        self._spreads = [Spread()] * len(self._durations)
        self._realtime = b"none"
        self._misses = bytes_from_spans(())

    def run(self, stopping: Callable[[], bool], realtime: str) -> None:
        """Tick until `stopping`; `realtime` is told to readers as what the kernel granted."""
        self._realtime = bytes_from_text(realtime or "none", 64)
        while not stopping():
            wake = self._pacer.wait()
            if wake.missed:
                self._misses = bytes_from_spans(self._pacer.misses)
            self.tick(wake.deadline_ns)

    def tick(self, due_ns: int) -> None:
        """The turn due at `due_ns`: read what is new, decide what is due, let the gate see it, command, record."""
        now_ns = self._clock.mono_ns()
        known = self._look_at_vehicle(now_ns)
        self._take_plan(now_ns)
        motion = self._follow.step(now_ns, self._speed_mps, self._last.curvature_per_m, blind=not known)
        limits = self._gate_limits if motion.state in _FOLLOWS else self._stop_limits
        command, reason = passed(motion.proposed, self._last, self._situation(now_ns, motion), limits)
        self._command((due_ns, now_ns), command, motion, reason)
        if self._ticks % _REPORT_TICKS == 0:
            self._report(now_ns, motion, self._speed_mps)
        self._execution.add(self._clock.mono_ns() - now_ns)

    def _look_at_vehicle(self, now_ns: int) -> bool:
        """Note the speed; whether the vehicle says it now."""
        self._vehicle.news(now_ns)
        vehicle = self._vehicle.recent(now_ns, VEHICLE_MAX_AGE_NS)
        if vehicle is None or not math.isfinite(vehicle.speed_mps):
            return False
        self._speed_mps = vehicle.speed_mps
        return True

    def _situation(self, now_ns: int, motion: Motion) -> Situation:
        """What the gate judges by: as it was measured, not as the follower sees it."""
        vehicle, watched = self._vehicle.latest, self._policy.latest
        plan = self._follow.plan if motion.decision else None
        return Situation(
            mono_ns=now_ns,
            previous_ns=self._commanded_ns or now_ns - self._pacer.period_ns,
            vehicle_ns=vehicle.mono_ns if vehicle else 0,
            speed_mps=vehicle.record.speed_mps if vehicle else math.nan,
            curvature_per_m=vehicle.record.curvature_per_m if vehicle else math.nan,
            plan_from_ns=plan.start_ns if plan else 0,
            plan_until_ns=plan.end_ns if plan else 0,
            heartbeat_ns=watched.mono_ns if watched else 0,
        )

    def _take_plan(self, now_ns: int) -> None:
        """Offer the follower what the selected worker published since the last tick."""
        self._policy.news(now_ns)
        selected = self._policy.latest
        if selected is None or selected.record.epoch == 0:
            return
        policy = selected.record
        feed = self._plans[policy.worker & 1]
        feed.news(now_ns)
        plan = feed.latest
        if plan is None or (plan.generation, policy.epoch) == self._offered:
            return
        if not self._has_limits(policy, now_ns):
            return
        self._offered = (plan.generation, policy.epoch)
        self._follow.offer(plan.record, Selected(policy.epoch, policy.digest), self._last, now_ns)

    def _has_limits(self, policy: PolicyRecord, now_ns: int) -> bool:
        """Whether the gate holds the limits of the selected release; takes them where they are new."""
        if (policy.epoch, policy.digest) == self._limited:
            return True
        feed = self._limits[policy.worker & 1]
        feed.news(now_ns)
        found = feed.latest
        if found is None or (found.record.epoch, found.record.digest) != (policy.epoch, policy.digest):
            return False
        self._hold_to(found.record)
        self._limited = (policy.epoch, policy.digest)
        return True

    def _hold_to(self, record: LimitsRecord) -> None:
        """Hold the plans to a release's limits; the loop's own stop brakes as hard as the device allows."""
        self._gate_limits = self._device_limits.stricter(GateLimits(*record[2:9]))
        self._stop_limits = replace(
            self._gate_limits,
            max_braking_mps2=self._device_limits.max_braking_mps2,
            max_jerk_mps3=self._device_limits.max_jerk_mps3,
        )
        self._follow.rules = replace(self._follow.rules, latency_ns=max(record.decision_p99_ns, 0))

    def _command(
        self, times_ns: tuple[int, int], command: Command, motion: Motion, reason: GateReason
    ) -> None:
        """Send `command` to the plant and to the record; `times_ns` are when the tick was due, and when it began."""
        self._ticks += 1
        self._interventions += reason is not GateReason.NONE
        self._last = command
        now_ns = self._commanded_ns = times_ns[1]
        self._actuation.write(ActuationRecord(self._ticks, now_ns, *command), now_ns)
        applied = AppliedRecord(self._ticks, *times_ns, motion.decision, *command, int(reason))
        self._ring.push(self._packer.pack(*applied))

    def _report(self, now_ns: int, motion: Motion, speed_mps: float) -> None:
        """Publish the figures; of the durations one after the other is looked at anew, for that costs most."""
        turn = self._ticks // _REPORT_TICKS % len(self._durations)
        self._spreads[turn] = self._durations[turn].spread
        lateness, period, execution = self._spreads
        record = LoopRecord(
            int(motion.state),
            self._pacer.period_ns,
            self._ticks,
            self._pacer.missed,
            *lateness,
            *period,
            *execution,
            gate_interventions=self._interventions,
            plans_rejected=self._follow.rejected,
            decision=motion.decision,
            plan_age_ns=motion.plan_age_ns,
            speed_mps=speed_mps,
            realtime=self._realtime,
            recent_misses=self._misses,
        )
        self._loop.write(record, now_ns)
