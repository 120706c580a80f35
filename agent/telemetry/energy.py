"""What a decision and a metre take: module energy of the last minute, by what was done with it.

Owns: the window and the two quotients. Must not know: the wire, who asks.
Idle power is part of it, and a decision in shadow counts like one that drives: it is what the battery gives for a decision.
"""

import math
from collections import deque
from pathlib import Path
from typing import NamedTuple

from agent.board.feed import Feed
from agent.board.records import VEHICLE, VEHICLE_BOARD, VehicleRecord
from agent.power.progress import WorkersMeter

WINDOW_NS = 60_000_000_000
_FRESH_NS = 3_000_000_000
_LEAST_M = 1.0
"""A vehicle that stands has no figure a metre: one of a few centimetres would be absurd."""


class EnergyShares(NamedTuple):
    """Joules a decision and a metre; None where nothing was decided, and nothing driven."""

    joules_per_decision: float | None = None
    joules_per_m: float | None = None


NO_SHARES = EnergyShares()


class EnergyReading(NamedTuple):
    """Counters at one moment; `odometer_m` is None where no plant says it."""

    mono_ns: int
    energy_j: float
    decisions: int
    odometer_m: float | None


class EnergyWindow:
    """Readings of the last minute. A counter that falls was started anew, and the window with it."""

    def __init__(self) -> None:
        self._readings: deque[EnergyReading] = deque()

    def add(self, reading: EnergyReading) -> EnergyShares:
        """Take a reading; the shares between the oldest one in the window and this."""
        if self._readings and _started_anew(self._readings[-1], reading):
            self._readings.clear()
        self._readings.append(reading)
        while self._readings[0].mono_ns < reading.mono_ns - WINDOW_NS:
            self._readings.popleft()
        return shares_between(self._readings[0], reading)


def shares_between(first: EnergyReading, last: EnergyReading) -> EnergyShares:
    """Joules a decision and a metre from `first` to `last`."""
    energy_j, decisions = last.energy_j - first.energy_j, last.decisions - first.decisions
    known = first.odometer_m is not None and last.odometer_m is not None
    driven_m = (last.odometer_m or 0.0) - (first.odometer_m or 0.0) if known else 0.0
    return EnergyShares(
        energy_j / decisions if decisions > 0 else None,
        energy_j / driven_m if driven_m >= _LEAST_M else None,
    )


def _started_anew(before: EnergyReading, now: EnergyReading) -> bool:
    moved_back = (now.odometer_m or 0.0) < (before.odometer_m or 0.0)
    appeared = (now.odometer_m is None) != (before.odometer_m is None)
    return now.energy_j < before.energy_j or moved_back or appeared


class EnergyWatch:
    """The window, fed from the boards below `run`; call `look` about once a second."""

    def __init__(self, run: Path) -> None:
        self._vehicle: Feed[VehicleRecord] = Feed(run / VEHICLE_BOARD, VEHICLE)
        self._workers, self._window = WorkersMeter(run), EnergyWindow()
        self._decisions = 0

    def look(self, mono_ns: int, energy_j: float) -> EnergyShares:
        """The shares now that the energy counter stands at `energy_j`."""
        self._decisions += max(0, self._workers.progress().decisions)
        return self._window.add(EnergyReading(mono_ns, energy_j, self._decisions, self.odometer_m(mono_ns)))

    def odometer_m(self, mono_ns: int) -> float | None:
        """Distance since the plant began; None where no plant says it."""
        self._vehicle.news(mono_ns)
        record = self._vehicle.recent(mono_ns, _FRESH_NS)
        return record.odometer_m if record and math.isfinite(record.odometer_m) else None

    def close(self) -> None:
        """Unmap."""
        self._vehicle.close()
