"""The gate: the last check between a plan and the actuators.

Owns: the limits of a command and the one function through which every command passes.
Must not know: plans, policies, boards, clocks. It imports nothing of ours, so that no fault of the
policy side can be a fault of the gate; what it judges by are times and measurements, not what others made of them.

Rates (jerk, curvature rate) bend before magnitudes: a command always obeys the magnitudes, and it obeys the
rates except where a magnitude leaves it no choice, for example a vehicle that is already too fast for its bend.
"""

import math
from dataclasses import dataclass, fields
from enum import IntFlag
from typing import NamedTuple

SPEED_TIME_S = 0.5
"""How soon a speed above the limit is braked away: the acceleration allowed is (limit - speed) / this."""
STANDING_MPS = 0.5
"""Below this speed the lateral limit says nothing about curvature."""
BRAKING_MPS2 = 1.0
"""From here on a command counts as braking; a vehicle that stands need only not accelerate."""
VEHICLE_MAX_AGE_NS = 300_000_000
"""A state of the vehicle that is older judges nothing."""
HEARTBEAT_MAX_AGE_NS = 6_000_000_000
"""Longer than the watchdog takes to replace a supervisor that hangs: nobody may drive unwatched for good."""
TRACKING_S = 0.3
"""How far a command may be ahead of the measured curvature, as time at the full curvature rate: beyond, the steering
doesn't follow, or somebody else holds the wheel."""


class GateReason(IntFlag):
    """What the gate changed in a command; the bits of `AppliedRecord.intervened`."""

    NONE = 0
    NOT_FINITE = 1
    STALE = 2
    """The vehicle's state is unknown or too old to judge a command by: the gate brakes."""
    ACCELERATION = 4
    BRAKING = 8
    SPEED = 16
    JERK = 32
    CURVATURE = 64
    LATERAL = 128
    CURVATURE_RATE = 256
    NO_PLAN = 512
    """Something else than braking outside of the time that a plan is for: the gate brakes."""
    NO_HEARTBEAT = 1024
    """Nobody watches the loop: the gate brakes."""
    NOT_MONOTONE = 2048
    """Time went back or stood still between two commands: the gate brakes."""
    DISCONTINUOUS = 4096
    """Too far from the curvature that the vehicle really drives."""


class Command(NamedTuple):
    """What an actuator is told: acceleration in m/s² (negative brakes), curvature in 1/m (positive is left)."""

    acceleration_mps2: float
    curvature_per_m: float


REST = Command(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Magnitudes, all positive: m/s², m/s², m/s³, 1/m, 1/(m·s), m/s², m/s."""

    max_acceleration_mps2: float
    max_braking_mps2: float
    max_jerk_mps3: float
    max_curvature_per_m: float
    max_curvature_rate_per_ms: float
    max_lateral_mps2: float
    max_speed_mps: float

    def stricter(self, other: "GateLimits") -> "GateLimits":
        """The smaller of each limit; one that is not a finite number above zero counts as zero: nothing is allowed."""
        return GateLimits(*(_smaller(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))


DEVICE_LIMITS = GateLimits(
    max_acceleration_mps2=4.0,
    max_braking_mps2=8.0,
    max_jerk_mps3=40.0,
    max_curvature_per_m=0.25,
    max_curvature_rate_per_ms=0.5,
    max_lateral_mps2=3.0,  # ISO 11270
    max_speed_mps=40.0,
)
"""What this follower holds every release to, whatever the release says of itself."""


class Situation(NamedTuple):
    """What a command is judged in. Times are monotonic nanoseconds.

    `mono_ns` is now, `previous_ns` when the command before went out. `vehicle_ns` is when the vehicle had `speed_mps` and
    `curvature_per_m` (not a number where it does not say). From `plan_from_ns` until `plan_until_ns` lasts the plan that is
    followed, 0 and 0 for none. `heartbeat_ns` is the last sign of life of whoever watches the loop.
    """

    mono_ns: int
    previous_ns: int
    vehicle_ns: int
    speed_mps: float
    curvature_per_m: float
    plan_from_ns: int
    plan_until_ns: int
    heartbeat_ns: int

    @property
    def dt_s(self) -> float:
        """Since the command before, at most 0.1 s: after a long gap the rates are those of a short one."""
        return _within((self.mono_ns - self.previous_ns) / 1e9, 0.0, 0.1)


def passed(
    proposed: Command, previous: Command, now: Situation, limits: GateLimits
) -> tuple[Command, GateReason]:
    """The command that may go out instead of `proposed`, and what was changed in it.

    Whatever comes in, what goes out is finite and inside the magnitudes of `limits`. `previous` is what
    the gate let out one tick ago.
    """
    previous = previous if _finite(previous) else REST
    proposed, reason = _sane(proposed, previous, now, limits)
    acceleration, why = _acceleration(proposed.acceleration_mps2, previous.acceleration_mps2, now, limits)
    curvature, and_why = _curvature(proposed.curvature_per_m, previous.curvature_per_m, now, limits)
    return Command(acceleration, curvature), reason | why | and_why


def _sane(
    proposed: Command, previous: Command, now: Situation, limits: GateLimits
) -> tuple[Command, GateReason]:
    """`proposed`, or braking along the previous curvature where it cannot be judged."""
    reason = _objection(proposed, now)
    if reason is GateReason.NONE:
        return proposed, reason
    return Command(-limits.max_braking_mps2 / 2, previous.curvature_per_m), reason


def _objection(proposed: Command, now: Situation) -> GateReason:
    """Why `proposed` cannot be judged, or may not be followed whatever it is; the first reason of several."""
    if not _finite(proposed):
        return GateReason.NOT_FINITE
    if now.mono_ns <= now.previous_ns:
        return GateReason.NOT_MONOTONE
    if not math.isfinite(now.speed_mps) or abs(now.mono_ns - now.vehicle_ns) > VEHICLE_MAX_AGE_NS:
        return GateReason.STALE
    if _brakes(proposed, now):
        return GateReason.NONE
    if not now.plan_from_ns <= now.mono_ns < now.plan_until_ns:
        return GateReason.NO_PLAN
    if abs(now.mono_ns - now.heartbeat_ns) > HEARTBEAT_MAX_AGE_NS:
        return GateReason.NO_HEARTBEAT
    return GateReason.NONE


def _brakes(proposed: Command, now: Situation) -> bool:
    """Whether `proposed` may go out with no plan and nobody watching: it ends in standing."""
    return proposed.acceleration_mps2 <= (0.0 if abs(now.speed_mps) < STANDING_MPS else -BRAKING_MPS2)


def _acceleration(
    wanted: float, before: float, now: Situation, limits: GateLimits
) -> tuple[float, GateReason]:
    reason, value = GateReason.NONE, wanted
    if value > limits.max_acceleration_mps2:
        reason, value = GateReason.ACCELERATION, limits.max_acceleration_mps2
    elif value < -limits.max_braking_mps2:
        reason, value = GateReason.BRAKING, -limits.max_braking_mps2
    value, bent = _towards(value, before, limits.max_jerk_mps3 * now.dt_s)
    if bent:
        reason |= GateReason.JERK
    cap = _speed_cap(now, limits)
    if value > cap:
        reason, value = reason | GateReason.SPEED, cap
    return _within(value, -limits.max_braking_mps2, limits.max_acceleration_mps2), reason


def _curvature(wanted: float, before: float, now: Situation, limits: GateLimits) -> tuple[float, GateReason]:
    reason, value = GateReason.NONE, wanted
    if abs(value) > limits.max_curvature_per_m:
        reason, value = GateReason.CURVATURE, math.copysign(limits.max_curvature_per_m, value)
    cap = _lateral_cap(now, limits)
    if abs(value) > cap:
        reason, value = reason | GateReason.LATERAL, math.copysign(cap, value)
    lead = limits.max_curvature_rate_per_ms * TRACKING_S
    if abs(value - now.curvature_per_m) > lead:
        value = _within(value, now.curvature_per_m - lead, now.curvature_per_m + lead)
        reason |= GateReason.DISCONTINUOUS
    value, bent = _towards(value, before, limits.max_curvature_rate_per_ms * now.dt_s)
    if bent:
        reason |= GateReason.CURVATURE_RATE
    bound = min(limits.max_curvature_per_m, cap)
    return _within(value, -bound, bound), reason


def _towards(wanted: float, before: float, step: float) -> tuple[float, bool]:
    """`wanted`, or as far towards it from `before` as `step` allows, and whether that is short of it."""
    reached = _within(wanted, before - step, before + step)
    return reached, reached != wanted


def _speed_cap(now: Situation, limits: GateLimits) -> float:
    """The acceleration that does not lead above the speed limit; never below full braking.

    A speed that nobody knows caps nothing: such a command is braking already.
    """
    if not math.isfinite(now.speed_mps):
        return limits.max_acceleration_mps2
    room_mps = limits.max_speed_mps - max(now.speed_mps, 0.0)
    return max(room_mps / SPEED_TIME_S, -limits.max_braking_mps2)


def _lateral_cap(now: Situation, limits: GateLimits) -> float:
    """The curvature at which v²κ reaches the lateral limit; a speed that nobody knows bounds nothing."""
    speed_mps = abs(now.speed_mps)
    if not math.isfinite(speed_mps) or speed_mps < STANDING_MPS:
        return limits.max_curvature_per_m
    return limits.max_lateral_mps2 / (speed_mps * speed_mps)


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _finite(command: Command) -> bool:
    return math.isfinite(command.acceleration_mps2) and math.isfinite(command.curvature_per_m)


def _smaller(a: float, b: float) -> float:
    return max(min(a, b), 0.0) if math.isfinite(a) and math.isfinite(b) else 0.0
