"""What happens on a drive of the power bench: what others take, how warm the air is, which sensors fail, what is ordered.

Owns: the script, which follows from a seed, so that every device under comparison meets the same.
Must not know: who decides, who governs, what it costs.
"""

import bisect
import random
from dataclasses import dataclass
from itertools import pairwise

from agent.emulator.faults import Fault
from agent.emulator.thor import Background

_S = 1_000_000_000
_COOL_C, _WARM_C = 25.0, 45.0
_BUSY_SHARE = 0.2
_BURST_S = (0.3, 8.0)
_FIRST_S = 5.0


def burst_w_for(envelope_w: float) -> float:
    """The largest step of others' load, in watts, that the supply of such an envelope carries: of all cores at their highest
    clock, 20 W, and less where the envelope leaves less beside an idle module."""
    return min(20.0, (envelope_w - 30.0) / 4)


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """A fault in force from one second to another."""

    fault: Fault
    from_s: float
    until_s: float
    sensor: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An envelope ordered at the device, None taking it back."""

    at_s: float
    watts: float | None


@dataclass(frozen=True, slots=True)
class Script:
    """One drive. `steps_s` and `steps_w` are what others take from each second on."""

    seconds: float
    steps_s: tuple[float, ...]
    steps_w: tuple[float, ...]
    warm_from_s: float
    faults: tuple[FaultSpan, ...] = ()
    orders: tuple[Order, ...] = ()

    def background(self, now_ns: int) -> Background:
        """What others take at `now_ns` of the drive."""
        at = bisect.bisect_right(self.steps_s, now_ns / _S) - 1
        return Background(self.steps_w[at] if at >= 0 else 0.0)

    def ambient_c(self, now_s: float) -> float:
        """The air."""
        return _WARM_C if now_s >= self.warm_from_s else _COOL_C

    def quiet_s(self) -> tuple[tuple[float, float], ...]:
        """The spans between two steps of others' load."""
        edges = (*self.steps_s, self.seconds)
        return tuple(pairwise(edges))


def drive_script(envelope_w: float, seconds: float, seed: int) -> Script:
    """A drive with bursts of others for a fifth of it, warm air from half of it on, and spells in which the monitor of the
    module asks to be read again, has another number, and is gone."""
    steps_s, steps_w = _bursts(burst_w_for(envelope_w), seconds, seed)
    faults = (
        FaultSpan(Fault.EAGAIN, 0.30 * seconds, 0.30 * seconds + 3.0, "VIN"),
        FaultSpan(Fault.HWMON_RENUMBERING, 0.40 * seconds, 0.40 * seconds),
        FaultSpan(Fault.MISSING_SENSOR, 0.60 * seconds, 0.60 * seconds + 10.0, "VIN"),
    )
    return Script(seconds, steps_s, steps_w, 0.5 * seconds, faults)


def order_script(envelope_w: float, seconds: float, seed: int) -> Script:
    """A drive with bursts, in which the envelope is lowered to 40 W for a third of it and given back."""
    steps_s, steps_w = _bursts(burst_w_for(40.0), seconds, seed)
    orders = (Order(seconds / 3, 40.0), Order(2 * seconds / 3, None)) if envelope_w > 40.0 else ()
    return Script(seconds, steps_s, steps_w, seconds, (), orders)


def fault_script(envelope_w: float, fault: Fault, seconds: float, seed: int) -> Script:
    """A drive with the same bursts, and one fault from a third of it until four fifths."""
    steps_s, steps_w = _bursts(burst_w_for(envelope_w), seconds, seed)
    return Script(seconds, steps_s, steps_w, seconds, (FaultSpan(fault, seconds / 3, 0.8 * seconds),))


def _bursts(most_w: float, seconds: float, seed: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Steps up and down again, at tenths of a second, when an emulated Thor looks at them with and without files. Where they
    are follows from the seed alone, how high from `most_w` too."""
    rng = random.Random(seed)
    gap_s = sum(_BURST_S) / 2 * (1 - _BUSY_SHARE) / _BUSY_SHARE
    at_s, steps = _FIRST_S, [(0.0, 0.0)]
    while at_s < seconds:
        lasts_s, height = round(rng.uniform(*_BURST_S), 1), rng.uniform(0.2, 1.0)
        steps += [(at_s, height * most_w), (at_s + lasts_s, 0.0)]
        at_s = round(at_s + lasts_s + rng.expovariate(1 / gap_s) + 0.5, 1)
    return tuple(at for at, _ in steps), tuple(watts for _, watts in steps)
