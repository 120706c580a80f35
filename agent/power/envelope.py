"""The envelope: what counts as inside it, and the figures it is judged by.

Owns: the 1 s mean, the energy integral, the margin below the limit and what heat takes off it.
Must not know: knobs, sensors' files, clocks; times are arguments.
"""

from collections import deque
from dataclasses import dataclass, replace

WINDOW_NS = 1_000_000_000
_MARGIN_SHARE, _MARGIN_MIN_W = 0.04, 2.5
HOT_C, COOLED_C = 95.0, 90.0
_HOT_SHARE = 0.85
_GAP_S = 2.0
_HOLD_NS = 500_000_000


@dataclass(frozen=True, slots=True)
class Envelope:
    """`limit_w` binds the 1 s mean; `hot` says that heat takes a part off it."""

    limit_w: float
    hot: bool = False

    @property
    def target_w(self) -> float:
        """What the governor aims below, so that ripple and surprise stay inside the limit."""
        limit_w = self.limit_w * (_HOT_SHARE if self.hot else 1.0)
        return limit_w - max(_MARGIN_MIN_W, _MARGIN_SHARE * limit_w)

    def at(self, hottest_c: float | None) -> "Envelope":
        """The envelope at this temperature; unknown counts as hot. Heat stays on until it is below `COOLED_C`."""
        threshold_c = COOLED_C if self.hot else HOT_C
        return replace(self, hot=hottest_c is None or hottest_c >= threshold_c)


class RollingMean:
    """Mean over the last `window_ns`, each sample holding until the next one, for half a second at most: of a time in
    which nobody looked there is no mean."""

    def __init__(self, window_ns: int = WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._samples: deque[tuple[int, float]] = deque()

    def add(self, mono_ns: int, value: float) -> None:
        """Take a sample; samples come in order."""
        self._samples.append((mono_ns, value))
        while len(self._samples) > 1 and self._samples[1][0] <= mono_ns - self._window_ns:
            self._samples.popleft()

    def mean(self, mono_ns: int) -> float | None:
        """The mean at `mono_ns`; None where the window holds no sample."""
        start = mono_ns - self._window_ns
        weighted = weight = 0.0
        for index, (at, value) in enumerate(self._samples):
            after = self._samples[index + 1][0] if index + 1 < len(self._samples) else mono_ns
            span = max(0, min(after, at + _HOLD_NS) - max(at, start))
            weighted, weight = weighted + span * value, weight + span
        if weight > 0:
            return weighted / weight
        return self._samples[-1][1] if self._samples and self._samples[-1][0] >= start else None


class EnergyMeter:
    """Joules since the start, by trapezoids; a gap of more than 2 s is left out, as nobody saw it."""

    def __init__(self) -> None:
        self.energy_j = 0.0
        self._last: tuple[int, float] | None = None

    def add(self, mono_ns: int, power_w: float) -> None:
        """Take a sample of module power."""
        if self._last is not None:
            dt_s = (mono_ns - self._last[0]) / 1e9
            if 0 < dt_s <= _GAP_S:
                self.energy_j += dt_s * (power_w + self._last[1]) / 2
        self._last = (mono_ns, power_w)
