"""What the module takes by its rails, for when its own monitor is not believed.

Owns: how module power went with the rails while both were seen, and for how long that may stand in for it. Must not know:
files, knobs; times are arguments.

The rails leave out memory and conversion. Of those, what goes with the GPU's rail is fitted by least squares.
"""

import math
import statistics
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from agent.power.device import PowerSample

_S = 1_000_000_000
_LEARNED_NS, _LEAST_NS = 60 * _S, 10 * _S
_HOLDS_NS = 60 * _S
"""So long after the module was seen its rails speak for it: then it may have warmed, or do something else."""
_STUCK_NS, _DOUBTFUL_NS = 2 * _S, 3 * _S
"""A figure that stands still is one no longer; of a monitor that fails, the last ones before that was noticed may be wrong."""
_SPREAD_SHARE = 0.05
"""Rails that explain the module no better than this do not speak for it."""
_MARGIN_W = 2.0
"""A second's mean was hardly ever further off; of the emulated Thor."""
_BEYOND_SHARE = 1.1
OF_MODULE = 1.1
"""What the module takes for a watt on the rail of the cores; of the emulated Thor."""

SAID = "module power by its rails"


class _Seen(NamedTuple):
    """A sample of all three, in watts."""

    mono_ns: int
    module_w: float
    gpu_w: float
    soc_w: float


class _Fit(NamedTuple):
    """`base_w + slope · gpu_w + OF_MODULE · soc_w`, up to `most_gpu_w`."""

    base_w: float
    slope: float
    most_gpu_w: float


class RailsModel:
    """Call `learn` with every sample that is believed, and `module_w` with every one that is not."""

    def __init__(self) -> None:
        self._seen: deque[_Seen] = deque()
        self._fit: _Fit | None = None
        self._is_fitted = False
        self._gpu_w, self._moved_ns = math.nan, 0

    def learn(self, sample: PowerSample, mono_ns: int) -> None:
        """Take a sample whose module power is believed."""
        self._watch(sample, mono_ns)
        if sample.module_w is None or sample.gpu_w is None or sample.soc_w is None:
            return
        self._seen.append(_Seen(mono_ns, sample.module_w, sample.gpu_w, sample.soc_w))
        self._is_fitted = False
        while self._seen[0].mono_ns < mono_ns - _LEARNED_NS:
            self._seen.popleft()

    def module_w(self, sample: PowerSample, mono_ns: int) -> float | None:
        """What the module takes now, a little too much rather than too little; None where rails cannot tell."""
        self._watch(sample, mono_ns)
        if sample.gpu_w is None or sample.soc_w is None or not self._seen:
            return None
        if mono_ns - self._seen[-1].mono_ns > _HOLDS_NS or mono_ns - self._moved_ns > _STUCK_NS:
            return None
        if not self._is_fitted:
            self._fit, self._is_fitted = _fitted(self._seen, self._seen[-1].mono_ns - _DOUBTFUL_NS), True
        if self._fit is None or not 0 <= sample.gpu_w <= self._fit.most_gpu_w or sample.soc_w < 0:
            return None
        by_rails_w = self._fit.base_w + self._fit.slope * sample.gpu_w + OF_MODULE * sample.soc_w
        return max(by_rails_w, sample.gpu_w + sample.soc_w) + _MARGIN_W

    def _watch(self, sample: PowerSample, mono_ns: int) -> None:
        """Note when the GPU's rail last had another figure: one that stands still is not believed either."""
        if sample.gpu_w is not None and sample.gpu_w != self._gpu_w:
            self._gpu_w, self._moved_ns = sample.gpu_w, mono_ns


def _fitted(samples: Iterable[_Seen], until_ns: int) -> _Fit | None:
    """The fit; None where too little was seen, where the GPU did nothing, or where rails explain too little."""
    seen = [each for each in samples if each.mono_ns <= until_ns]
    if not seen or seen[-1].mono_ns - seen[0].mono_ns < _LEAST_NS:
        return None
    gpu_w = [each.gpu_w for each in seen]
    rest_w = [each.module_w - OF_MODULE * each.soc_w for each in seen]
    try:
        slope, base_w = statistics.linear_regression(gpu_w, rest_w)
    except statistics.StatisticsError:
        return None
    spread_w = statistics.pstdev(rest - slope * gpu for gpu, rest in zip(gpu_w, rest_w, strict=True))
    if slope < 0 or spread_w > _SPREAD_SHARE * statistics.fmean(each.module_w for each in seen):
        return None
    return _Fit(base_w, slope, _BEYOND_SHARE * max(gpu_w))
