"""The truth about power: a piecewise constant trace, and its exact extremes.

Owns: the integral of the trace, the largest mean of any window, the steepest ramp. Nothing is sampled: a mean over a
window changes linearly with where the window is, but where one of its ends passes a step, so that extremes are there.
Must not know: sensors, governors, clocks; what makes the power.
"""

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_S = 1e9


@dataclass(frozen=True, slots=True)
class Means:
    """Means over windows of one length, at every end of a window where they can be extreme, rising in time."""

    until_ns: NDArray[np.int64]
    watts: Array


class PowerTrace:
    """Power in watts over time, made by `add`, one span after the other. Figures of an empty trace are 0."""

    def __init__(self) -> None:
        self._edges, self._watts = array("q"), array("d")

    def add(self, from_ns: int, until_ns: int, watts: float) -> None:
        """Append a span of constant power. Raises `ValueError` where it doesn't begin at the last one's end."""
        if until_ns < from_ns or (self._edges and self._edges[-1] != from_ns):
            raise ValueError(f"a span from {from_ns} to {until_ns} ns does not follow the one before")
        if until_ns == from_ns:
            return
        if self._watts and self._watts[-1] == watts:
            self._edges[-1] = until_ns
            return
        if not self._edges:
            self._edges.append(from_ns)
        self._edges.append(until_ns)
        self._watts.append(watts)

    @property
    def duration_s(self) -> float:
        """From the first span's start to the last one's end."""
        return (self._edges[-1] - self._edges[0]) / _S if self._edges else 0.0

    @property
    def energy_j(self) -> float:
        """The integral over all of it."""
        return float(self._curve()[1][-1]) if self._edges else 0.0

    def energy_between_j(self, from_ns: int, until_ns: int) -> float:
        """The integral from one time to another, of what of that was traced."""
        if not self._edges:
            return 0.0
        first, last = self._at(np.array([from_ns, until_ns], dtype=np.int64))
        return float(last - first)

    def means(self, window_s: float = 1.0) -> Means:
        """The mean of every window inside the trace that can be the largest or smallest; none where it is too short."""
        window_ns = round(window_s * _S)
        until_ns = self._ends(window_ns, (0, window_ns))
        return Means(until_ns, (self._at(until_ns) - self._at(until_ns - window_ns)) / window_s)

    def max_mean_w(self, window_s: float = 1.0) -> float:
        """The largest mean of any window inside the trace, of the whole trace where that is shorter."""
        means = self.means(window_s).watts
        if means.size:
            return float(means.max())
        return self.energy_j / self.duration_s if self._edges else 0.0

    def max_ramp_w_per_s(self) -> float:
        """The largest difference between the means of a second and of the second before it, either way."""
        second = round(_S)
        at = self._ends(2 * second, (0, second, 2 * second))
        if not at.size:
            return 0.0
        bends = self._at(at) - 2.0 * self._at(at - second) + self._at(at - 2 * second)
        return float(np.abs(bends).max())

    def _curve(self) -> tuple[NDArray[np.int64], Array]:
        """Edges, and the joules until each."""
        edges = np.array(self._edges, dtype=np.int64)
        joules = np.zeros(len(edges))
        np.cumsum(np.diff(edges) / _S * np.array(self._watts), out=joules[1:])
        return edges, joules

    def _at(self, at_ns: NDArray[np.int64]) -> Array:
        """Joules from the start until each of `at_ns`; times are taken from the start, so that floats hold them."""
        edges, joules = self._curve()
        if not at_ns.size:
            return np.zeros(0)
        until: Array = np.interp(at_ns - edges[0], edges - edges[0], joules)
        return until

    def _ends(self, span_ns: int, shifts_ns: tuple[int, ...]) -> NDArray[np.int64]:
        """Times at which something of length `span_ns` may end so that one of its edges, `shifts_ns` earlier, is a step."""
        if not self._edges:
            return np.zeros(0, dtype=np.int64)
        edges = np.array(self._edges, dtype=np.int64)
        at: NDArray[np.int64] = np.unique(np.concatenate([edges + shift for shift in shifts_ns]))
        inside = (at >= edges[0] + span_ns) & (at <= edges[-1])
        return np.compress(inside, at)
