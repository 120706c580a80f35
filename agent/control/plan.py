"""Following: which waypoint is due now, how one plan takes over from another, and when to stop.

Owns: the checks on a plan, the blend, the table of `LoopState`, the controlled stop.
Must not know: boards, clocks, actuators, the gate. Times come in; commands go out.

A plan is a function of absolute time, so waypoints that passed while the policy computed are simply never
asked for, and past its end it has no value: nothing here extrapolates.
"""

import math
import struct
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate
from typing import NamedTuple

from agent.board.records import HORIZON_MAX, LoopState, PlanRecord
from agent.control.gate import BRAKING_MPS2, REST, Command

_S = 1_000_000_000
STANDING_MPS = 0.05
"""At or below this speed the vehicle stands."""
_FASTEST_MPS = 100.0


@dataclass(frozen=True, slots=True)
class FollowRules:
    """When a plan is too old, and how hard the loop brakes by itself.

    `latency_ns` is what the policy may take to decide: it is granted on top of both ages, up to half a plan's horizon.
    `margin_ns` is the horizon that must be left beyond the time that a stop takes. A new plan is blended in over `blend_steps`
    of its steps, what it steers over `steer_blend_steps`; where it brakes, and harder than what is commanded, over
    `brake_blend_ns`, or for as long as `brake_jerk_mps3` takes (decision 23).
    """

    latency_ns: int = 0
    aging_ns: int = 1 * _S
    stale_ns: int = 3 * _S
    margin_ns: int = 3 * _S // 10
    slow_down_mps2: float = 0.5
    stop_mps2: float = 3.0
    full_stop_mps2: float = 5.0
    blend_steps: int = 3
    steer_blend_steps: int = 2
    brake_blend_ns: int = _S // 10
    brake_jerk_mps3: float = 30.0

    def granted_ns(self, horizon_ns: int) -> int:
        """What a plan of this horizon may be older for the time that deciding takes."""
        return min(self.latency_ns, horizon_ns // 2)

    def fresh_ns(self, horizon_ns: int) -> int:
        """Up to which age a plan of this horizon is called fresh."""
        return self.aging_ns + self.granted_ns(horizon_ns)


class Freshness(Enum):
    """What a plan is still good for."""

    ABSENT = auto()
    FRESH = auto()
    AGING = auto()
    """Late, or little more horizon left than a stop needs."""
    STALE = auto()
    """The time to stop, while the plan still says where."""
    SPENT = auto()
    """Its horizon is over."""


_NEXT: dict[tuple[LoopState, Freshness], LoopState] = {
    (LoopState.WAITING, Freshness.ABSENT): LoopState.WAITING,
    (LoopState.WAITING, Freshness.FRESH): LoopState.OK,
    (LoopState.WAITING, Freshness.AGING): LoopState.DEGRADED,
    (LoopState.WAITING, Freshness.STALE): LoopState.MINIMAL_RISK,
    (LoopState.WAITING, Freshness.SPENT): LoopState.SAFE_STOP,
    (LoopState.OK, Freshness.FRESH): LoopState.OK,
    (LoopState.OK, Freshness.AGING): LoopState.DEGRADED,
    (LoopState.OK, Freshness.STALE): LoopState.MINIMAL_RISK,
    (LoopState.OK, Freshness.SPENT): LoopState.SAFE_STOP,
    (LoopState.DEGRADED, Freshness.FRESH): LoopState.OK,
    (LoopState.DEGRADED, Freshness.AGING): LoopState.DEGRADED,
    (LoopState.DEGRADED, Freshness.STALE): LoopState.MINIMAL_RISK,
    (LoopState.DEGRADED, Freshness.SPENT): LoopState.SAFE_STOP,
    # A stop that has begun goes on until a fresh plan comes: braking alone makes an old plan look better.
    (LoopState.MINIMAL_RISK, Freshness.FRESH): LoopState.OK,
    (LoopState.MINIMAL_RISK, Freshness.AGING): LoopState.MINIMAL_RISK,
    (LoopState.MINIMAL_RISK, Freshness.STALE): LoopState.MINIMAL_RISK,
    (LoopState.MINIMAL_RISK, Freshness.SPENT): LoopState.SAFE_STOP,
    (LoopState.SAFE_STOP, Freshness.FRESH): LoopState.OK,
    (LoopState.SAFE_STOP, Freshness.AGING): LoopState.SAFE_STOP,
    (LoopState.SAFE_STOP, Freshness.STALE): LoopState.SAFE_STOP,
    (LoopState.SAFE_STOP, Freshness.SPENT): LoopState.SAFE_STOP,
}
"""Every step of the loop. Two more rules stand in `next_state`: a stop that stands is a safe stop."""


_GOOD = (Freshness.FRESH, Freshness.AGING)
_BRAKES = (LoopState.DEGRADED, LoopState.MINIMAL_RISK)
_STOPS = (LoopState.MINIMAL_RISK, LoopState.SAFE_STOP)


def next_state(state: LoopState, freshness: Freshness, standing: bool) -> LoopState:
    """Where the loop goes from `state`; a controlled stop that has come to rest is `SAFE_STOP`."""
    after = _NEXT[state, freshness]
    return LoopState.SAFE_STOP if after is LoopState.MINIMAL_RISK and standing else after


class Rejection(Enum):
    """Why a plan was not taken."""

    WRONG_EPOCH = auto()
    WRONG_DIGEST = auto()
    MALFORMED = auto()
    NOT_FINITE = auto()
    NOT_MONOTONE = auto()
    """Not a later decision, or on an earlier observation, than the one that is followed."""
    OUT_OF_TIME = auto()
    """Its horizon is over, or it claims to be of the future."""
    LATE = auto()
    """Old when it came, in a stop that follows another: the vehicle is no longer where this one would have it by now."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that passed the checks: value k is due at `start_ns + (k + ½)·dt_ns`, linear between."""

    decision: int
    epoch: int
    start_ns: int
    dt_ns: int
    waypoints: tuple[Command, ...]

    @property
    def end_ns(self) -> int:
        """The end of the horizon."""
        return self.start_ns + self.dt_ns * len(self.waypoints)

    def at(self, mono_ns: int) -> Command | None:
        """What is due at `mono_ns`; None before the start and from the end on.

        A row holds in the mean from its start to the next row's; reading rows at their middle and linearly between
        keeps that mean and spares the actuators the steps.
        """
        if not self.start_ns <= mono_ns < self.end_ns:
            return None
        place = (mono_ns - self.start_ns) / self.dt_ns - 0.5
        last = len(self.waypoints) - 1
        k = min(max(math.floor(place), 0), last)
        (a, c), (a_next, c_next) = self.waypoints[k], self.waypoints[min(k + 1, last)]
        part = min(max(place - k, 0.0), 1.0)
        return Command(a + (a_next - a) * part, c + (c_next - c) * part)


class Selected(NamedTuple):
    """Which worker's plans are to be followed: its epoch, its release's digest as 32 bytes."""

    epoch: int
    digest: bytes


def plan_from_record(
    record: PlanRecord, selected: Selected, followed: Plan | None, mono_ns: int
) -> Plan | Rejection:
    """`record` as a plan to follow at `mono_ns` after `followed`, or why not."""
    if record.epoch != selected.epoch:
        return Rejection.WRONG_EPOCH
    if record.digest != selected.digest:
        return Rejection.WRONG_DIGEST
    if not (1 <= record.steps <= HORIZON_MAX and 1_000_000 <= record.dt_ns <= _S):
        return Rejection.MALFORMED
    flat = struct.unpack_from(f"<{2 * record.steps}f", record.waypoints)
    if not all(map(math.isfinite, flat)):
        return Rejection.NOT_FINITE
    waypoints = tuple(map(Command, flat[::2], flat[1::2]))
    plan = Plan(record.decision, record.epoch, record.observation_ns, record.dt_ns, waypoints)
    if not plan.start_ns <= mono_ns < plan.end_ns:
        return Rejection.OUT_OF_TIME
    return Rejection.NOT_MONOTONE if followed and _is_earlier(plan, followed) else plan


def _is_earlier(plan: Plan, followed: Plan) -> bool:
    """Only within an epoch: another worker may have seen less, and still is the one to follow."""
    later = plan.decision > followed.decision and plan.start_ns >= followed.start_ns
    return plan.epoch == followed.epoch and not later


class Motion(NamedTuple):
    """One tick's outcome; `decision` is 0 and `plan_age_ns` 0 where no plan is followed."""

    proposed: Command
    state: LoopState
    decision: int
    plan_age_ns: int


class PlanFollower:
    """Follows the plans that it is offered. All times are monotonic nanoseconds; calls must not go back in time."""

    def __init__(self, rules: FollowRules) -> None:
        self.rules = rules
        self.state = LoopState.WAITING
        self.rejected = 0
        self._plan: Plan | None = None
        self._taken_ns = 0
        self._offset = REST
        self._speeds_mps: tuple[float, ...] = ()
        self._braked_ns = 0
        """Where the plan stands in its own time since the loop brakes harder than it says, else 0: see `_place`."""
        self._placed_ns = 0

    @property
    def plan(self) -> Plan | None:
        """The plan taken last."""
        return self._plan

    def offer(self, record: PlanRecord, selected: Selected, last: Command, mono_ns: int) -> Rejection | None:
        """Take the plan in `record`, blending from `last`, the command now in force; or count why not."""
        plan = plan_from_record(record, selected, self._plan, mono_ns)
        if not isinstance(plan, Rejection) and self.state in _STOPS and self._is_old(plan, mono_ns):
            plan = Rejection.LATE
        if isinstance(plan, Rejection):
            self.rejected += 1
            return plan
        due = plan.at(mono_ns) or last
        self._plan, self._taken_ns, self._braked_ns = plan, mono_ns, 0
        self._speeds_mps = ()
        self._offset = Command(
            last.acceleration_mps2 - due.acceleration_mps2, last.curvature_per_m - due.curvature_per_m
        )
        return None

    def step(
        self, mono_ns: int, speed_mps: float, held_curvature_per_m: float, *, blind: bool = False
    ) -> Motion:
        """What to propose to the gate at `mono_ns`; `held_curvature_per_m` is kept where no plan says another.

        `blind`: the vehicle says nothing of itself, and `speed_mps` is what it said last. Then it is time to stop.
        """
        plan, speed_mps = self._plan, _believable(speed_mps)
        freshness = self._freshness(plan, mono_ns, speed_mps)
        if blind and freshness in _GOOD:
            freshness = Freshness.STALE
        standing = speed_mps <= STANDING_MPS
        self.state = next_state(self.state, freshness, standing)
        if plan is not None and (self._braked_ns or self.state in _BRAKES):
            self._place(plan, mono_ns, speed_mps)
        if plan is None or self.state is LoopState.WAITING:
            return Motion(Command(-self.rules.stop_mps2, held_curvature_per_m), self.state, 0, 0)
        age_ns = mono_ns - plan.start_ns
        if self.state is LoopState.SAFE_STOP:
            brake = self.rules.stop_mps2 if standing else self.rules.full_stop_mps2
            return Motion(Command(-brake, held_curvature_per_m), self.state, 0, age_ns)
        return Motion(self._due(plan, mono_ns), self.state, plan.decision, age_ns)

    def _is_old(self, plan: Plan, mono_ns: int) -> bool:
        return mono_ns - plan.start_ns > self.rules.fresh_ns(plan.end_ns - plan.start_ns)

    def _freshness(self, plan: Plan | None, mono_ns: int, speed_mps: float) -> Freshness:
        if plan is None:
            return Freshness.ABSENT
        rules = self.rules
        stopping = self.state in _STOPS and self._braked_ns > 0
        left_ns = plan.end_ns - (self._braked_ns if stopping else mono_ns)
        if left_ns <= 0:
            return Freshness.SPENT
        age_ns = mono_ns - plan.start_ns - rules.granted_ns(plan.end_ns - plan.start_ns)
        spare_ns = left_ns - rules.margin_ns - round(speed_mps / rules.stop_mps2 * _S)
        if age_ns > rules.stale_ns or spare_ns < 0:
            return Freshness.STALE
        if stopping or age_ns > rules.aging_ns or spare_ns < rules.margin_ns:
            return Freshness.AGING  # a plan that is being stopped along is never fresh again
        return Freshness.FRESH

    def _due(self, plan: Plan, mono_ns: int) -> Command:
        """The plan's command now, slowed where the state asks for it, blended where it is new."""
        due = plan.at(self._braked_ns or mono_ns) or plan.waypoints[-1]
        acceleration, curvature = self._blended(due, plan.dt_ns, mono_ns - self._taken_ns)
        if self.state is LoopState.MINIMAL_RISK:
            acceleration = min(acceleration, -self.rules.stop_mps2)
        elif self.state is LoopState.DEGRADED:
            acceleration = min(acceleration, -self.rules.slow_down_mps2)
        return Command(acceleration, curvature)

    def _blended(self, due: Command, dt_ns: int, since_ns: int) -> Command:
        """`due`, so long after a plan with steps of `dt_ns` took over from the command that was in force."""
        blend_ns, steer_ns = self.rules.blend_steps * dt_ns, self.rules.steer_blend_steps * dt_ns
        acceleration, curvature = self._offset
        brake_ns = self._brake_ns(due.acceleration_mps2, blend_ns) if acceleration > 0 else blend_ns
        return Command(
            due.acceleration_mps2 + _rest(since_ns, brake_ns) * acceleration,
            due.curvature_per_m + _rest(since_ns, steer_ns) * curvature,
        )

    def _brake_ns(self, due_mps2: float, blend_ns: int) -> int:
        """How long what is commanded may be less braking than is due: the shorter, the harder that is, down to what the
        rules say for what counts as braking."""
        jerk_ns = round(self._offset.acceleration_mps2 / self.rules.brake_jerk_mps3 * _S)
        soonest_ns = min(blend_ns, max(self.rules.brake_blend_ns, jerk_ns))
        braking = min(max(-due_mps2 / BRAKING_MPS2, 0.0), 1.0)
        return round(blend_ns + braking * (soonest_ns - blend_ns))

    def _place(self, plan: Plan, mono_ns: int, speed_mps: float) -> None:
        """Move along the plan by distance, not by time: a vehicle that brakes is not yet where the plan would have it.

        In the plan's own time, dτ/dt = measured speed / planned speed, at most 1.
        """
        if not self._braked_ns:
            self._braked_ns, self._placed_ns = mono_ns, mono_ns
            self._speeds_mps = _planned_speeds(plan, mono_ns, speed_mps)
            return
        k = min((self._braked_ns - plan.start_ns) // plan.dt_ns, len(plan.waypoints) - 1)
        planned = max(self._speeds_mps[k], STANDING_MPS)
        pace = min(1.0, speed_mps / planned)
        self._braked_ns += round((mono_ns - self._placed_ns) * pace)
        self._placed_ns = mono_ns


def _rest(since_ns: int, blend_ns: int) -> float:
    """What is left of a blend: 1 at its start, 0 from its end on."""
    return max(0.0, 1.0 - since_ns / blend_ns) if blend_ns else 0.0


def _believable(speed_mps: float) -> float:
    """The magnitude of a measured speed, at most `_FASTEST_MPS`; one that is no number counts as that."""
    return min(abs(speed_mps), _FASTEST_MPS) if math.isfinite(speed_mps) else _FASTEST_MPS


def _planned_speeds(plan: Plan, mono_ns: int, speed_mps: float) -> tuple[float, ...]:
    """Speed in each row's time if the plan were followed from `mono_ns` on at `speed_mps`; m/s, none below zero."""
    first = min(max((mono_ns - plan.start_ns) // plan.dt_ns, 0), len(plan.waypoints) - 1)
    dt_s = plan.dt_ns / _S
    ahead = (waypoint.acceleration_mps2 * dt_s for waypoint in plan.waypoints[first:-1])
    speeds = tuple(accumulate(ahead, lambda v, dv: max(v + dv, 0.0), initial=speed_mps))
    return (speed_mps,) * first + speeds
