"""The things of a scenario as they are now, and how each moves on; most of them wait for the ego to wait.

Owns: positions, speeds, what people mean, by rules that look at nothing but the ego's bumper and speed.
Must not know: how things look, what is allowed.
"""

from dataclasses import dataclass, replace

import numpy as np

from models.reference.world.things import (
    Blockage,
    Colour,
    CutIn,
    Gesture,
    Hand,
    LeadCar,
    Officer,
    StoppedCar,
    StopSign,
    Walker,
)

SIGHT_M = 95.0
LEFT_LANE_D_M = 3.5
CLEAR_D_M = 2.3
"""A person this far from the lane's centre on the far side is out of the way."""
_WAITING_GAP_M, _WAITING_SPEED_MPS = 15.0, 0.5
_LEAVING_MPS2, _LEAVING_MPS = 2.5, 15.0
_MERGE_BRAKE_MPS2 = 2.5
SERVED_GAP_M, SERVED_S = 6.0, 0.5
_STANDING_MPS = 0.3
_BEHIND_M = -30.0


@dataclass(frozen=True, slots=True)
class Bumper:
    """The ego as others see it: its front bumper's arc length, and its speed."""

    s_m: float
    speed_mps: float

    def waits_before(self, s_m: float) -> bool:
        """Whether it stands close before `s_m`."""
        return 0 <= s_m - self.s_m < _WAITING_GAP_M and self.speed_mps < _WAITING_SPEED_MPS


@dataclass(frozen=True, slots=True)
class Car:
    """A car as it is now; `since_s` counts what its rule counts: the ego's waiting, or the time since its merge."""

    spec: StoppedCar | LeadCar | CutIn
    rear_s_m: float
    d_m: float = 0.0
    speed_mps: float = 0.0
    since_s: float = 0.0

    @property
    def colour(self) -> Colour:
        """Its paint."""
        return self.spec.colour

    @property
    def changes_lane(self) -> bool:
        """Whether it is on its way into the lane."""
        return isinstance(self.spec, CutIn) and 0 < self.since_s < self.spec.merge_s

    @property
    def concerns_lane(self) -> bool:
        """Whether a careful driver counts it as ahead: in the lane, or visibly coming into it."""
        return self.d_m < LEFT_LANE_D_M - 0.3


@dataclass(frozen=True, slots=True)
class OfficerNow:
    """An officer, and for how long the ego has waited for them."""

    spec: Officer
    waited_s: float = 0.0

    @property
    def hand(self) -> Hand:
        """What they say."""
        served = self.waited_s >= self.spec.dwell_s
        return Hand.GO if served else self.spec.hand


@dataclass(frozen=True, slots=True)
class WalkerNow:
    """A person at a crossing, where they are across the road, and for how long the ego has waited for them."""

    spec: Walker
    d_m: float
    waited_s: float = 0.0

    @property
    def gesture(self) -> Gesture:
        """What they seem to mean."""
        if self.waited_s < self.spec.dwell_s:
            return Gesture.AMBIGUOUS
        return Gesture.CROSSING if self.spec.speed_mps > 0 else Gesture.STEPPED_BACK

    @property
    def is_clear(self) -> bool:
        """Whether one may drive on."""
        if self.gesture is Gesture.STEPPED_BACK:
            return abs(self.d_m) > abs(self.spec.start_d_m) + 0.8
        across = self.d_m if self.spec.start_d_m < 0 else -self.d_m
        return self.gesture is Gesture.CROSSING and across > CLEAR_D_M


@dataclass(frozen=True, slots=True)
class SignNow:
    """A stop sign or marking, and for how long the ego has stood before it."""

    spec: StopSign
    stood_s: float = 0.0

    @property
    def is_served(self) -> bool:
        """Whether the ego has stopped for it."""
        return self.stood_s >= SERVED_S


@dataclass(frozen=True, slots=True)
class Traffic:
    """Everything that can change during a drive, signals apart (they follow the clock)."""

    cars: tuple[Car, ...]
    officers: tuple[OfficerNow, ...]
    walkers: tuple[WalkerNow, ...]
    signs: tuple[SignNow, ...]
    blockages: tuple[Blockage, ...]


def car_from(spec: StoppedCar | LeadCar | CutIn) -> Car:
    """The car at the beginning of a drive."""
    if isinstance(spec, LeadCar):
        return Car(spec, spec.rear_s_m, 0.0, spec.speeds[0][1])
    return Car(spec, spec.rear_s_m, LEFT_LANE_D_M if isinstance(spec, CutIn) else 0.0)


def advanced(traffic: Traffic, ego: Bumper, time_s: float, dt_s: float) -> Traffic:
    """All of it `dt_s` later; cars that are far behind, or have driven off out of sight, are gone."""
    cars = (_car_advanced(car, ego, time_s, dt_s) for car in traffic.cars)
    return Traffic(
        tuple(car for car in cars if not _is_gone(car, ego)),
        tuple(_officer_advanced(officer, ego, dt_s) for officer in traffic.officers),
        tuple(_walker_advanced(walker, ego, dt_s) for walker in traffic.walkers),
        tuple(_sign_advanced(sign, ego, dt_s) for sign in traffic.signs),
        traffic.blockages,
    )


def _is_gone(car: Car, ego: Bumper) -> bool:
    gap = car.rear_s_m - ego.s_m
    coming = isinstance(car.spec, CutIn) and car.since_s == 0
    return (gap <= _BEHIND_M and not coming) or (car.speed_mps > 0 and gap > SIGHT_M)


def _car_advanced(car: Car, ego: Bumper, time_s: float, dt_s: float) -> Car:
    if isinstance(car.spec, StoppedCar):
        return _stopped_advanced(car, car.spec, ego, dt_s)
    if isinstance(car.spec, LeadCar):
        times, speeds = zip(*car.spec.speeds, strict=True)
        speed = float(np.interp(time_s, times, speeds))
        return replace(car, rear_s_m=car.rear_s_m + speed * dt_s, speed_mps=speed)
    return _cut_in_advanced(car, car.spec, ego, dt_s)


def _stopped_advanced(car: Car, spec: StoppedCar, ego: Bumper, dt_s: float) -> Car:
    if car.since_s >= spec.dwell_s:
        return _driven_off(car, dt_s)
    return replace(car, since_s=car.since_s + dt_s) if ego.waits_before(car.rear_s_m) else car


def _driven_off(car: Car, dt_s: float) -> Car:
    speed = min(car.speed_mps + _LEAVING_MPS2 * dt_s, _LEAVING_MPS)
    return replace(car, rear_s_m=car.rear_s_m + speed * dt_s, speed_mps=speed)


def _cut_in_advanced(car: Car, spec: CutIn, ego: Bumper, dt_s: float) -> Car:
    """Overtake, merge where there is little room, be slow, drive off."""
    if car.since_s == 0 and car.rear_s_m - ego.s_m < spec.gap_m:
        speed = max(ego.speed_mps, 2.0) + spec.lead_mps
        return replace(car, rear_s_m=car.rear_s_m + speed * dt_s, speed_mps=speed)
    since = car.since_s + dt_s
    if since > spec.merge_s + spec.slow_s:
        return replace(_driven_off(car, dt_s), since_s=since, d_m=0.0)
    part = min(since / spec.merge_s, 1.0)
    d_m = LEFT_LANE_D_M * (1.0 - part * part * (3.0 - 2.0 * part))
    speed = max(car.speed_mps - _MERGE_BRAKE_MPS2 * dt_s, spec.slow_mps)
    return replace(car, rear_s_m=car.rear_s_m + speed * dt_s, d_m=d_m, speed_mps=speed, since_s=since)


def _officer_advanced(officer: OfficerNow, ego: Bumper, dt_s: float) -> OfficerNow:
    waits = officer.hand is Hand.STOP and ego.waits_before(officer.spec.stop_s_m)
    return replace(officer, waited_s=officer.waited_s + dt_s) if waits else officer


def _walker_advanced(walker: WalkerNow, ego: Bumper, dt_s: float) -> WalkerNow:
    side = 1.0 if walker.spec.start_d_m < 0 else -1.0
    if walker.gesture is Gesture.AMBIGUOUS:
        waits = ego.waits_before(walker.spec.s_m)
        return replace(walker, waited_s=walker.waited_s + dt_s) if waits else walker
    if walker.gesture is Gesture.CROSSING:
        return replace(walker, d_m=walker.d_m + side * walker.spec.speed_mps * dt_s)
    farthest = abs(walker.spec.start_d_m) + 2.5
    d_m = walker.d_m - side * 1.2 * dt_s
    return replace(walker, d_m=d_m if abs(d_m) < farthest else walker.d_m)


def _sign_advanced(sign: SignNow, ego: Bumper, dt_s: float) -> SignNow:
    stands = ego.speed_mps < _STANDING_MPS and -1.0 < sign.spec.stop_s_m - ego.s_m < SERVED_GAP_M
    return replace(sign, stood_s=sign.stood_s + dt_s) if stands else sign
