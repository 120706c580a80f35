"""The envelope: what counts as inside it, and the figures it is judged by.

Owns: the 1 s mean, the energy integral, how fast the limit moves, the reserve below it and what heat takes off it.
Must not know: knobs, sensors' files, clocks; times are arguments.
"""

from collections import deque
from dataclasses import dataclass, replace

WINDOW_NS = 1_000_000_000
HOT_C, COOLED_C = 95.0, 90.0
_HEATED_PER_S, _COOLED_PER_S = 0.01, 0.002
_LEAST_SHARE = 0.3
_TOLERATED_SHARE, _LEAST_RESERVE_W = 0.019, 1.8
"""A mean may exceed the limit by 2 %. What no figure is better than is kept free below this part of that."""
_NOTICED_S = 0.25
_GAP_S = 2.0
_HOLD_NS = 500_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator says of the supply: the largest step of load of others that it must bear inside the envelope, and
    how fast the device's own load may rise and fall, from one second's mean to the next one's. One decision a second more is
    10 W: much slower than these it cannot be."""

    burst_w: float = 15.0
    up_w_per_s: float = 30.0
    down_w_per_s: float = 40.0


@dataclass(frozen=True, slots=True)
class Envelope:
    """`limit_w` binds the 1 s mean; it follows the limit that is ordered no faster than the terms allow. `heat_share` is
    what heat leaves of it."""

    limit_w: float
    terms: Terms = Terms()
    heat_share: float = 1.0
    hot: bool = False

    @property
    def bearable_w(self) -> float:
        """What a second may hold: the limit with what is tolerated, but for what no figure is better than."""
        return (1 + _TOLERATED_SHARE) * self.limit_w * self.heat_share - _LEAST_RESERVE_W

    def target_w(self, others_w: float = 0.0) -> float:
        """What the governor aims for where others take `others_w`: below the limit by what the rest of their burst adds to the
        second in which it is noticed."""
        burst_j = max(0.0, self.terms.burst_w - others_w) * _NOTICED_S
        tolerated_w = (1 + _TOLERATED_SHARE) * self.limit_w * self.heat_share
        return min(self.limit_w * self.heat_share, self.bearable_w, tolerated_w - burst_j)

    def after(
        self, dt_s: float, ordered_w: float, hottest_c: float | None, *, throttled: bool = False
    ) -> "Envelope":
        """The envelope `dt_s` later. Heat takes a hundredth a second off it from `HOT_C` or where the hardware throttles,
        and gives it back slowly below `COOLED_C`; unknown counts as hot."""
        threshold_c = COOLED_C if self.hot else HOT_C
        hot = throttled or hottest_c is None or hottest_c >= threshold_c
        share = self.heat_share + dt_s * (-_HEATED_PER_S if hot else _COOLED_PER_S)
        return replace(
            self,
            limit_w=stepped(self.limit_w, ordered_w, self.terms, dt_s),
            hot=hot,
            heat_share=min(1.0, max(_LEAST_SHARE, share)),
        )


def stepped(now_w: float, towards_w: float, terms: Terms, dt_s: float) -> float:
    """`towards_w`, or as far towards it as the terms allow in `dt_s`."""
    return min(now_w + terms.up_w_per_s * dt_s, max(now_w - terms.down_w_per_s * dt_s, towards_w))


class RollingMean:
    """Mean over the last `window_ns`. A sample is the mean since the one before it, over half a second at most: of a
    time in which nobody looked there is no mean."""

    def __init__(self, window_ns: int = WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._spans: deque[tuple[int, int, float]] = deque()

    def add(self, mono_ns: int, value: float) -> None:
        """Take a sample; samples come in order."""
        before_ns = self._spans[-1][1] if self._spans else mono_ns
        self._spans.append((max(before_ns, mono_ns - _HOLD_NS), mono_ns, value))
        while self._spans[0][1] <= mono_ns - self._window_ns:
            self._spans.popleft()

    def mean(self, mono_ns: int) -> float | None:
        """The mean at `mono_ns`, at which the newest sample still holds; None where the window holds none."""
        if not self._spans or self._spans[-1][1] < mono_ns - self._window_ns:
            return None
        energy, seen_ns = self._over(mono_ns - self._window_ns, mono_ns)
        return energy / seen_ns if seen_ns else self._spans[-1][2]

    def energy_j(self, since_ns: int, mono_ns: int) -> float | None:
        """Joules from `since_ns`, inside the window, until now; None where some of that was not seen."""
        energy, seen_ns = self._over(since_ns, mono_ns)
        return energy / 1e9 if seen_ns >= mono_ns - since_ns else None

    def _over(self, since_ns: int, mono_ns: int) -> tuple[float, int]:
        """Sum of value · ns over the part of the time that was seen, and that part in ns."""
        weighted, seen_ns = 0.0, 0
        for since, until, value in (*self._spans, self._newest(mono_ns)):
            span = max(0, until - max(since, since_ns))
            weighted, seen_ns = weighted + span * value, seen_ns + span
        return weighted, seen_ns

    def _newest(self, mono_ns: int) -> tuple[int, int, float]:
        _, until, value = self._spans[-1] if self._spans else (mono_ns, mono_ns, 0.0)
        return until, min(max(mono_ns, until), until + _HOLD_NS), value


class EnergyMeter:
    """Joules; a gap of more than 2 s is left out, as nobody saw it."""

    def __init__(self, energy_j: float = 0.0) -> None:
        """`energy_j` is what was counted before."""
        self.energy_j = energy_j
        self._last_ns: int | None = None

    def add(self, mono_ns: int, power_w: float) -> None:
        """Take a sample of module power, the mean since the one before."""
        if self._last_ns is not None:
            dt_s = (mono_ns - self._last_ns) / 1e9
            if 0 < dt_s <= _GAP_S:
                self.energy_j += dt_s * power_w
        self._last_ns = mono_ns
